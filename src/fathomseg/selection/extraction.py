"""Features of a pool, made once and kept in a memory-mapped file.

    features = extract(DepthFeatures(run=Path("runs/depth")), Cache(dataset, (96, 192)), dataset.ids("train"))
    features.matrix         # float16, one row an image
    features.skipped        # images that could not be read

The file is named by a hash of everything it depends on. It is filled in batches, and an interrupt loses those in work.
A team of processes shares out the batches; this one alone writes the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from fathomseg.data.cache import Cache, cache_folder
from fathomseg.data.datasets.base import Dataset
from fathomseg.errors import DataError, FathomError
from fathomseg.inference.device import pick_device
from fathomseg.io.array_store import mapped
from fathomseg.io.files import write_text, writing
from fathomseg.io.prefetch import ahead
from fathomseg.parallel.base import Team, spread
from fathomseg.selection.features import Extractor, Features, FeatureSource, Grid
from fathomseg.selection.pool import read_images
from fathomseg.selection.result import Skipped

FORMAT: Final = 1
"""Raise it when the same image would get other features."""

_BATCH: Final = 16
_SAVED_EVERY: Final = 16
"""Batches between two moments at which what was made is on disk for sure."""

_BLOCK: Final = 2**22
"""Numbers held in memory at once."""

Matrix = Float[np.ndarray, "n d"]
Found = tuple[list[str], Float32[np.ndarray, "b d"] | None, list[Skipped]]
"""The images of a batch that could be read, their features, and why the others could not."""


def extract(
    source: FeatureSource,
    cache: Cache,
    ids: Sequence[str],
    device: torch.device | str | None = None,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    team: Team | None = None,
) -> Features:
    """The standardised features of these images of `cache.dataset`, whatever their order; made if not there yet.

    `cache.size` is the working size, `folder` the place of the files (the cache by default). Images that cannot be read
    are listed and left out. `progress` is told (done, total); `team` makes them, by default this process. Raises
    `FathomError` if none can be read or the network gives NaN.
    """
    if cache.size is None:
        raise FathomError("Features need a working size: give `size`.")
    ids = sorted(set(ids))
    worker = FeatureWorker(source, cache, device)
    extractor = worker.extractor
    folder = (cache_folder() if folder is None else folder) / "features"
    path = folder / f"{_key(extractor, source.grid, cache.dataset, ids)}.npy"
    notes, raw = path.with_suffix(".json"), path.with_suffix(".part")
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        if team is None:
            rows, skipped = _fill(raw, worker.many, ids, progress)
        else:
            with team.of(FeatureWorker, source, cache, device) as actors:
                rows, skipped = _fill(raw, partial(spread, actors, "pooled"), ids, progress)
        left_out = {one.id for one in skipped}
        write_text(notes, json.dumps([one.model_dump() for one in skipped]))
        # Not read again: another process that began at the same moment may have put its own matrix there.
        _standardise(rows, path, np.array([id not in left_out for id in ids]), source.grid)
        raw.unlink(missing_ok=True)
    skipped = [Skipped.model_validate(one) for one in json.loads(notes.read_text(encoding="utf-8"))]
    left_out = {one.id for one in skipped}
    matrix = mapped(path)  # torch takes no arrays it may not write to
    return Features(tuple(id for id in ids if id not in left_out), matrix, tuple(skipped), path)


def _key(extractor: Extractor, grid: Grid, dataset: Dataset, ids: Sequence[str]) -> str:
    """A name for everything the features depend on."""
    key = hashlib.sha256(f"{FORMAT}|{extractor.key}|{extractor.size}|{grid}".encode())
    for id in ids:
        key.update(f"\n{id}\t{_identity(dataset, id)}".encode())
    return key.hexdigest()[:40]


def _identity(dataset: Dataset, id: str) -> str:
    """What changes when the image does: its fingerprint, or a hash of its pixels if it has none."""
    try:
        fingerprint = dataset.fingerprint(id, "image")
        return fingerprint or hashlib.sha256(dataset.image(id).tobytes()).hexdigest()
    except DataError:
        return "unreadable"


class FeatureWorker:
    """A network with the images it is shown, in one of the processes."""

    def __init__(self, source: FeatureSource, cache: Cache, device: torch.device | str | None) -> None:
        """`cache` has the working size."""
        assert cache.size is not None
        self.extractor, self.grid = source.open(cache.size, pick_device(device)), source.grid
        same = self.extractor.size == cache.size
        self.cache = cache if same else Cache(cache.dataset, self.extractor.size, limit_gb=0)  # read once: not stored

    def many(self, batches: Sequence[list[str]]) -> Iterator[tuple[list[str], Found]]:
        """Every batch of ids with what is found, in order; images are read ahead in threads."""
        for batch, reading in ahead(lambda batch: read_images(self.cache, batch), batches):
            images, problems = reading.result()
            found = None
            if images:
                stacked = torch.from_numpy(np.stack(list(images.values()))).permute(0, 3, 1, 2)
                found = self.extractor.pooled(stacked, self.grid)
            yield batch, (list(images), found, problems)

    def pooled(self, batch: list[str]) -> Found:
        """The same of one batch."""
        return next(self.many([batch]))[1]


def _fill(
    path: Path,
    many: Callable[[Sequence[list[str]]], Iterator[tuple[list[str], Found]]],
    ids: Sequence[str],
    progress: Callable[[int, int], None] | None,
) -> tuple[Matrix, list[Skipped]]:
    """Write the features of every image into a matrix of float32 that holds NaN where they are not known yet.

    Returns the matrix and the images that could not be read.
    """
    rows: np.memmap[Any, Any] | None = mapped(path, "r+") if path.is_file() else None
    todo = [ids[row] for row in (range(len(ids)) if rows is None else _unknown(rows))]
    place = {id: row for row, id in enumerate(ids)}
    skipped: list[Skipped] = []
    done = len(ids) - len(todo)
    batches = [todo[start : start + _BATCH] for start in range(0, len(todo), _BATCH)]
    for number, (batch, (read, found, problems)) in enumerate(many(batches)):
        skipped += problems
        done += len(batch)
        if found is not None:
            if not np.isfinite(found).all():
                raise FathomError(
                    f"The features of {read[0]} are NaN or infinite: the weights of the network are broken. "
                    "Take another run or encoder."
                )
            rows = _empty(path, len(ids), found.shape[1]) if rows is None else rows
            rows[[place[id] for id in read]] = found
        if rows is not None and number % _SAVED_EVERY == _SAVED_EVERY - 1:
            rows.flush()
        if progress is not None:
            progress(done, len(ids))
    if rows is None or len(skipped) == len(ids):
        first = f", the first because: {skipped[0].reason}" if skipped else ""
        raise FathomError(f"None of the {len(ids)} images of the pool can be read{first}.")
    rows.flush()
    return rows, sorted(skipped, key=lambda one: one.id)


def _empty(path: Path, count: int, width: int) -> np.memmap[Any, Any]:
    """A matrix on disk in which nothing is known. It appears when complete, so a second process starts its own."""
    with writing(path) as temporary:
        rows = np.lib.format.open_memmap(temporary, "w+", np.float32, (count, width))
        for block in _blocks(rows):
            rows[block] = np.nan
    return rows


def _unknown(rows: Matrix) -> Iterator[int]:
    for block in _blocks(rows):
        yield from (block.start + np.flatnonzero(np.isnan(rows[block]).any(1))).tolist()


def _standardise(rows: Matrix, path: Path, good: Bool[np.ndarray, " n"], grid: Grid) -> None:
    """Write the good rows with every channel shifted and scaled to mean 0 and deviation 1, over rows and cells."""
    cells = grid[0] * grid[1]
    shape = (-1, rows.shape[1] // cells, cells)
    count = int(good.sum()) * cells
    mean = sum(rows[b][good[b]].reshape(shape).sum((0, 2), dtype=np.float64) for b in _blocks(rows)) / count
    squares = sum(((rows[b][good[b]].reshape(shape) - mean[:, None]) ** 2).sum((0, 2)) for b in _blocks(rows))
    deviation = np.sqrt(squares / count)
    # A channel that is the same everywhere, but for rounding, tells nothing.
    scale = np.where(deviation > 1e-6 * np.abs(mean), 1 / np.maximum(deviation, 1e-30), 0.0)
    with writing(path) as temporary:
        out = np.lib.format.open_memmap(temporary, "w+", np.float16, (int(good.sum()), rows.shape[1]))
        place = 0
        for block in _blocks(rows):
            part = (rows[block][good[block]].reshape(shape) - mean[:, None]) * scale[:, None]
            out[place : place + len(part)] = part.reshape(len(part), -1)
            place += len(part)
        out.flush()


def _blocks(rows: Matrix) -> Iterator[slice]:
    step = max(1, _BLOCK // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        yield slice(start, min(start + step, len(rows)))
