"""Arrays in a folder that many processes write and read at once, each in a file named by all it depends on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fathomseg.errors import FathomError
from fathomseg.io.files import writing


def entry(folder: Path, key: str) -> Path:
    """The file of what depends on `key` and nothing else."""
    name = hashlib.sha256(key.encode()).hexdigest()[:40]
    return folder / name[:2] / f"{name}.npy"


def is_whole(path: Path, shape: tuple[int, ...], kind: type[np.generic]) -> bool:
    """Whether there is a file long enough for such an array, judged by its header and length."""
    try:
        array = np.lib.format.open_memmap(path, "r")
    except Exception:  # whatever NumPy makes of a damaged header
        return False
    return bool(array.shape == shape and array.dtype == kind)


def load(path: Path) -> NDArray[Any] | None:
    """The stored array; None if there is none or the file is damaged."""
    try:
        with path.open("rb") as file:  # given a path, NumPy leaves damaged files open
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except Exception:  # as above
        return None
    return array


def mapped(path: Path, mode: Literal["r", "r+", "c"] = "c") -> np.memmap[Any, Any]:
    """The array in a file that a command goes on with, mapped into memory; "c" may be written to without effect on the
    file. Nothing is unpickled. Raises `FathomError` if it is damaged."""
    try:
        return np.lib.format.open_memmap(path, mode)
    except Exception as error:  # as above
        raise FathomError(f"{path} is damaged ({str(error) or type(error).__name__}); remove it to go on.") from None


def store(path: Path, array: NDArray[Any]) -> None:
    """Write an array, which appears under its name only when complete. Raises `OSError` if that cannot be done."""
    with writing(path) as temporary, temporary.open("wb") as file:  # given a name, NumPy would add an ending
        np.save(file, array, allow_pickle=False)
