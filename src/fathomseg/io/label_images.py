"""Numbers in pictures: class ids, palettes, colours that mean classes, depths. Read exactly as stored, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer, Shaped, UInt8
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fathomseg.errors import DataError, Problem
from fathomseg.io import formats
from fathomseg.io.images import opened, to_rgb


@dataclass(frozen=True, slots=True)
class Stored:
    """The numbers in a one-channel image, upright, and how they are drawn."""

    values: Integer[np.ndarray, "h w"]
    palette: Mapping[int, tuple[int, int, int]]
    """The colour of each index, for an image with a palette; else empty."""
    unpainted: Bool[np.ndarray, "h w"] | None
    """Pixels of a drawing that nobody has painted (`_unpainted`); None if there are none."""


def read_values(path: Path) -> Integer[np.ndarray, "h w"]:
    """The numbers stored in a one-channel image: grey values as written (1 to 32 bits) or palette indices, unscaled.

    An RGB image whose channels are equal counts as grey. Raises `DataError` for a real colour image, for one whose
    numbers cannot be exact (lossy, several pages) and, as `read_rgb` does, for a file that cannot be read.
    """
    return read_stored(path).values


def read_stored(path: Path, lossy: bool = False) -> Stored:
    """As `read_values`, with the palette. `lossy`: a JPEG is allowed, as for a map of disparity."""
    with opened(path, decode=False) as image:
        _refuse_inexact(image, path, lossy)
        scaled, wide = formats.stretch(image, path), formats.is_wide(image, path)
        palette = _palette(image)
        if wide and image.format != "PPM":
            values: NDArray[Any] = formats.upright(formats.read_wide(path), formats.orientation(image))
            unpainted = _unpainted(values)
        else:
            upright = ImageOps.exif_transpose(image)
            values, unpainted = np.asarray(upright), _unpainted(_drawn(upright))
        if values.ndim == 3:
            colours = values[..., : 1 if values.shape[2] == 2 else 3]
            if wide and image.format == "PPM":
                raise DataError([Problem(str(path), "is a PPM of 16 bits; save labels as PNG, with one channel")])
            if not (colours == colours[..., :1]).all():
                what = "is a colour image; expected one channel of "
                what += (
                    "numbers. Store the numbers themselves, as a grey PNG of 16 bits or .npy: a picture of them is none"
                    if lossy
                    else "class ids. If its colours mean the classes, write `labels: colours` and the colours into "
                    "dataset.yaml"
                )
                raise DataError([Problem(str(path), what)])
            values = colours[..., 0]
        if values.ndim != 2 or values.dtype.kind not in "bui":
            raise DataError([Problem(str(path), f"has pixels of mode {image.mode}; save it as PNG, of whole numbers")])
        values = values.astype(np.uint8) if values.dtype.kind == "b" else values
        if scaled is not None:
            decoded, most = scaled
            values = ((values.astype(np.int64) * most + decoded // 2) // decoded).astype(
                np.uint8 if most < 256 else np.uint16
            )
        return Stored(values, palette, unpainted)


def read_first_channel(path: Path) -> Integer[np.ndarray, "h w"]:
    """The first channel (red) of an image of 8 or 16 bits, as stored, upright; of a palette the indices.

    Raises `DataError` as `read_values` does, but for a colour image.
    """
    with opened(path, decode=False) as image:
        _refuse_inexact(image, path)
        if formats.is_wide(image, path) and image.format != "PPM":
            values: NDArray[Any] = formats.upright(formats.read_wide(path), formats.orientation(image))
        else:
            values = np.asarray(ImageOps.exif_transpose(image))
    return np.ascontiguousarray(values[..., 0] if values.ndim == 3 else values)


def read_drawing(path: Path) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"] | None]:
    """A colour-coded label as RGB, exactly as stored, upright: palettes are applied, alpha is dropped; and the pixels
    that nobody has painted. Raises `DataError` if it cannot be exact."""
    with opened(path, decode=False) as image:
        _refuse_inexact(image, path)
        if image.mode.startswith("I") or image.mode == "F":
            raise DataError([Problem(str(path), f"has pixels of mode {image.mode}; expected RGB colours of 8 bits")])
        if formats.is_wide(image, path):
            if image.format == "PPM":
                raise DataError([Problem(str(path), "has colours of 16 bits; save it as PNG with 8 bits a channel")])
            wide = formats.upright(formats.read_wide(path), formats.orientation(image))
            if (wide[..., :3] % 257).any():
                reason = "has colours of 16 bits that 8 bits cannot hold; save it with 8 bits a channel"
                raise DataError([Problem(str(path), reason)])
            return (wide[..., :3] // 257).astype(np.uint8), _unpainted(wide)
        image = ImageOps.exif_transpose(image)
        unpainted = _unpainted(_drawn(image))  # first: `to_rgb` drops what is known of transparency
        return to_rgb(image), unpainted


def _refuse_inexact(image: Image.Image, path: Path, lossy: bool = False) -> None:
    """Look at an opened file before it is decoded, then decode it."""
    if (reason := formats.inexact(image, path, lossy)) is not None:
        raise DataError([Problem(str(path), reason)])
    image.load()


def _palette(image: Image.Image) -> dict[int, tuple[int, int, int]]:
    if image.mode not in {"P", "PA"}:
        return {}
    table = image.getpalette("RGB") or []
    return {i: (table[3 * i], table[3 * i + 1], table[3 * i + 2]) for i in range(len(table) // 3)}


def _unpainted(pixels: Shaped[np.ndarray, "h w *c"]) -> Bool[np.ndarray, "h w"] | None:
    """Pixels of a drawing with alpha that nobody has painted: transparent, and 0 in all channels.

    None if there are none, or nothing else: then alpha means nothing. Alpha changes no colour.
    """
    if pixels.ndim != 3 or pixels.shape[2] not in {2, 4} or not pixels[..., -1].any():
        return None
    empty: Bool[np.ndarray, "h w"] = ~np.asarray(pixels.any(axis=2), np.bool_)
    return empty if empty.any() else None


def _drawn(image: Image.Image) -> Shaped[np.ndarray, "h w *c"]:
    """The decoded pixels; of a palette with transparent colours those of the drawing with alpha that it stands for, so
    that an index which is transparent but not black is painted, with its id."""
    return np.asarray(image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image)
