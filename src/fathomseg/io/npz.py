"""Several arrays in one compressed file, without pickles. Equal arrays give equal bytes: NumPy stores no time."""

from __future__ import annotations

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
    stored = load_arrays(path)
    if lacking := [name for name in names if name not in stored]:
        there = ", ".join(filter(None, stored)) or "no named array"
        reason = (
            f"cannot be read as .npz with {' and '.join(names)}: it holds {there}, not {lacking[0]}; write it again"
        )
        raise DataError([Problem(str(path), reason)])
    return [stored[name] for name in names]


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz by name, or that of an .npy under the name "". Nothing is unpickled. Raises `DataError`."""
    try:
        with path.open("rb") as file:  # given a path, NumPy leaves damaged files open
            loaded: Any = np.load(file, allow_pickle=False)
            arrays = {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
        if odd := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
            raise ValueError(f"a zip that holds {odd[0]}, which is no array")
        return arrays
    except Exception as error:  # NumPy evaluates headers as Python's literals, and raises all that can go wrong there
        reason = str(error).split("\n")[0] or type(error).__name__
        raise DataError([Problem(str(path), f"cannot be read as a file of NumPy ({reason}); replace it")]) from None
