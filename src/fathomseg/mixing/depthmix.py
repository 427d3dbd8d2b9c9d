"""DepthMix (Hoyer et al. 2021, CVPR, section 3.3): the nearer surface is seen, as in a photograph of both scenes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import model_validator
from torch import Tensor

from fathomseg.config.bounds import Share
from fathomseg.errors import FathomError
from fathomseg.mixing.base import Mixing
from fathomseg.mixing.draws import Use, generator, on_device
from fathomseg.mixing.pixels import Pixels


class DepthMix(Mixing):
    """Keep a pixel unless the same pixel of the other image is nearer by more than a margin.

    With disparities D of this and D' of the other image (0..1, 1 = nearest) this is M = [D >= D' - margin]. For the two
    orders of a pair, M and M' are never both False: they agree on the surface seen wherever the order is known, and
    within the margin each image keeps its own, so road is not swapped for road.

    With a `foreground` threshold t, Hoyer et al. take `M = [D >= D' - margin] [D >= t]`. That contradicts itself: where
    D < t and D' < t both orders show the partner, and one of them shows the farther surface before the nearer one.
    `consistent` lets t decide within the margin alone: `M = [D > D' + margin] or [D >= D' - margin] [D >= t]`.
    Then no mixed image hides a surface behind one that is farther by more than the margin. With t = 0 the two agree.
    """

    name: Literal["depthmix"] = "depthmix"
    margin: Share = 0.03
    """By how much of the range of disparity the other surface must be nearer to be seen."""
    foreground: tuple[Share, Share] = (0.0, 0.0)
    """Range of the threshold t, drawn evenly for each image; pixels with less disparity are background. 0, 0 = off."""
    either_sign: bool = False
    """Half of the images take the margin with a minus: they are seen only where they are nearer by more than it, and
    on ties the other image is. For pairs of two domains, of which only one order is shown (Hoyer et al. 2023, IJCV)."""
    consistent: bool = True
    """The threshold only breaks ties, so the two orders of a pair never contradict. False: as published."""

    @model_validator(mode="after")
    def _ordered(self) -> DepthMix:
        if self.foreground[0] > self.foreground[1]:
            raise ValueError(f"foreground must be [smallest, largest], but is {list(self.foreground)}")
        return self

    @property
    def needs_disparity(self) -> bool:
        """Always."""
        return True

    def mask(self, this: Pixels, other: Pixels, keys: Sequence[int]) -> Bool[Tensor, "b h w"]:
        """True where this image is the nearer one or no farther than the margin.

        What is not known (NaN, or padding) loses to what is known; where neither is, this image is kept. Infinitely far
        is known: disparity 0. Raises `FathomError` for pixels without a disparity.
        """
        if this.disparity is None or other.disparity is None:
            raise FathomError(
                "DepthMix compares disparities, but this batch has none. Name a source of depth in the recipe,"
                " or use a rule that needs none: cutmix or classmix."
            )
        mine, theirs = (pixels.disparity.detach()[:, 0] for pixels in (this, other))  # type: ignore[union-attr]
        margins = self._margins(keys, mine)
        farther = (mine < theirs - margins) | ((mine == theirs - margins) & (margins < 0))
        if self.foreground[1] > 0:
            background = mine < self._threshold(keys, mine)
            nearer = mine - self.margin > theirs
            farther |= background & ~nearer if self.consistent else background
        known, theirs_known = mine.isfinite() & this.valid, theirs.isfinite() & other.valid
        return torch.where(known & theirs_known, ~farther, known | ~theirs_known)

    def _margins(self, keys: Sequence[int], like: Tensor) -> Float[Tensor, "b 1 1"] | float:
        """The margin of each image with its sign."""
        if not self.either_sign:
            return self.margin
        signs = [1.0 if generator(key, Use.MARGIN).random() < 0.5 else -1.0 for key in keys]
        return self.margin * on_device(signs, like).view(-1, 1, 1)

    def _threshold(self, keys: Sequence[int], like: Tensor) -> Float[Tensor, "b 1 1"]:
        """The foreground threshold of each image."""
        drawn = [generator(key, Use.FOREGROUND).uniform(*self.foreground) for key in keys]
        return on_device(drawn, like).view(-1, 1, 1)


def unit_disparity(disparity: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Disparity of any scale brought to 0..1 image by image (min-max), as DepthMix was published; NaN stays NaN.

    An image of one disparity becomes 0.5 everywhere. Each image gets a scale of its own, so its nearest pixel ties with
    the nearest one of every other image, however far that is; where disparities share a scale, keep it.
    """
    known = disparity.isfinite()
    low = disparity.masked_fill(~known, torch.inf).amin((2, 3), keepdim=True)
    high = disparity.masked_fill(~known, -torch.inf).amax((2, 3), keepdim=True)
    unit = torch.where(high > low, (disparity - low) / (high - low), 0.5)
    return unit.masked_fill(~known, torch.nan)
