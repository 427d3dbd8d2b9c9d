"""Several arrays in one compressed file, without pickles. Equal arrays give equal bytes: NumPy stores no time."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fathomseg.errors import DataError, Problem
from fathomseg.io.files import writing


def write_npz(path: Path, **arrays: NDArray[Any]) -> None:
    """Write arrays under their names; the file appears only when complete."""
    with writing(path) as temporary, temporary.open("wb") as file:  # given a name, NumPy would add an ending
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_npz(path: Path, *names: str) -> list[NDArray[Any]]:
    """The arrays of these names. Raises `DataError` if the file is missing or damaged, or has no such array."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return [stored[name] for name in names]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = f"cannot be read as .npz with {' and '.join(names)} ({error}); write it again"
        raise DataError([Problem(str(path), reason)]) from None
