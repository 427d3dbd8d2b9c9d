"""Sizes at which the maps of a network lie on the image as they did in training.

A map of stride 4 covers 204 pixels of an image 202 high, and is stretched onto them; networks with the padding of
TensorFlow sample such an image elsewhere, too. CamVid's network for 144 x 192 loses 3.9 mIoU from 204 x 272 to
202 x 269.
"""

from __future__ import annotations

import math
from typing import Final

from fathomseg.types import Size

TOLERANCE: Final = 0.1
"""How far a size may be from the wanted one to be of whole steps."""

_MULTIPLE: Final = 32


def step_of(size: Size) -> int:
    """What both sides are multiples of, as far as an encoder's coarsest level goes: 1 to 32, a power of two."""
    return math.gcd(*size, _MULTIPLE)


def scaled(size: Size, factor: float, most: Size | None = None) -> Size:
    """(height, width) about `factor` times `size`, no side beyond `most`, in multiples of what its sides are multiples
    of; of half as much and so on, if a side would be a tenth too long or too short."""
    wanted, step = [side * factor for side in size], step_of(size)
    while True:
        sides = [max(step, round(side / step) * step) for side in wanted]
        if most is not None:
            sides = [min(side, max(step, top // step * step)) for side, top in zip(sides, most, strict=True)]
        far = max(abs(math.log(found / side)) for found, side in zip(sides, wanted, strict=True))
        if step == 1 or far < math.log1p(TOLERANCE):
            return sides[0], sides[1]
        step //= 2
