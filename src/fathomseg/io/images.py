"""Reading and resizing stored images. Pillow decodes, because it notices a truncated file where OpenCV returns grey."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Integer, Shaped, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from fathomseg.errors import DataError, Problem
from fathomseg.types import Size

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""File name endings, in lower case, that count as images."""

_TURNABLE = {"JPEG", "MPO", "TIFF", "WEBP"}
_ORIENTATION = 0x0112


def read_rgb(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """The image as RGB, uint8, turned upright as its EXIF orientation says; alpha is dropped, 16 bits become 8.

    Raises `DataError` if the file is missing, empty, truncated or not an image.
    """
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image) if _orientation(image) != 1 else image
        if upright.mode.startswith("I"):
            grey = np.clip(np.asarray(upright).astype(np.int32) >> 8, 0, 255).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if upright.mode == "F":
            raise DataError([Problem(str(path), "holds floating-point pixels; expected an image of 8 or 16 bits")])
        return _rgb(upright)


def read_values(path: Path) -> Integer[np.ndarray, "h w"]:
    """The numbers stored in a one-channel image: grey values as written (1 to 32 bits) or palette indices, unscaled.

    An RGB image whose channels are equal counts as grey. Raises `DataError` for a real colour image and, as `read_rgb`
    does, for a file that cannot be read.
    """
    with _opened(path) as image:
        scale = _grey_scale(path)  # 1- to 4-bit grey PNGs are stretched to 0..255 by every decoder
        values = np.asarray(image.convert("L") if image.mode == "LA" else image)
        if image.mode in {"RGB", "RGBA"}:
            if not (values[..., 0] == values[..., 1]).all() or not (values[..., 0] == values[..., 2]).all():
                raise DataError([Problem(str(path), "is a colour image; expected one channel of class ids")])
            values = values[..., 0]
        if values.ndim != 2 or values.dtype.kind not in "bui":
            raise DataError([Problem(str(path), f"has pixels of mode {image.mode}; expected whole numbers")])
        values = values.astype(np.uint8) if values.dtype.kind == "b" else values
        return values // np.uint8(scale) if scale > 1 else values


def read_colours(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """A colour-coded label as RGB, exactly as stored: palettes are applied, alpha is dropped, nothing is turned."""
    with _opened(path) as image:
        if image.mode.startswith("I") or image.mode == "F":
            raise DataError([Problem(str(path), f"has pixels of mode {image.mode}; expected RGB colours of 8 bits")])
        return _rgb(image)


def image_size(path: Path) -> Size:
    """(height, width) that `read_rgb` would return, from the file's header alone. Raises `DataError` likewise."""
    with _opened(path, decode=False) as image:
        width, height = image.size
        return (width, height) if _orientation(image) >= 5 else (height, width)


def resize_image(image: UInt8[np.ndarray, "h w 3"], size: Size) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The image at `size`: area average along an axis that shrinks (no aliasing), bilinear along one that grows."""
    shrunk = min(image.shape[0], size[0]), min(image.shape[1], size[1])
    if shrunk != image.shape[:2]:
        image = cv2.resize(image, (shrunk[1], shrunk[0]), interpolation=cv2.INTER_AREA)
    if shrunk != size:
        image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return image


def resize_nearest(values: Shaped[np.ndarray, "h w"], size: Size) -> Shaped[np.ndarray, "h2 w2"]:
    """The map at `size`, each pixel the value under its centre, so no class or depth is ever invented."""
    if values.shape == size:
        return values
    (height, width), (new_height, new_width) = values.shape, size
    rows = (2 * np.arange(new_height) + 1) * height // (2 * new_height)
    columns = (2 * np.arange(new_width) + 1) * width // (2 * new_width)
    return np.ascontiguousarray(values[rows[:, None], columns])


@contextmanager
def _opened(path: Path, decode: bool = True) -> Iterator[Image.Image]:
    """An image of Pillow's, decoded to its end; whatever goes wrong becomes a `DataError` naming the file."""
    try:
        with Image.open(path) as image:
            if decode:
                image.load()
            yield image
    except FileNotFoundError:
        raise DataError([Problem(str(path), "there is no such file")]) from None
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        reason = "is empty (0 bytes)" if empty else "is not an image of a known format"
        raise DataError([Problem(str(path), f"{reason}; replace or remove it")]) from None
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError([Problem(str(path), f"cannot be decoded ({error}); replace or remove it")]) from None


def _rgb(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    image.info.pop("transparency", None)  # or Pillow warns that alpha is dropped, which is the purpose
    return np.array(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8. Only formats that carry it in their header: asking a PNG would decode it."""
    return int(image.getexif().get(_ORIENTATION, 1)) if image.format in _TURNABLE else 1


def _grey_scale(path: Path) -> int:
    """How many grey levels lie between two stored values of a PNG of 2 or 4 bits (85 or 17); 1 for all other files."""
    with path.open("rb") as file:
        head = file.read(26)
    is_grey_png = head.startswith(b"\x89PNG") and len(head) == 26 and head[25] == 0
    return {2: 85, 4: 17}.get(head[24], 1) if is_grey_png else 1
