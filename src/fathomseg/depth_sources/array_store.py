"""Arrays in a folder that many processes write and read at once: a file appears under its name only when complete."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fathomseg.errors import FathomError


def entry(folder: Path, key: str) -> Path:
    """The file of what depends on `key` and nothing else."""
    name = hashlib.sha256(key.encode()).hexdigest()[:40]
    return folder / name[:2] / f"{name}.npy"


def is_whole(path: Path, shape: tuple[int, ...], kind: type[np.generic]) -> bool:
    """Whether there is a file long enough for such an array, told from its header and length."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError):
        return False
    return bool(array.shape == shape and array.dtype == kind)


def load(path: Path) -> NDArray[Any] | None:
    """The stored array; None if there is none or the file is damaged."""
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError):
        return None
    return array


def store(path: Path, array: NDArray[Any]) -> None:
    """Write under a temporary name, then rename. Raises `FathomError` if the folder cannot be written."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            np.save(file, array, allow_pickle=False)
        temporary.replace(path)
    except OSError as error:
        raise FathomError(
            f"The cache at {path.parent.parent} cannot be written ({error}). Free space, or let the variable "
            "FATHOM_CACHE name another folder."
        ) from None
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
