"""Kind 7: numbers lost in decoding labels. What the file is decides; what cannot be exact is refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from tests.corpus.case import Case, Place, refused, table, told
from tests.corpus.inputs import COLOURS, COUNT, READERS, TRAIN_IT, describe, folder, relabel, save, truth


def stored(change: Callable[[np.ndarray], Any], ending: str = ".png", **options: Any) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        folder()
        relabel(change, ending, **options)

    return make


def written(encode: Callable[[np.ndarray], bytes], ending: str = ".png", **description: Any) -> Callable[[Place], None]:
    """Labels as the bytes of files."""

    def make(place: Place) -> None:
        folder(**description)
        for i in range(COUNT):
            Path(f"labels/{i:03d}.png").unlink()
            Path(f"labels/{i:03d}{ending}").write_bytes(encode(truth(i)))

    return make


def by_cv2(ending: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], bytes]:
    return lambda label: bytes(cv2.imencode(ending, change(label))[1])


def png(label: np.ndarray, bits: int, interlaced: bool = False) -> bytes:
    """A grey PNG of 1 to 16 bits, written by hand; Adam7 if interlaced."""
    height, width = label.shape
    starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    passes = [label[top::down, left::right] for top, left, down, right in starts] if interlaced else [label]
    rows = b""
    for part in passes:
        for row in part:
            if bits == 16:
                packed = row.astype(">u2").tobytes()
            else:
                digits = "".join(f"{value:0{bits}b}" for value in row.tolist())
                digits += "0" * (-len(digits) % 8)
                packed = int(digits, 2).to_bytes(len(digits) // 8, "big")
            rows += b"\0" + packed
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, int(interlaced))
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def palette(order: tuple[int, int, int]) -> Callable[[np.ndarray], Image.Image]:
    """A palette image whose index i has the colour of class order[i], drawn so that its colours are right."""

    def change(label: np.ndarray) -> Image.Image:
        picture = Image.fromarray(np.argsort(order).astype(np.uint8)[label]).convert("P")
        picture.putpalette([value for index in order for value in COLOURS[index]])
        return picture

    return change


def coloured(place: Place) -> None:
    folder(classes=[{"name": n, "colour": list(c)} for n, c in zip(("red", "green", "blue"), COLOURS, strict=True)])


def reordered(place: Place) -> None:
    coloured(place)
    relabel(palette((2, 0, 1)))


def colours(place: Place) -> None:
    coloured(place)
    describe(
        labels="colours",
        classes=[{"name": n, "colour": list(c)} for n, c in zip(("red", "green", "blue"), COLOURS, strict=True)],
    )
    relabel(lambda label: np.array(COLOURS, np.uint8)[label])


def encoded(kind: str, **options: Any) -> Callable[[np.ndarray], bytes]:
    def encode(label: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(label * 80).save(buffer, kind, **options)
        return buffer.getvalue()

    return encode


def pages(label: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(label).save(buffer, "TIFF", save_all=True, append_images=[Image.fromarray(label)])
    return buffer.getvalue()


def one(change: Callable[[Path], object]) -> Callable[[Place], None]:
    """One label of the folder is odd."""

    def make(place: Place) -> None:
        folder()
        change(Path("labels/001.png"))

    return make


EXACT = {
    "16 bits": stored(lambda x: x.astype(np.uint16)),
    "16-bit RGB of equal channels": written(by_cv2(".png", lambda x: np.repeat(x[..., None], 3, 2).astype(np.uint16))),
    "RGB of equal channels": stored(lambda x: np.repeat(x[..., None], 3, 2)),
    "grey with alpha": stored(lambda x: Image.merge("LA", [Image.fromarray(x), Image.new("L", (32, 32), 255)])),
    "2 bits": written(lambda x: png(x, 2)),
    "4 bits, interlaced": written(lambda x: png(x, 4, interlaced=True)),
    "8 bits, interlaced": written(lambda x: png(x, 8, interlaced=True)),
    "TIFF of 32-bit integers": stored(lambda x: Image.fromarray(x.astype(np.int32)), ".tif"),
    "TIFF, LZW": stored(lambda x: x, ".tiff", compression="tiff_lzw"),
    "lossless WebP": stored(lambda x: x, ".webp", lossless=True),
    "upper-case ending": stored(lambda x: x, ".PNG"),
    "BMP": stored(lambda x: x, ".bmp"),
    "a PNG called .jpg": written(lambda x: png(x, 8), ".jpg"),
    "palette in another order": reordered,
    "colours": colours,
}
REFUSED = (
    ("JPEG", written(encoded("JPEG", quality=95), ".jpg"), "is a JPEG"),
    ("a JPEG called .png", written(encoded("JPEG", quality=95)), "is a JPEG"),
    ("lossy WebP", written(encoded("WEBP", quality=90), ".webp"), "is a lossy WebP"),
    ("TIFF of floats", stored(lambda x: Image.fromarray(x.astype(np.float32)), ".tif"), "pixels of mode F"),
    ("TIFF of two pages", written(pages, ".tif"), "holds 2 pages"),
    (
        "CMYK TIFF",
        stored(lambda x: Image.fromarray(np.repeat(x[..., None], 4, 2), "CMYK"), ".tif"),
        "pixels of mode CMYK",
    ),
    ("colours where ids are said", stored(lambda x: np.array(COLOURS, np.uint8)[x]), "`labels: colours`"),
)
BROKEN = (
    ("a label of zero bytes", one(lambda path: path.write_bytes(b"")), "is empty (0 bytes)"),
    ("a label cut off", one(lambda path: path.write_bytes(path.read_bytes()[:60])), "cannot be decoded"),
    ("a label that is text", one(lambda path: path.write_text("no image")), "is not an image of a known format"),
    ("a label bigger than its image", one(lambda path: save(path, truth(1, (64, 64)))), "64 x 64 (height x width)"),
    ("a label a row short", one(lambda path: save(path, truth(1)[:-1])), "31 x 32 (height x width)"),
    ("a label with an unknown id", one(lambda path: save(path, truth(1) + 9)), "not in the class list"),
    ("a label that is a folder", one(lambda path: (path.unlink(), path.mkdir())), ""),
)

CASES: tuple[Case, ...] = table(
    *(
        (f"{name}: {verb}", "folder", make, words, then)
        for name, make in EXACT.items()
        for verb, words, then in READERS
    ),
    *(
        (
            name,
            "folder",
            make,
            TRAIN_IT,
            refused("labels/00", said, "save" if "colours where" not in name else "dataset.yaml"),
        )
        for name, make, said in REFUSED[3:6]
    ),
    *((name, "folder", make, TRAIN_IT, refused("labels/00", said)) for name, make, said in (*REFUSED[:3], REFUSED[6])),
    *((f"{name}, checked", "folder", make, "check --data .", told("labels/00", said)) for name, make, said in REFUSED),
    *((name, "folder", make, "check --data .", told("labels/001.png", said)) for name, make, said in BROKEN[:-1]),
    *(
        (f"{name}, trained on", "folder", make, TRAIN_IT, refused("labels/001.png", said))
        for name, make, said in BROKEN[:-1]
    ),
)
