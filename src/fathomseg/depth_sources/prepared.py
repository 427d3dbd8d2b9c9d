"""Normalised disparity of many images at working size, made once and kept in the cache.

    maps = prepare(source, dataset, ids, size=(256, 512))
    maps.read(id).values        # float32 (256, 512), 0..1, 1 = nearest

What `prepare` gives is small, runs no network and can be sent to the workers of a data loader.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float32, UInt16
from numpy.typing import NDArray

from fathomseg.data.cache import cache_folder
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.places import evenly
from fathomseg.depth_sources.base import DepthReader, DepthSource
from fathomseg.depth_sources.normalise import Bounds, DisparityMap, find_bounds, normalise, summary
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.array_store import entry, is_whole, load, store
from fathomseg.io.images import resize_image, resize_nearest
from fathomseg.io.prefetch import ahead
from fathomseg.parallel.base import Team, spread
from fathomseg.types import Size

FORMAT: Final = 2
"""Raise it when the same disparity would be normalised, resized or stored differently."""

_LACKS: Final = "has no depth in this depth source; leave it out, or take another source"
_STEPS: Final = 65534
_BATCHES: Final = 4
"""Batches that are given to a process at once."""
_SAMPLED: Final = 256
"""Images that decide the percentiles of a dataset."""


@dataclass(frozen=True, slots=True)
class DisparityMaps:
    """The prepared maps of some images, by sample id."""

    entries: dict[str, Path]
    size: Size
    """(height, width) of every map."""

    @property
    def key(self) -> str:
        """A text that changes whenever one of the maps would: their files are named by all they depend on."""
        names = "\n".join(f"{id}\t{self.entries[id].name}" for id in sorted(self.entries))
        return hashlib.sha256(names.encode()).hexdigest()[:40]

    def __call__(self, id: str) -> Float32[np.ndarray, "h w"]:
        """The values alone, NaN where disparity is not known, as a stream of samples wants them."""
        found = self.read(id)
        return np.where(found.valid, found.values, np.float32(np.nan))

    def read(self, id: str) -> DisparityMap:
        """Disparity 0..1 to within 1/131068, and where it is known. Raises `FathomError` if it was not prepared."""
        if id not in self.entries:
            raise FathomError(f"No disparity was prepared for {id!r}.")
        code = load(self.entries[id])
        if code is None or code.shape != self.size or code.dtype != np.uint16:
            raise FathomError(
                f"The disparity of {id} in the cache ({self.entries[id]}) is gone or damaged. Start again: it is made "
                "anew. The variable FATHOM_CACHE names the folder of the cache."
            )
        return decode(code)


@dataclass(frozen=True, slots=True)
class FreshMaps:
    """Maps of a dataset without an end, made when they are asked for and kept nowhere: each normalised by itself."""

    reader: DepthReader
    size: Size
    """(height, width) of every map."""
    percentiles: tuple[float, float]

    def __call__(self, id: str) -> Float32[np.ndarray, "h w"]:
        """The values, NaN where disparity is not known. Raises `DataError` for an image without depth."""
        (disparity,) = self.reader.disparity([id])
        if disparity is None:
            raise DataError([Problem(id, _LACKS)])
        found = _resized(normalise(disparity, self.percentiles, None), self.size)
        return np.where(found.valid, found.values, np.float32(np.nan))


def prepare(
    source: DepthSource,
    dataset: Dataset,
    ids: Sequence[str],
    size: Size,
    folder: Path | None = None,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    team: Team | None = None,
) -> DisparityMaps:
    """Make the normalised disparity of these images at `size` (height, width), as far as the cache lacks it.

    Maps are normalised whole, at the resolution of the source, and then resized: averaged or bilinear, or nearest if
    some pixels are not known. They lie in `folder` (the cache by default), named by a hash of everything they depend
    on, and appear there only when complete: an interrupt loses the batch in work, and several processes may prepare
    the same images at once. With `normalise.over: dataset` the ids given together share one scale. `progress` is told
    (done, total); `team` makes the maps, by default this process. Raises one `DataError` with every image that has no
    disparity, after the others are made.
    """
    folder = cache_folder() if folder is None else folder
    work = _Work(source.open(dataset, device), tuple(dict.fromkeys(ids)), progress)
    texts = work.fingerprints()
    percentiles, bounds = source.normalise.percentiles, source.normalise.fixed_bounds
    if source.normalise.over == "dataset" and texts:
        bounds = _dataset_bounds(work, texts, percentiles, folder)
    scale = f"{FORMAT}|{size}|{percentiles if bounds is None else bounds}"
    entries = {id: entry(folder, f"disparity|{scale}|{text}") for id, text in texts.items()}
    if team is None:
        work.store(entries, size, percentiles, bounds)
    else:
        with team.of(DepthWorker, source, dataset, device) as actors:
            for part, problems in spread(actors, "make", _parts(entries, size, percentiles, bounds, work.reader.batch)):
                work.problems.update(dict.fromkeys(problems))
                work.tell(len(part[0]))
    if work.problems:
        raise DataError(tuple(work.problems))
    return DisparityMaps(entries, size)


def _keep(path: Path, code: UInt16[np.ndarray, "h w"]) -> None:
    try:
        store(path, code)
    except OSError as error:
        raise FathomError(
            f"The cache at {path.parent.parent} cannot be written ({error}). Free space, or let the variable "
            "FATHOM_CACHE name another folder."
        ) from None


@dataclass
class _Work:
    """Images on their way through a reader: what is wrong with them, and how far the work has come."""

    reader: DepthReader
    ids: tuple[str, ...]
    progress: Callable[[int, int], None] | None
    problems: dict[Problem, None] = field(default_factory=dict)
    done: int = 0
    total: int = 0

    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of every image that has disparity."""
        found = {}
        for id in self.ids:
            try:
                text = self.reader.fingerprint(id)
            except DataError as error:
                self.problems.update(dict.fromkeys(error.problems))
            else:
                if text is None:
                    self.problems[Problem(id, _LACKS)] = None
                else:
                    found[id] = text
        self.total = len(found)
        return found

    def maps(
        self, ids: Iterable[str], wanted: Callable[[str], bool] = lambda id: True
    ) -> Iterator[tuple[str, Float32[np.ndarray, "_ _"]]]:
        """The disparity of those images that are `wanted` when their turn comes; threads read ahead of the network."""
        ids = list(ids)
        batches = [ids[start : start + self.reader.batch] for start in range(0, len(ids), self.reader.batch)]
        # An order of its own for every process, so that those that start together mostly make different maps.
        order = np.random.default_rng().permutation(len(batches))
        for batch, reading in ahead(lambda batch: self._load(filter(wanted, batch)), (batches[i] for i in order)):
            loaded, problems = reading.result()
            self.problems.update(dict.fromkeys(problems))
            if loaded:
                yield from zip(loaded, self.reader.finish(list(loaded.values())), strict=True)
            self.tell(len(batch))

    def store(
        self, entries: Mapping[str, Path], size: Size, percentiles: tuple[float, float], bounds: Bounds | None
    ) -> None:
        """Keep the maps of these images as far as they are not there yet, in the files `entries`."""
        for id, disparity in self.maps(entries, lambda id: not is_whole(entries[id], size, np.uint16)):
            _keep(entries[id], encode(_resized(normalise(disparity, percentiles, bounds), size)))

    def tell(self, count: int) -> None:
        """So many images are done."""
        self.done += count
        if self.progress is not None:
            self.progress(self.done, self.total)

    def _load(self, ids: Iterable[str]) -> tuple[dict[str, NDArray[Any]], list[Problem]]:
        """What the reader loads of some images, and what is wrong with the others."""
        loaded: dict[str, NDArray[Any]] = {}
        problems: list[Problem] = []
        for id in ids:
            try:
                item = self.reader.load(id)
            except DataError as error:
                problems += error.problems
            else:
                if item is None:
                    problems.append(Problem(id, _LACKS))
                else:
                    loaded[id] = item
        return loaded, problems


Part = tuple[dict[str, Path], Size, tuple[float, float], Bounds | None]
"""Images with their files, and how their maps are made."""


class DepthWorker:
    """A depth source in one of the processes, which share the folder of the cache."""

    def __init__(self, source: DepthSource, dataset: Dataset, device: torch.device | str | None) -> None:
        self.reader = source.open(dataset, device)

    def make(self, part: Part) -> list[Problem]:
        """Make some maps; returns what is wrong with images that have none."""
        work = _Work(self.reader, tuple(part[0]), None)
        work.store(*part)
        return list(work.problems)


def _parts(
    entries: dict[str, Path], size: Size, percentiles: tuple[float, float], bounds: Bounds | None, batch: int
) -> Iterator[Part]:
    """Some batches at a time."""
    ids = list(entries)
    for start in range(0, len(ids), _BATCHES * batch):
        yield {id: entries[id] for id in ids[start : start + _BATCHES * batch]}, size, percentiles, bounds


def _dataset_bounds(
    work: _Work, texts: dict[str, str], percentiles: tuple[float, float], folder: Path
) -> Bounds | None:
    """The percentiles over up to 256 evenly spread images, each counting alike, kept in the cache.

    None if none of those images has any valid disparity.
    """
    sampled = evenly(sorted(texts), _SAMPLED)
    every = "|".join(texts[id] for id in sampled)
    kept = entry(folder, f"bounds|{FORMAT}|{percentiles}|{every}")
    if is_whole(kept, (2,), np.float64) and (stored := load(kept)) is not None:
        return float(stored[0]), float(stored[1])
    work.total += len(sampled)
    found = [summary(disparity) for _, disparity in work.maps(sampled)]
    bounds = find_bounds(np.concatenate([*found, np.zeros(0, np.float32)]), percentiles)
    if bounds is not None and not work.problems:
        store(kept, np.array(bounds))
    return bounds


def encode(disparity: DisparityMap) -> UInt16[np.ndarray, "h w"]:
    """0 = not known, 1 .. 65535 = disparity 0 .. 1, rounded to the nearest."""
    code = 1 + np.rint(disparity.values * _STEPS)
    return np.where(disparity.valid, code, 0).astype(np.uint16)


def decode(code: UInt16[np.ndarray, "h w"]) -> DisparityMap:
    """The inverse of `encode`, to within half a step of 1/65534."""
    values = (np.maximum(code, 1) - 1).astype(np.float32) / np.float32(_STEPS)
    return DisparityMap(values, code > 0)


def _resized(disparity: DisparityMap, size: Size) -> DisparityMap:
    if not disparity.valid.all():  # an average with what is not known would say something
        return DisparityMap(resize_nearest(disparity.values, size), resize_nearest(disparity.valid, size))
    return DisparityMap(resize_image(disparity.values, size), np.ones(size, dtype=np.bool_))
