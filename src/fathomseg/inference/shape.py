"""At what size an image goes through a network that was trained at another shape."""

from __future__ import annotations

import math
from itertools import product
from typing import Final

from fathomseg.data.sizes import step_of
from fathomseg.types import Size

TOLERANCE: Final = 0.1
"""How far the sides of an image may be out of proportion before it gets a shape of its own."""


def kept_aspect(trained: Size, image: Size) -> Size:
    """The (height, width) for an image: that of the training, or as many pixels in the proportions of the image.

    What a network has learned of shapes does not hold in a stretched image. Sides are multiples of what the training's
    are multiples of, at most 32, and no shorter than one such multiple: a very long image is stretched after all.
    """
    if abs(math.log(_aspect(trained) / _aspect(image))) < math.log1p(TOLERANCE):
        return trained
    step = step_of(trained)
    area, aspect = trained[0] * trained[1], _aspect(image)
    height = min(max(math.sqrt(area / aspect), step), area / step)
    width = area / height
    rows, columns = ((math.floor(side / step) * step, math.ceil(side / step) * step) for side in (height, width))

    def misfit(size: Size) -> float:
        return abs(math.log(_aspect(size) / aspect)) + 0.5 * abs(math.log(size[0] * size[1] / (height * width)))

    return min(product(rows, columns), key=misfit)


def _aspect(size: Size) -> float:
    return size[1] / size[0]
