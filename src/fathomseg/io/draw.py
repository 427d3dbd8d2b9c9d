"""Pictures of labels, predictions and depth. Images in and out are RGB, uint8, height x width x 3."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16
from PIL import Image, ImageDraw, ImageFont

from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.files import write_bytes
from fathomseg.io.images import resize_image
from fathomseg.types import IGNORE, ClassList

Picture = UInt8[np.ndarray, "_ _ 3"]
"""A picture of a size of its own."""

Pixels = UInt8[np.ndarray, "_ _ *channels"] | UInt16[np.ndarray, "_ _ *channels"]
"""What an image file can hold: RGB or one channel, of 8 or 16 bits."""

_JPEG_SIDE: Final = 65500
_PAPER: Final = (255, 255, 255)
_INK: Final = (32, 33, 36)
_WRONG: Final = (225, 40, 55)
_FRAME: Final = (255, 208, 0)
_NEARER: Final = (33, 82, 190)
_FARTHER: Final = (196, 30, 40)
_FULL: Final = 1.5
"""The ratio of two depths from which on the colour of an error is full."""
_MAPS: Final = {"turbo": cv2.COLORMAP_TURBO, "magma": cv2.COLORMAP_MAGMA}
DEPTH_MAP: Final = "turbo"
"""The colour map of depth and disparity in every picture: near = red, far = blue."""
NEAREST_M, FARTHEST_M = 2.0, 80.0
"""The depths at the ends of its logarithmic scale."""


def colourise(label: UInt8[np.ndarray, "h w"], classes: ClassList) -> UInt8[np.ndarray, "h w 3"]:
    """Every pixel in the colour of its class; ignored pixels (255) are black."""
    palette = np.ascontiguousarray(classes.palette[:, None])  # a table of OpenCV: an eighth of the time of indexing
    picture: Picture = cv2.LUT(cv2.merge([label] * 3), palette)
    return picture


def overlay(
    image: UInt8[np.ndarray, "h w 3"], label: UInt8[np.ndarray, "h w"], classes: ClassList, alpha: float = 0.5
) -> UInt8[np.ndarray, "h w 3"]:
    """The class colours laid over the image with opacity `alpha`; ignored pixels show the image alone."""
    _same_size(image, label)
    mixed: Picture = cv2.addWeighted(image, 1 - alpha, colourise(label, classes), alpha, 0)
    ignored = label == IGNORE
    if ignored.any():
        mixed[ignored] = image[ignored]
    return mixed


def error_map(
    prediction: UInt8[np.ndarray, "h w"],
    truth: UInt8[np.ndarray, "h w"],
    image: UInt8[np.ndarray, "h w 3"] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Wrong pixels in red over the faded grey image (or over light grey), ignored pixels black."""
    _same_size(prediction, truth)
    if image is None:
        ground = np.full((*truth.shape, 3), 232, np.uint8)
    else:
        _same_size(image, truth)
        faded = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) // 2 + 112).astype(np.uint8)
        ground = np.repeat(faded[..., None], 3, axis=2)
    ground[prediction != truth] = _WRONG
    ground[truth == IGNORE] = 0
    return ground


def colour_map(
    values: Float[np.ndarray, "h w"],
    valid: Bool[np.ndarray, "h w"] | None = None,
    limits: tuple[float, float] | None = None,
    style: Literal["turbo", "magma"] = "turbo",
) -> UInt8[np.ndarray, "h w 3"]:
    """Numbers as colours between `limits` (by default the 2nd and 98th percentile); what is not valid is black.

    NaN and infinities are never valid. A flat map is one colour, not an error.
    """
    finite = np.isfinite(values) if valid is None else valid & np.isfinite(values)
    if limits is None:
        low, high = np.percentile(values[finite], (2, 98)) if finite.any() else (0.0, 1.0)
    else:
        low, high = limits
    scaled = (np.where(finite, values, low) - low) / (high - low if high > low else 1.0)
    levels = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    picture: Picture = cv2.cvtColor(cv2.applyColorMap(levels, _MAPS[style]), cv2.COLOR_BGR2RGB)
    picture[~finite] = 0
    return picture


def depth_picture(depth: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """z-depth in metres on a logarithmic scale, near = warm, equal colours in all pictures; 0 (invalid) is black."""
    valid = depth > 0
    closeness = -np.log(np.where(valid, depth, 1.0))
    return colour_map(closeness, valid, (-math.log(FARTHEST_M), -math.log(NEAREST_M)))


def disparity_picture(
    disparity: Float[np.ndarray, "h w"], limits: tuple[float, float] = (0.0, 1.0)
) -> UInt8[np.ndarray, "h w 3"]:
    """Disparity between `limits` in the colours of depth, near = red; NaN (unknown) is black."""
    return colour_map(disparity, limits=limits)


def depth_error_picture(
    prediction: Float[np.ndarray, "h w"],
    truth: Float[np.ndarray, "h w"],
    valid: Bool[np.ndarray, "h w"] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Where a predicted depth is wrong, by prediction / truth: white = right, red = too far, blue = too near.

    The colour is full where the ratio reaches 1.5 or 1 / 1.5; pixels without truth (0, or not `valid`) are black.
    """
    _same_size(prediction, truth)
    valid = (truth > 0) & (prediction > 0) & (True if valid is None else valid)
    ratio = np.where(valid, prediction, 1) / np.where(valid, truth, 1)
    wrong = np.clip(np.log(ratio) / math.log(_FULL), -1, 1)[..., None]
    colour = np.where(wrong > 0, np.array(_FARTHER), np.array(_NEARER))
    picture: Picture = np.rint(255 + np.abs(wrong) * (colour - 255.0)).astype(np.uint8)
    picture[~valid] = 0
    return picture


def beside(pictures: Sequence[Picture], height: int | None = None, gap: int = 4) -> Picture:
    """Pictures in a row on white, all scaled to one height (that of the first), keeping their proportions."""
    height = height or pictures[0].shape[0]
    scaled = [resize_image(p, (height, max(1, round(p.shape[1] * height / p.shape[0])))) for p in pictures]
    space = np.full((height, gap, 3), _PAPER, np.uint8)
    return np.concatenate([part for picture in scaled for part in (space, picture)][1:], axis=1)


def captioned(picture: Picture, text: str, size: int = 14) -> Picture:
    """The picture with a line of text under it; what does not fit ends in three dots."""
    width, font = picture.shape[1], ImageFont.load_default(size)
    if font.getlength(text) > width - 4:
        while text and font.getlength(text + "...") > width - 4:
            text = text[:-1]
        text += "..."
    strip = Image.new("RGB", (width, round(1.6 * size)), _PAPER)
    ImageDraw.Draw(strip).text((2, round(0.2 * size)), text, fill=_INK, font=font)
    return np.concatenate([picture, np.asarray(strip)], axis=0)


def framed(picture: Picture, part: tuple[float, float, float, float]) -> Picture:
    """The picture with a yellow frame about a part, given by top, left, bottom and right as shares of its size."""
    found, (height, width) = picture.copy(), picture.shape[:2]
    top, bottom = (round(share * (height - 1)) for share in part[::2])
    left, right = (round(share * (width - 1)) for share in part[1::2])
    thick = max(1, height // 64)
    cv2.rectangle(found, (left, top), (right, bottom), _FRAME, thick)
    return found


def encode(picture: Pixels, suffix: str = ".png", quality: int = 88) -> bytes:
    """The bytes of an image file: RGB or one channel, `.png` (exact) or `.jpg` (8 bits, `quality` 0..100).

    Raises `FathomError` for a picture that cannot be stored so, such as one too large for a JPEG.
    """
    stored = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    done = False
    with suppress(cv2.error):
        done, content = cv2.imencode(suffix, stored, options)
    if not done or not content.size:
        height, width = picture.shape[:2]
        too_long = suffix == ".jpg" and max(height, width) > _JPEG_SIDE
        limit = f", which end at {_JPEG_SIDE} pixels a side" if too_long else ""
        raise FathomError(f"A picture of {height} x {width} pixels cannot be stored as {suffix}{limit}.")
    return bytes(content)


def write(path: Path, picture: Pixels) -> None:
    """Write an image file, its kind by its suffix (.png, .jpg or .jpeg). It appears under its name only when
    complete. Raises `DataError` for a picture that cannot be stored so."""
    try:
        content = encode(picture, path.suffix.lower().replace("jpeg", "jpg"))
    except FathomError as error:
        raise DataError([Problem(str(path), f"cannot be written: {error}")]) from None
    write_bytes(path, content)


def write_indexed(path: Path, indices: UInt8[np.ndarray, "h w"], palette: UInt8[np.ndarray, "256 3"]) -> None:
    """Write a PNG of palette indices, which programs show in its colours."""
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    content = BytesIO()
    image.save(content, "PNG")
    write_bytes(path, content.getvalue())


def _same_size(first: np.ndarray, second: np.ndarray) -> None:
    if first.shape[:2] != second.shape[:2]:
        raise FathomError(f"Sizes differ: {first.shape[:2]} and {second.shape[:2]} (height, width). Resize one first.")
