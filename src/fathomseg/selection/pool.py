"""The images to choose from, and the room and means to do it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from fathomseg.data.cache import Cache
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.scan import chunks, map_threads
from fathomseg.errors import DataError, FathomError
from fathomseg.io.progress import Tell
from fathomseg.parallel.base import Team
from fathomseg.selection.result import Skipped
from fathomseg.types import Size


@dataclass(frozen=True)
class Pool:
    """Readable images of one dataset."""

    cache: Cache
    """Reads them at working size."""
    ids: tuple[str, ...]
    """All of them, sorted, those labelled already included."""
    already: tuple[str, ...]
    """Those of `ids` that are labelled already, sorted."""
    folder: Path
    """Where unfinished work is kept."""
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None
    """CPU threads; None = PyTorch's choice."""
    team: Team | None = field(default=None, compare=False)
    """Who makes features and depth maps and holds shards; None = this process alone."""
    progress: Tell | None = field(default=None, compare=False)
    """Told (done, total) of whatever takes long."""

    @property
    def dataset(self) -> Dataset:
        """Where the images come from."""
        return self.cache.dataset

    @property
    def size(self) -> Size:
        """Working (height, width)."""
        assert self.cache.size is not None, "a pool has a working size"
        return self.cache.size

    @property
    def place(self) -> str | None:
        """The device by torch's name; None = a GPU if there is one."""
        return None if self.device == "auto" else self.device

    @cached_property
    def row(self) -> dict[str, int]:
        """The place of every id in `ids`."""
        return {id: row for row, id in enumerate(self.ids)}

    def rows(self, ids: Sequence[str]) -> list[int]:
        """The places of some ids."""
        return [self.row[id] for id in ids]

    def read(self, ids: Sequence[str], cache: Cache | None = None) -> UInt8[np.ndarray, "b h w 3"]:
        """Images at the size of `cache` (the working size)."""
        images = [(cache or self.cache).read(id, "image") for id in ids]
        return np.stack([image for image in images if image is not None])

    def at(self, size: Size) -> Cache:
        """A reader of the same images at another size, which is not worth storing for one pass."""
        return self.cache if size == self.size else Cache(self.dataset, size, limit_gb=0)


def readable(cache: Cache, ids: Sequence[str], progress: Tell | None = None) -> tuple[list[str], list[Skipped]]:
    """Decode every image once into the cache: the sorted ids of those that can be read, and why the others cannot.

    Raises `FathomError` if there is no image, or none that can be read.
    """
    if not (ids := sorted(set(ids))):
        raise FathomError("The pool is empty: the split holds no image.")
    with suppress(DataError):  # it names files; the images they belong to are found below
        cache.prepare([(id, "image") for id in ids], progress, check=False)  # read below
    skipped = [one for _, found in map_threads(lambda part: read_images(cache, part), chunks(ids)) for one in found]
    if len(skipped) == len(ids):
        raise FathomError(f"None of the {len(ids)} images of the pool can be read; the first: {skipped[0].reason}.")
    left_out = {one.id for one in skipped}
    return [id for id in ids if id not in left_out], skipped


def read_images(cache: Cache, ids: Sequence[str]) -> tuple[dict[str, UInt8[np.ndarray, "h w 3"]], list[Skipped]]:
    """The images by id, and why the others cannot be read."""
    images, skipped = {}, []
    for id in ids:
        try:
            image = cache.read(id, "image")
        except DataError as error:
            skipped.append(Skipped(id=id, reason="; ".join(str(problem) for problem in error.problems)))
        else:
            assert image is not None, f"{id} has no image"
            images[id] = image
    return images, skipped
