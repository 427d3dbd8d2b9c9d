"""Decoded arrays at working size, kept on disk: decoding and resizing happen once, not once an epoch."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Shaped

from fathomseg.data.datasets.base import Dataset, Kind
from fathomseg.data.datasets.scan import chunks, map_threads
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io import array_store
from fathomseg.io.images import resize_image, resize_nearest
from fathomseg.text import at_home
from fathomseg.types import Size

_log = logging.getLogger(__name__)

Prepared = Kind | Literal["normals"]
"""What is prepared: the arrays of a dataset, and its normals."""

LIMIT: Final = "FATHOM_CACHE_GB"
"""The environment variable that says how many gigabytes (1e9 bytes) one stream may keep at one size."""

FORMAT: dict[Prepared, int] = {"image": 2, "label": 3, "depth": 2, "normals": 3}
"""Raise it when the same file would be prepared differently: older entries are then never found again."""

_CHANNELS: dict[Prepared, int] = {"image": 3, "label": 1, "depth": 1, "normals": 3}
_TYPES: dict[Prepared, np.dtype[Any]] = {
    kind: np.dtype(np.float32 if kind in {"depth", "normals"} else np.uint8) for kind in _CHANNELS
}


class Cache:
    """Reads a dataset's arrays at one size, through files that many processes may write and read at once.

    An entry is one `.npy` named by a hash of everything it depends on: the dataset's fingerprint of the source file,
    the size, and `FORMAT`. It appears under its name only when complete, so an interrupt leaves nothing half done. The
    camera that belongs to the arrays is `dataset.camera(id).resized(size)`. `limit_gb` is what one call of `prepare`
    may need: None = `cache_limit_gb`, 0 = nothing is kept.
    """

    def __init__(
        self, dataset: Dataset, size: Size | None, folder: Path | None = None, limit_gb: float | None = None
    ) -> None:
        self.dataset = dataset
        self.size = size
        self.folder = cache_folder() if folder is None else folder
        self.limit_gb = cache_limit_gb() if limit_gb is None else limit_gb
        self._stores = self.limit_gb > 0

    def read(self, id: str, kind: Prepared) -> Shaped[np.ndarray, "h w *channels"] | None:
        """One array at the working size (the stored size if that is None); None if the sample has none.

        Images are uint8 RGB (area average when shrinking, bilinear when growing); labels uint8 and depth float32 are
        nearest at pixel centres, and so are normals, which are made at the stored size: pixels that are left out or
        repeated make steps of a slope. What is not in the cache, or is damaged there, is decoded and stored. Raises
        `DataError` if the source file cannot be used.
        """
        if kind == "label" and not self.dataset.has_label(id):
            return None
        entry = self._entry(id, kind) if self._stores else None
        array = None if entry is None else self._load(entry, kind)
        if array is None:
            array = self._decode(id, kind)
            if array is not None and entry is not None:
                self._store(entry, array)
        return array

    def prepare(
        self,
        wanted: Sequence[tuple[str, Prepared]],
        progress: Callable[[int, int], None] | None = None,
        check: bool = True,
    ) -> None:
        """Decode and store what is wanted and missing, in threads; `progress` is called with (done, total).

        Raises one `DataError` with every problem found. If the arrays would need more than `limit_gb`, this cache is
        switched off with a warning and `read` decodes every time. `check`: whether files are decoded all the same then,
        to find those that cannot be.
        """
        if not self._fits(wanted) and not check:
            return
        problems: dict[Problem, None] = {}
        done = 0
        for count, found in map_threads(self._prepare, chunks(wanted)):
            problems.update(dict.fromkeys(found))
            done += count
            if progress is not None:
                progress(done, len(wanted))
        if problems:
            raise DataError(tuple(problems))

    def stored_size(self, id: str) -> Size:
        """The size of one image, taken for the size of all; nothing if it is bad, which is reported later."""
        try:
            return self.dataset.image(id).shape[:2]
        except DataError:
            return (0, 0)

    def _prepare(self, wanted: Sequence[tuple[str, Prepared]]) -> tuple[int, list[Problem]]:
        problems: list[Problem] = []
        for id, kind in wanted:
            try:
                if kind == "label" and not self.dataset.has_label(id):
                    continue
                entry = self._entry(id, kind)
                if entry is None or entry.is_file():
                    continue
                if (array := self._decode(id, kind)) is not None and self._stores:
                    self._store(entry, array)
            except DataError as error:
                problems += error.problems
        return len(wanted), problems

    def _fits(self, wanted: Sequence[tuple[str, Prepared]]) -> bool:
        if not wanted:
            return True
        height, width = self.size or self.stored_size(wanted[0][0])
        needed_gb = sum(_CHANNELS[kind] * _TYPES[kind].itemsize for _, kind in wanted) * height * width / 1e9
        if needed_gb > self.limit_gb:
            self._switch_off(
                f"the prepared arrays would need {needed_gb:.1f} GB but the limit is {self.limit_gb:g} GB; "
                f"for faster reading set the variable {LIMIT}={math.ceil(needed_gb)}, or train at a smaller size"
            )
        return self._stores

    def _decode(self, id: str, kind: Prepared) -> Shaped[np.ndarray, "h w *channels"] | None:
        array: Any = getattr(self.dataset, kind)(id)
        if array is not None and self.size is not None:
            array = (resize_image if kind == "image" else resize_nearest)(array, self.size)
        # torch wants to own what it is given
        return None if array is None else np.require(array, requirements=("C", "W"))

    def _entry(self, id: str, kind: Prepared) -> Path | None:
        """The file an array is kept in; None if the dataset asks not to cache it."""
        known = self.dataset.normals_fingerprint(id) if kind == "normals" else self.dataset.fingerprint(id, kind)
        return None if known is None else array_store.entry(self.folder, f"{FORMAT[kind]}|{self.size}|{known}")

    def entry_of_all(self, ids: Sequence[str], kind: Kind, what: str) -> Path | None:
        """The file to keep `what` in, a small thing made of the arrays of all these ids; None if nothing is to be kept.
        Raises `DataError` if a source file has gone."""
        having = [id for id in ids if kind != "label" or self.dataset.has_label(id)]
        known = [self.dataset.fingerprint(id, kind) for id in having]
        if self.limit_gb == 0 or None in known:
            return None
        return array_store.entry(self.folder, f"{what}|{FORMAT[kind]}|{self.size}|{known}")

    def _load(self, entry: Path, kind: Prepared) -> Shaped[np.ndarray, "h w *channels"] | None:
        """The stored array; None if there is none or the file is damaged (cut short, overwritten)."""
        array = array_store.load(entry)
        if array is None:
            if entry.is_file():
                _log.warning("The cache file %s is damaged and is made anew.", entry)
            return None
        size = self.size or array.shape[:2]
        expected = size if _CHANNELS[kind] == 1 else (*size, _CHANNELS[kind])
        return array if array.shape == expected and array.dtype == _TYPES[kind] else None

    def _store(self, entry: Path, array: Shaped[np.ndarray, "h w *channels"]) -> None:
        """Keep an array. A cache that cannot be written is a loss of time, not an error."""
        try:
            array_store.store(entry, array)
        except OSError as error:
            self._switch_off(f"{entry.parent} cannot be written ({error})")

    def _switch_off(self, reason: str) -> None:
        if self._stores:
            self._stores = False
            _log.warning("The cache of %s is off: %s.", self.dataset.name, reason)


def cache_folder() -> Path:
    """The folder of prepared arrays: the environment variable FATHOM_CACHE, or ~/.cache/fathomseg."""
    named = os.environ.get("FATHOM_CACHE")
    return at_home(named) if named else Path.home() / ".cache" / "fathomseg"


def cache_limit_gb() -> float:
    """Gigabytes that one call of `Cache.prepare` may need: FATHOM_CACHE_GB, or 16. Raises `FathomError` for a variable
    that is no such number."""
    said = os.environ.get(LIMIT, "16")
    try:
        limit = float(said)
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise FathomError(f"The variable {LIMIT} is {said!r}; expected a number of gigabytes: 64, or 0 for none.")
    return limit
