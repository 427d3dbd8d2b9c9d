"""What an image file is, by its content and never by its name: compression, bits, pages, orientation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from jaxtyping import Shaped, UInt16
from PIL import Image

from fathomseg.errors import DataError, Problem

ORIENTATION: Final = 0x0112
_TURNABLE: Final = {"JPEG", "MPO", "TIFF", "WEBP"}
_EXACT: Final = {"BMP", "DIB", "GIF", "PNG", "PPM", "TIFF"}
"""Formats that give back the numbers that were stored, if their compression does; and WebP, if it is lossless."""
_LOSSLESS: Final = {1, 2, 3, 4, 5, 8, 32771, 32773, 32946, 34925, 50000}
"""TIFF's compressions that lose nothing: none, CCITT, LZW, Deflate, PackBits, LZMA, Zstandard."""
_SMALLER, _MASK = 1, 4
"""Bits of a TIFF's tag NewSubfileType."""
_BITS, _COMPRESSION, _PHOTOMETRIC, _SUBFILE = 258, 259, 262, 254


def png_bits(path: Path, grey: bool = False) -> int:
    """Bits of one value of a PNG (if `grey`, of a grey one), from its header; 0 for all other files."""
    head = _png_head(path)
    return head[24] if head and not (grey and head[25]) else 0


def png_is_rgb(path: Path) -> bool:
    """Whether a PNG holds colours themselves, not indices of a palette, by its header; False for all other files."""
    head = _png_head(path)
    return bool(head and head[25] in {2, 6})


def orientation(image: Image.Image, path: Path | None = None) -> int:
    """EXIF orientation 1..8 of an opened image; `path` is given if it has not been decoded.

    A PNG may carry it behind its pixels, and Pillow would decode them to see: its chunks are looked through instead. A
    TIFF is turned by Pillow as it is decoded, after which this is 1.
    """
    if image.format == "PNG" and (path is None or any(_tells_exif(*chunk) for chunk in _png_chunks(path))):
        return int(image.getexif().get(ORIENTATION, 1))
    return int(image.getexif().get(ORIENTATION, 1)) if image.format in _TURNABLE else 1


def upright(pixels: Shaped[np.ndarray, "h w *c"], orientation: int) -> Shaped[np.ndarray, "h2 w2 *c"]:
    """Stored pixels turned as an EXIF orientation says (EXIF 2.3, table of orientations)."""
    turns = {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}.get(orientation, 0)
    turned = np.rot90(pixels, turns)
    return np.ascontiguousarray(turned[:, ::-1] if orientation in {2, 4, 5, 7} else turned)


def inexact(image: Image.Image, path: Path, lossy: bool = False) -> str | None:
    """Why the numbers in a file cannot be read exactly, and what to do; None if they can.

    `lossy`: a lossy compression is allowed, as for a map of disparity.
    """
    if not lossy and (kind := _lossy_kind(image, path)) is not None:
        return f"is {kind}, which changes labels near edges; store labels as PNG, from the original"
    if (count := pages(path)) > 1:
        return f"holds {count} pages or frames; expected one: save the one with the labels as PNG"
    photometric = _tag(image, _PHOTOMETRIC)
    if photometric == 0 or (image.format == "PPM" and image.mode == "1"):
        what = "a TIFF in which 0 is white (MinIsWhite)" if photometric == 0 else "a PBM, in which 1 is black"
        return f"is {what}, so that its numbers may be meant in two ways; save it as PNG with 0 = black"
    if image.mode not in {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "F", "I"} and not image.mode.startswith("I;16"):
        return f"has pixels of mode {image.mode}; save it as PNG, with grey values, a palette or RGB"
    return None


def stretch(image: Image.Image, path: Path) -> tuple[int, int] | None:
    """(largest decoded, largest stored) value where Pillow stretches what is stored to its own range; else None."""
    if image.format == "PNG":
        bits = png_bits(path, grey=True)
    elif image.format == "TIFF" and image.mode == "L":
        bits = int(_first(_tag(image, _BITS)))
    elif image.format == "PPM" and image.mode in {"L", "I", "RGB"}:
        most = _maxval(path)
        return None if most in {255, 65535} else (255 if image.mode != "I" else 65535, most)
    else:
        return None
    return (255, (1 << bits) - 1) if bits in {2, 4} else None


def is_wide(image: Image.Image, path: Path) -> bool:
    """Whether it holds 16 bits in several channels, of which Pillow gives the higher 8."""
    if image.mode not in {"RGB", "RGBA", "LA", "RGBX"}:
        return False
    if image.format == "PPM":
        return _maxval(path) > 255
    if image.format == "TIFF":
        return int(_first(_tag(image, _BITS))) > 8
    return png_bits(path) == 16


def read_wide(path: Path) -> UInt16[np.ndarray, "h w c"]:
    """The pixels of such a file as they are stored, RGB or RGBA, not turned. Raises `DataError`."""
    values: Any = None
    try:
        with Image.open(path) as image:
            if image.format == "TIFF" and orientation(image) != 1:  # which OpenCV turns, or fails to
                raise DataError([Problem(str(path), "is a TIFF of 16 bits that lies on its side; save it upright")])
        values = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, OSError):
        values = None
    if values is None or values.dtype != np.uint16 or values.ndim != 3 or values.shape[2] not in {3, 4}:
        reason = "holds 16 bits in several channels in a way that cannot be read; save it as PNG, upright"
        raise DataError([Problem(str(path), reason)])
    order = cv2.COLOR_BGR2RGB if values.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    rgb: UInt16[np.ndarray, "h w c"] = np.asarray(cv2.cvtColor(values, order))
    return rgb


def stated_bits(image: Image.Image, path: Path | None = None) -> int | None:
    """Bits that a file of 16 bits says it uses of them; None if it does not say. `path` None: that of an image which
    Pillow has opened, if it is still there."""
    if image.format == "TIFF":
        bits = int(_first(_tag(image, _BITS)))
        return bits if bits < 16 else None
    if image.format == "PPM":
        return 16  # scaled by its own largest value as it is decoded
    path = path or Path(os.fsdecode(getattr(image, "filename", "")))
    if image.format == "PNG" and path.is_file():
        stated = next((data for kind, data in _png_chunks(path) if kind == b"sBIT"), b"")
        return max(stated) if stated else None
    return None


def _lossy_kind(image: Image.Image, path: Path) -> str | None:
    if image.format in {"JPEG", "MPO"}:
        return "a JPEG"
    if image.format == "WEBP":
        return None if _webp_is_lossless(path) else "a lossy WebP"
    if image.format == "TIFF" and int(_tag(image, _COMPRESSION) or 1) not in _LOSSLESS:
        return f"a TIFF with lossy compression ({image.info.get('compression', _tag(image, _COMPRESSION))})"
    return None if image.format in _EXACT else f"a file of the format {image.format}"


def _webp_is_lossless(path: Path) -> bool:
    """Whether all its pictures are VP8L, by the chunks of the RIFF file."""
    kinds = set()
    with path.open("rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            kinds.add(head[:4])
            length = int.from_bytes(head[4:], "little")
            file.seek(length + length % 2, 1)
    return b"VP8L" in kinds and b"VP8 " not in kinds


def pages(path: Path) -> int:
    """Pictures in a file, without the smaller copies and masks of one that a TIFF may hold."""
    with Image.open(path) as image:  # once more: counting makes Pillow forget how a TIFF is turned
        count = int(getattr(image, "n_frames", 1))
        if image.format != "TIFF" or count == 1:
            return count
        found = 0
        for page in range(count):
            image.seek(page)
            found += not int(_tag(image, _SUBFILE) or 0) & (_SMALLER | _MASK)
        return found


def _tag(image: Image.Image, tag: int) -> Any:
    """A tag of a TIFF; None for other files."""
    tags = getattr(image, "tag_v2", None) if image.format == "TIFF" else None
    return None if tags is None else tags.get(tag)


def _first(value: Any) -> Any:
    return (value[0] if isinstance(value, tuple) else value) or 1


def _maxval(path: Path) -> int:
    """The largest value of a PGM or PPM, by its header; 255 if it has none."""
    with path.open("rb") as file:
        lines = file.read(4096).splitlines()
    words = [word for line in lines for word in line.split(b"#")[0].split()]
    return int(words[3]) if len(words) > 3 and words[0] in {b"P2", b"P3", b"P5", b"P6"} and words[3].isdigit() else 255


def _png_head(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(26)
    return head if head.startswith(b"\x89PNG") and len(head) == 26 else b""


def _png_chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG: kind, and the first bytes of what it holds. Nothing for other files."""
    with path.open("rb") as file:
        if not file.read(8).startswith(b"\x89PNG"):
            return
        while len(head := file.read(8)) == 8:
            length = int.from_bytes(head[:4], "big")
            data = b"" if head[4:] == b"IDAT" else file.read(min(length, 32))
            yield head[4:], data
            file.seek(length - len(data) + 4, 1)


def _tells_exif(kind: bytes, data: bytes) -> bool:
    return kind == b"eXIf" or (kind in {b"tEXt", b"zTXt", b"iTXt"} and data.startswith(b"Raw profile type exif"))
