"""Pictures of predicted disparity: its colours alone, and beside the photograph with a scale."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from fathomseg.geometry.camera import disparity_to_depth
from fathomseg.io import draw
from fathomseg.io.depth_maps import DepthUnit
from fathomseg.io.draw import Picture
from fathomseg.types import Prediction

_FOLLOW: Final = 0.1
"""How much of a frame's own range of disparity goes into the colours of a video, which would flicker otherwise."""
_WIDEST: Final = 8192
"""Pixels of a view with its photograph; what would be wider is made smaller. Players of videos end there."""
_GAP: Final = 4
_SMALLEST, _LARGEST = 9, 32
"""Pixels of the text."""


class DisparityPainter:
    """Disparity in colours between its 2nd and 98th percentile, near = red (`draw.DEPTH_MAP`)."""

    def __init__(self) -> None:
        self.limits: tuple[float, float] | None = None
        """The disparities that are shown as farthest and as nearest."""

    def __call__(self, image: Picture, prediction: Prediction) -> Picture:
        """The next frame of a video; the first one sets the range, later ones move it by a tenth of the difference."""
        assert prediction.disparity is not None, "the task was predicted"
        low, high = (float(value) for value in np.percentile(prediction.disparity, (2, 98)))
        if self.limits is not None:
            low, high = (old + _FOLLOW * (new - old) for old, new in zip(self.limits, (low, high), strict=True))
        self.limits = low, high
        return draw.disparity_picture(prediction.disparity, self.limits)


class DepthView:
    """The photograph, its disparity in colours, and what depth the nearest and farthest colour mean. Its size depends
    on that of the image alone, as the frames of a video must have one."""

    def __init__(self, depth_range: tuple[float, float], unit: DepthUnit) -> None:
        self.paint, self.depth_range, self.unit = DisparityPainter(), depth_range, unit

    def __call__(self, image: Picture, prediction: Prediction) -> Picture:
        """The next frame of a video."""
        colours = self.paint(image, prediction)
        assert self.paint.limits is not None, "set by painting"
        far, near = disparity_to_depth(torch.tensor(self.paint.limits, dtype=torch.float64), *self.depth_range).tolist()
        height, width = image.shape[:2]
        height = min(height, max(1, _WIDEST * height // (2 * width + height)))
        return draw.beside([image, colours, scale_bar(height, near, far, self.unit)], height, _GAP)


def scale_bar(height: int, near: float, far: float, unit: str) -> Picture:
    """The colours from near (top) to far, as disparity has them, with both depths and the unit beside them."""
    size = min(max(height // 14, _SMALLEST), _LARGEST)
    font, width = _font(size), _width(size)
    strip = Image.new("RGB", (width + size, height), "white")
    ramp = draw.disparity_picture(np.linspace(1, 0, height, dtype=np.float32)[:, None].repeat(size, 1))
    strip.paste(Image.fromarray(ramp), (0, 0))
    words = [(0, "la", number(near)), (height, "ld", number(far))]
    words += [(height // 2, "lm", unit)] if height >= 3 * size else []
    for y, anchor, text in words:
        ImageDraw.Draw(strip).text((size + _GAP, y), text, fill="black", font=font, anchor=anchor)
    return np.asarray(strip)


def number(value: float) -> str:
    """Three digits, and whole numbers as people write them up to a million."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _width(size: int) -> int:
    """Of the texts, whatever the numbers are."""
    return round(_font(size).getlength("0.00e+00")) + 2 * _GAP
