"""Surface normals on disk: 16-bit RGB PNGs, and a `normals.json` beside them that says what their numbers mean.

Red, green and blue are round(65535 (n + 1) / 2) of x (right), y (down) and z (forward) in the camera's frame.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float, Float32

from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io import draw
from fathomseg.io.draw import Picture
from fathomseg.io.files import write_text

_LEVELS: Final = 65535


def write_normals(path: Path, normals: Float32[np.ndarray, "h w 3"]) -> None:
    """Write unit vectors, exact to 1.6e-5. Appears only when complete. Raises `FathomError` for other vectors."""
    lengths = np.linalg.norm(normals, axis=2)
    if not (np.abs(lengths - 1) < 1e-3).all():  # which NaN fails as well
        raise FathomError(f"{path}: normals have length 1, but these have {lengths.min():g} to {lengths.max():g}.")
    draw.write(path, np.rint((normals.astype(np.float64) + 1) / 2 * _LEVELS).clip(0, _LEVELS).astype(np.uint16))


def read_normals(path: Path) -> Float32[np.ndarray, "h w 3"]:
    """The unit vectors that `write_normals` stored; black pixels, which are none, are 0 0 0.

    Raises `DataError` if it is no RGB image of 16 bits.
    """
    try:
        stored = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)  # Pillow makes 8 bits of 16 in colour
    except (OSError, cv2.error):
        stored = None
    if stored is None:
        raise DataError([Problem(str(path), "cannot be decoded; replace it")])
    if stored.dtype != np.uint16 or stored.ndim != 3 or stored.shape[2] != 3:
        reason = f"has pixels of {stored.dtype} {stored.shape[2:]}; expected RGB of 16 bits, as `fathom predict` writes"
        raise DataError([Problem(str(path), reason)])
    known = stored.any(axis=2, keepdims=True)
    vectors = stored[..., ::-1].astype(np.float32) * np.float32(2 / _LEVELS) - 1
    lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
    unit: Float32[np.ndarray, "h w 3"] = np.where(known, vectors / np.maximum(lengths, 1e-6), 0).astype(np.float32)
    return unit


def normals_picture(normals: Float[np.ndarray, "h w 3"]) -> Picture:
    """(n + 1) / 2 as RGB; vectors of length 0, which are not known, are black."""
    picture: Picture = np.rint((normals + 1) / 2 * 255).clip(0, 255).astype(np.uint8)
    picture[~normals.any(axis=2)] = 0
    return picture


def describe_normals(folder: Path, run: str) -> None:
    """Write normals.json."""
    meaning = {
        "normal": f"2 * PNG value / {_LEVELS} - 1: red = x (right), green = y (down), blue = z (forward)",
        "frame": "the camera's; unit vectors that point towards the camera",
        "run": run,
    }
    write_text(folder / "normals.json", json.dumps(meaning, indent=1) + "\n")
