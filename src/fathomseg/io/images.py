"""Reading and resizing stored images. Pillow decodes, because it notices a truncated file where OpenCV returns grey."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from jaxtyping import Integer, Shaped, UInt8, UInt16
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io import formats
from fathomseg.io.listing import missing
from fathomseg.io.memory import free_memory
from fathomseg.types import Size

SUFFIXES = frozenset({".bmp", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""File name endings, in lower case, that count as images."""

MOST_PIXELS = 1_000_000_000
"""Larger images are refused."""
LARGE_PIXELS: Final = 50_000_000
"""From here on an image is read alone, and only if there is memory for it."""
BYTES_PER_PIXEL: Final = 20
"""Memory that a pixel takes at most on its way through reading, predicting and drawing."""

_DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras have."""


def read_rgb(path: Path, bits: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """The image as RGB, uint8, turned upright as its EXIF orientation says; alpha is dropped, more bits become 8.

    `bits` is what cameras of 10 to 14 bits use of files of 16; None: what the file says, or else the least of 8, 10,
    12, 14 and 16 that hold its largest value. Raises `DataError` if the file is missing, empty, truncated or not an
    image, or holds larger values.
    """
    with opened(path) as image:
        if image.format == "TIFF" and (pages := formats.pages(path)) > 1:  # other formats hold the same picture again
            raise DataError([Problem(str(path), f"holds {pages} pages; save each as a file of its own")])
        return _upright_rgb(image, path, bits)


Readable = str | Path | Image.Image | NDArray[Any]
"""What can be read as an image: a path, a PIL image, or a uint8 array, RGB (h, w, 3) or grey (h, w)."""


def as_rgb(image: object, bits: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Any `Readable` as RGB, uint8; `bits` as for `read_rgb`, of files and grey PIL images (of colours Pillow keeps 8
    bits). Raises `DataError` for an unreadable file, `FathomError` for anything else."""
    if isinstance(image, str | Path):
        return read_rgb(Path(image), bits)
    if isinstance(image, Image.Image):
        return _upright_rgb(image, None, bits)
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


class _Readers:
    """Who reads just now, and the limit of the host program that they have put aside."""

    lock = threading.Lock()
    count = 0
    limit: int | None = None


@contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Without Pillow's own limit of 179 megapixels, which is below what aerial images have: `MOST_PIXELS` counts here.

    The limit is one for all threads: the first that reads puts it aside, the last puts it back. Meanwhile other threads
    of the host program have none either.
    """
    with _Readers.lock:
        if _Readers.count == 0:
            _Readers.limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _Readers.count += 1
    try:
        yield
    finally:
        with _Readers.lock:
            _Readers.count -= 1
            if _Readers.count == 0:
                Image.MAX_IMAGE_PIXELS = _Readers.limit


@contextmanager
def opened(path: Path, decode: bool = True) -> Iterator[Image.Image]:
    """An image of Pillow's, decoded to its end; whatever goes wrong becomes a `DataError` naming the file."""
    try:
        # Given a path, Pillow maps plain TIFFs into memory, and then turns those that lie on their side wrongly.
        with _without_pillows_limit(), path.open("rb") as file, Image.open(file) as image:
            _refuse_too_large(image.width * image.height, path)
            if decode:
                image.load()
            yield image
    except FileNotFoundError:
        raise DataError([Problem(str(path), missing(path))]) from None
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        reason = "is empty (0 bytes)" if empty else "is not an image of a known format"
        raise DataError([Problem(str(path), f"{reason}; replace or remove it")]) from None
    except DataError:
        raise
    except Exception as error:  # Pillow's readers raise what a damaged header makes of their arithmetic
        reason = str(error) or type(error).__name__
        raise DataError([Problem(str(path), f"cannot be decoded ({reason}); replace or remove it")]) from None


def to_rgb(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """A decoded image as RGB of 8 bits; palettes are applied, alpha is dropped, also from `image.info`."""
    image.info.pop("transparency", None)  # or Pillow warns that alpha is dropped, which is the purpose
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def bits_used(path: Path) -> int | None:
    """How many bits an image in a file of 16 bits is taken to have, as `read_rgb` does; None for one of 8 bits."""
    with opened(path, decode=False) as image:
        if not image.mode.startswith("I") and not formats.is_wide(image, path):
            return None
        image.load()
        values = _deep(image, path)
        return None if values is None else _bits(values, formats.stated_bits(image, path))


def is_turned(path: Path) -> bool:
    """Whether `read_rgb` turns or mirrors what is stored, as an EXIF orientation says. Raises `DataError`."""
    with opened(path, decode=False) as image:
        return formats.orientation(image, path) != 1


def image_size(path: Path) -> Size:
    """(height, width) that `read_rgb` would return, from the file's header alone. Raises `DataError` likewise."""
    with opened(path, decode=False) as image:
        width, height = image.size
        lies = image.format != "TIFF" and formats.orientation(image, path) >= 5  # Pillow knows of a TIFF as it opens it
        return (width, height) if lies else (height, width)


def resize_image(image: Shaped[np.ndarray, "h w *c"], size: Size) -> Shaped[np.ndarray, "h2 w2 *c"]:
    """The image or map at `size`: area average along an axis that shrinks, bilinear along one that grows."""
    shrunk = min(image.shape[0], size[0]), min(image.shape[1], size[1])
    if shrunk != image.shape[:2]:
        image = cv2.resize(image, (shrunk[1], shrunk[0]), interpolation=cv2.INTER_AREA)
    if shrunk != size:
        image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return image


def resize_nearest(values: Shaped[np.ndarray, "h w *c"], size: Size) -> Shaped[np.ndarray, "h2 w2 *c"]:
    """The map at `size`, each pixel the value under its centre, so no class or depth is ever invented."""
    if values.shape[:2] == size:
        return values
    (height, width), (new_height, new_width) = values.shape[:2], size
    rows = (2 * np.arange(new_height) + 1) * height // (2 * new_height)
    columns = (2 * np.arange(new_width) + 1) * width // (2 * new_width)
    return np.ascontiguousarray(values[rows[:, None], columns])


def _upright_rgb(image: Image.Image, path: Path | None, bits: int | None) -> UInt8[np.ndarray, "h w 3"]:
    """An opened file, or an image of Pillow's that has no `path`, as `read_rgb` says."""
    values = _deep(image, path)
    if values is None and image.mode == "F":
        raise DataError([Problem(_name(path), "holds floating-point pixels; expected an image of 8 or 16 bits")])
    if values is None:
        return to_rgb(ImageOps.exif_transpose(image))
    used = _bits(values, formats.stated_bits(image, path)) if bits is None else bits
    if values.max() >> used:
        reason = f"holds values up to {values.max()}, but {used} bits end at {(1 << used) - 1}; mend `bits`, "
        reason += "of dataset.yaml or the command line (--bits)"
        raise DataError([Problem(_name(path), reason)])
    return _as_bytes(values, used)


def _deep(image: Image.Image, path: Path | None) -> UInt16[np.ndarray, "h w *c"] | None:
    """The upright pixels of a file of more than 8 bits as they are stored; None if it has 8."""
    if image.mode.startswith("I"):
        return _of_16_bits(np.asarray(ImageOps.exif_transpose(image)), _name(path))
    if path is None or image.format == "PPM" or not formats.is_wide(image, path):
        return None
    return formats.upright(formats.read_wide(path)[..., :3], formats.orientation(image))


def _name(path: Path | None) -> str:
    return "the PIL image" if path is None else str(path)


def _of_16_bits(values: Integer[np.ndarray, "h w"], where: str) -> UInt16[np.ndarray, "h w"]:
    """Raises `DataError` for values that 16 bits do not hold: cut off, they would look all alike."""
    least, most = int(values.min()), int(values.max())
    if least < 0 or most > 0xFFFF:
        reason = f"holds values from {least} to {most}; expected 0 to 65535: save it with 16 bits"
        raise DataError([Problem(where, reason)])
    return values.astype(np.uint16)


def _bits(values: UInt16[np.ndarray, "h w *c"], stated: int | None) -> int:
    largest = int(values.max())
    # What is said is not believed where values are larger: PNG's sBIT may be of values that fill all 16 bits.
    possible = [*([stated] if stated is not None else []), *_DEPTHS]
    return next(bits for bits in possible if not largest >> bits)


def _as_bytes(values: UInt16[np.ndarray, "h w *c"], bits: int) -> UInt8[np.ndarray, "h w 3"]:
    """Values of so many bits as RGB of 8."""
    small = (values >> (bits - 8) if bits >= 8 else values << (8 - bits)).astype(np.uint8)
    return np.repeat(small[:, :, None], 3, axis=2) if small.ndim == 2 else small


def _refuse_too_large(pixels: int, path: Path) -> None:
    """Raise `DataError` before anything is decoded for which there is no memory."""
    has = f"has {pixels / 1e6:.0f} megapixels"
    if pixels > MOST_PIXELS:
        raise DataError([Problem(str(path), f"{has}, of at most {MOST_PIXELS / 1e6:.0f}; cut it into tiles")])
    if pixels <= LARGE_PIXELS:
        return
    needed, free = pixels * BYTES_PER_PIXEL, free_memory()
    if free is not None and needed > free:
        reason = f"{has}, which take about {needed / 1e9:.1f} GB of memory, of which {free / 1e9:.1f} are free"
        raise DataError([Problem(str(path), f"{reason}; end other programs, or cut it into tiles")])
