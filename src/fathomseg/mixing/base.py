"""What every mixing rule offers: a mask. Mixing itself is the same for all rules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from fathomseg.config import Part
from fathomseg.mixing.draws import on_device, partner_shift
from fathomseg.mixing.pixels import Pixels, composite


class Mixing(Part, ABC):
    """Base of all mixing rules. A rule decides, pixel by pixel, which of two images is seen; it moves nothing."""

    name: str

    @property
    def needs_disparity(self) -> bool:
        """Whether the rule reads `Pixels.disparity`, so that a learner computes it for those rules only."""
        return False

    def fills(self, keys: Sequence[int]) -> list[bool]:
        """Whether the padding of each image is filled with what its partner shows there."""
        return [True] * len(keys)

    @abstractmethod
    def mask(self, this: Pixels, other: Pixels, keys: Sequence[int]) -> Bool[Tensor, "b h w"]:
        """True where `this` is kept, False where `other` takes its place.

        A pure function of the two images and the key of `this`, image by image: the rest of the batch changes nothing.
        """


class NoMix(Mixing):
    """Every image stays as it is: plain pseudo-labels, the baseline of every rule."""

    name: Literal["none"] = "none"

    def fills(self, keys: Sequence[int]) -> list[bool]:
        """Never."""
        return [False] * len(keys)

    def mask(self, this: Pixels, other: Pixels, keys: Sequence[int]) -> Bool[Tensor, "b h w"]:
        """True everywhere."""
        return torch.ones_like(this.valid)


@torch.no_grad()
def mix(rule: Mixing, pixels: Pixels, keys: Sequence[int]) -> tuple[Pixels, Bool[Tensor, "b h w"]]:
    """Each image of the batch mixed with another one of it; and the mask, True where the image itself is seen.

    The partner of image i is image i + `partner_shift(keys)`, cyclically. A batch of one image has no partner and
    comes back unchanged.
    """
    return mix_pairs(rule, pixels, pixels.rolled(partner_shift(keys)), keys)


@torch.no_grad()
def mix_pairs(rule: Mixing, this: Pixels, other: Pixels, keys: Sequence[int]) -> tuple[Pixels, Bool[Tensor, "b h w"]]:
    """Image i of one batch mixed with image i of another; and the mask, True where `this` is seen.

    Where one of the two shows its photograph and the other padding, the photograph is seen, whatever the mask of the
    rule, but for images the rule leaves alone.
    """
    keep = rule.mask(this, other, keys)
    fills = on_device(rule.fills(keys), keep).bool()[:, None, None]
    keep = torch.where((this.valid == other.valid) | ~fills, keep, this.valid)
    return composite(keep, this, other), keep
