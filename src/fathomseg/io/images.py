"""Reading and resizing stored images. Pillow decodes, because it notices a truncated file where OpenCV returns grey."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Integer, Shaped, UInt8
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fathomseg.errors import DataError, FathomError, Problem
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
        return _upright_rgb(ImageOps.exif_transpose(image) if _orientation(image) != 1 else image, str(path))


Readable = str | Path | Image.Image | NDArray[Any]
"""What can be read as an image: a path, a PIL image, or a uint8 array, RGB (h, w, 3) or grey (h, w)."""


def as_rgb(image: object) -> UInt8[np.ndarray, "h w 3"]:
    """Any `Readable` as RGB, uint8. Raises `DataError` for an unreadable file, `FathomError` for anything else."""
    if isinstance(image, str | Path):
        return read_rgb(Path(image))
    if isinstance(image, Image.Image):
        upright = ImageOps.exif_transpose(image)
        return _upright_rgb(upright, "the PIL image")
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size:
        if image.ndim == 2:
            return np.repeat(image[:, :, None], 3, axis=2)
        if image.ndim == 3 and image.shape[2] == 3:
            return image
    what = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
    hint = ""
    if isinstance(image, np.ndarray) and image.dtype.kind == "f":
        hint = " Values of 0..1 become such an array by (255 * image).round().astype('uint8')."
    elif isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 4:
        hint = " Drop the fourth channel: image[..., :3]."
    elif isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[0] == 3:
        hint = " Put the channels last: image.transpose(1, 2, 0)."
    raise FathomError(
        "An image must be a path, a PIL image, or a uint8 array, RGB (height, width, 3) or grey (height, width), but "
        f"this one is {what}.{hint}"
    )


def read_values(path: Path) -> Integer[np.ndarray, "h w"]:
    """The numbers stored in a one-channel image: grey values as written (1 to 32 bits) or palette indices, unscaled.

    An RGB image whose channels are equal counts as grey. Raises `DataError` for a real colour image and, as `read_rgb`
    does, for a file that cannot be read.
    """
    with _opened(path) as image:
        # Grey PNGs of 2 and 4 bits are stretched to 0..255 by every decoder.
        scale = {2: 85, 4: 17}.get(png_bits(path, grey=True), 1)
        values = np.asarray(image.convert("L") if image.mode == "LA" else image)
        if image.mode in {"RGB", "RGBA"}:
            if not (values[..., 0] == values[..., 1]).all() or not (values[..., 0] == values[..., 2]).all():
                raise DataError([Problem(str(path), "is a colour image; expected one channel of class ids")])
            values = values[..., 0]
        if values.ndim != 2 or values.dtype.kind not in "bui":
            raise DataError([Problem(str(path), f"has pixels of mode {image.mode}; expected whole numbers")])
        values = values.astype(np.uint8) if values.dtype.kind == "b" else values
        return values // np.uint8(scale) if scale > 1 else values


def png_bits(path: Path, grey: bool = False) -> int:
    """Bits of one value of a PNG (if `grey`, of a grey one), from its header; 0 for all other files."""
    with path.open("rb") as file:
        head = file.read(26)
    return head[24] if head.startswith(b"\x89PNG") and len(head) == 26 and not (grey and head[25]) else 0


def png_has_colours(path: Path) -> bool:
    """Whether a PNG is RGB, by its header; False for all other files."""
    with path.open("rb") as file:
        head = file.read(26)
    return head.startswith(b"\x89PNG") and len(head) == 26 and bool(head[25] & 2)


def png_is_rgb(path: Path) -> bool:
    """Whether a PNG holds colours themselves, not indices of a palette, by its header; False for all other files."""
    with path.open("rb") as file:
        head = file.read(26)
    return head.startswith(b"\x89PNG") and len(head) == 26 and head[25] in (2, 6)


def read_first_channel(path: Path) -> Integer[np.ndarray, "h w"]:
    """The first channel (red) of an image of 8 or 16 bits, as stored. Raises `DataError` as `read_rgb` does.

    Pillow makes 8 bits of RGB images of 16, so that it only tells whether the file is whole.
    """
    with _opened(path):
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise DataError([Problem(str(path), "cannot be decoded; replace or remove it")])
    return np.ascontiguousarray(stored[..., 2] if stored.ndim == 3 else stored)  # OpenCV has blue first


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


def resize_image(image: Shaped[np.ndarray, "h w *c"], size: Size) -> Shaped[np.ndarray, "h2 w2 *c"]:
    """The image or map at `size`: area average along an axis that shrinks, bilinear along one that grows."""
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


def _upright_rgb(image: Image.Image, where: str) -> UInt8[np.ndarray, "h w 3"]:
    if image.mode.startswith("I"):
        grey = np.clip(np.asarray(image).astype(np.int32) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise DataError([Problem(where, "holds floating-point pixels; expected an image of 8 or 16 bits")])
    return _rgb(image)


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
