"""Small pictures for pages that show many."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import UInt8

from fathomseg.io.images import resize_image
from fathomseg.report.html import uri

_WIDTHS: Final = (400, 320, 240, 180, 128, 96, 64, 48)
_QUALITY: Final = 75


def thumbnail(picture: UInt8[np.ndarray, "h w 3"], limit: int) -> str:
    """The picture as a JPEG data URI of at most `limit` characters, as wide as that allows (48 to 400 pixels).

    The smallest may be longer if the limit is below what it takes: up to about 4600 characters for pure noise.
    """
    text = ""
    own = min(picture.shape[1], _WIDTHS[0])
    for width in (own, *(one for one in _WIDTHS if one < own)):
        text = uri(_narrowed(picture, width), ".jpg", _QUALITY)
        if len(text) <= limit:
            break
    return text


def _narrowed(picture: UInt8[np.ndarray, "h w 3"], width: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The picture `width` pixels wide, or narrower if it would be more than twice as high."""
    height = picture.shape[0] * width / picture.shape[1]
    scale = min(1.0, 2 * width / height)
    return resize_image(picture, (max(1, round(height * scale)), max(1, round(width * scale))))
