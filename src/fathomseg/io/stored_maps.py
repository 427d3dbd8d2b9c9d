"""Maps of numbers that any program has stored, of disparity or depth: PNG, TIFF, PFM, and files of NumPy."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fathomseg.errors import DataError, Problem
from fathomseg.io.label_images import read_stored
from fathomseg.io.npz import load_arrays

MAP_SUFFIXES: Final = (".npy", ".npz", ".pfm", ".png", ".tif", ".tiff")
"""Endings of files that can hold a map, in lower case."""


def read_map(path: Path, wanted: str = "disparity") -> NDArray[Any]:
    """The numbers stored in a file, one a pixel, of the type they are stored in: integer or floating point, (h, w).

    Of an `.npz` with several arrays it is the one named `wanted`. Raises `DataError` if there is no such thing.
    """
    match path.suffix.lower():
        case ".png":
            values: NDArray[Any] = read_stored(path, lossy=True).values
        case ".npy" | ".npz":
            values = _numpy(path, wanted)
        case ".pfm":
            with np.errstate(invalid="ignore"):  # a signalling NaN is unknown as any other
                values = _opencv(path) * _pfm_scale(path)
        case _:
            values = _opencv(path)
    while values.ndim > 2 and 1 in (values.shape[0], values.shape[-1]):  # a batch or channel axis that says nothing
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 2 or not values.size or values.dtype.kind not in "uif":
        reason = f"holds {values.dtype} of shape {values.shape}; expected numbers of shape (height, width)"
        raise DataError([Problem(str(path), reason)])
    return values


def read_as(path: Path) -> str:
    """A part of the fingerprint of what `read_map` gives: it changes for the endings that are read otherwise than they
    were, so that no cache holds the old numbers."""
    return "|as stored" if path.suffix.lower() == ".pfm" else ""


def _numpy(path: Path, wanted: str) -> NDArray[Any]:
    arrays = load_arrays(path)
    name = next(iter(arrays)) if len(arrays) == 1 else wanted
    if name not in arrays:
        there = ", ".join(arrays) or "none"
        raise DataError([Problem(str(path), f"expected one array, or one named {wanted!r}; arrays in it: {there}")])
    return np.asarray(arrays[name])


def _pfm_scale(path: Path) -> np.float32:
    """The number in the header of a PFM that can be decoded, without its sign. OpenCV divides by it; the format leaves
    its meaning open, and readers of Middlebury's disparity pass over it."""
    with path.open("rb") as file:
        head = file.read(256).split(maxsplit=4)
    try:
        return np.float32(abs(float(head[3])))
    except (IndexError, ValueError):
        raise DataError([Problem(str(path), "has no number in the third line of its header; write it anew")]) from None


def _opencv(path: Path) -> NDArray[Any]:
    values: Any = None
    with suppress(cv2.error):
        values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise DataError([Problem(str(path), "cannot be decoded; replace it")])
    return np.asarray(values)
