"""Features of the depth decoder alike within a class and apart across borders (Jung et al. 2021, ICCV: FSRE-Depth)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from fathomseg.geometry.numerics import full_precision
from fathomseg.losses.guidance.base import Guidance, Seen
from fathomseg.types import IGNORE, SumCount

_RADIUS: Final = 2
"""Patches have 2 * 2 + 1 pixels."""
_LEAST: Final = 4
"""Pixels with fewer neighbours of either kind count nowhere."""


class Triplet(Guidance):
    """max(0, mean distance to neighbours of the same class - mean distance to those of another + margin).

    Over patches of 5 x 5 around each pixel, on the decoder's maps at 1/8, 1/4 and 1/2 of the image's size, as far as
    there are; the mean of level s counts 1 / 2^s. Distances are sqrt(2 - 2 cos). Pixels with fewer than 4 neighbours of
    either kind count nowhere.
    """

    name: Literal["triplet"] = "triplet"
    weight: NonNegativeFloat = 0.1
    margin: Annotated[float, Field(ge=0)] = 0.3
    """How much nearer the features of the same class must be."""

    levels: ClassVar[tuple[int, ...]] = (3, 2, 1)

    def __call__(self, seen: Seen, roles: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[SumCount, float]]:
        """A term for each level of the decoder, by its number."""
        return {
            str(level): (triplet(x, _resized(seen.label, x), self.margin), 1 / 2**level)
            for level, x in seen.maps.items()
        }


@full_precision
def triplet(
    features: Float[Tensor, "b c h w"],
    label: UInt8[Tensor, "b h w"],
    margin: float = 0.3,
) -> SumCount:
    """The sum over the pixels that have enough neighbours of either kind, and their number."""
    unit = F.normalize(features, dim=1, eps=1e-6)
    height, width = label.shape[1:]
    padded = F.pad(unit, [_RADIUS] * 4)
    classes = F.pad(label, [_RADIUS] * 4, value=IGNORE)
    nothing = unit.new_zeros(label.shape)
    near, far, positives, negatives = nothing, nothing, nothing, nothing
    for dy in range(2 * _RADIUS + 1):
        for dx in range(2 * _RADIUS + 1):
            if dy == dx == _RADIUS:
                continue
            window = (..., slice(dy, dy + height), slice(dx, dx + width))
            distance = (2 - 2 * (unit * padded[window]).sum(1)).clamp(min=1e-6).sqrt()
            known = classes[window] != IGNORE
            same, other = known & (classes[window] == label), known & (classes[window] != label)
            near, far = near + torch.where(same, distance, 0.0), far + torch.where(other, distance, 0.0)
            positives, negatives = positives + same, negatives + other
    counted: Bool[Tensor, "b h w"] = (positives >= _LEAST) & (negatives >= _LEAST) & (label != IGNORE)
    loss = F.relu(near / positives.clamp(min=1) - far / negatives.clamp(min=1) + margin)
    return torch.where(counted, loss, 0.0).sum(), counted.sum().to(loss.dtype)


def _resized(label: UInt8[Tensor, "b h w"], like: Float[Tensor, "b _ _ _"]) -> UInt8[Tensor, "b _ _"]:
    """The nearest pixel's class."""
    return F.interpolate(label[:, None].float(), like.shape[2:], mode="nearest-exact")[:, 0].to(label.dtype)
