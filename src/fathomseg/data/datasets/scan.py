"""One decoding pass over samples: their sizes, class counts, range of depth and everything that is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from jaxtyping import Float32, Int64

from fathomseg.data.datasets.base import Dataset, Traits
from fathomseg.errors import DataError, Problem
from fathomseg.types import Camera, Size

A = TypeVar("A")
B = TypeVar("B")

CHUNK = 16
"""Samples one thread takes at a time. Consecutive ones, so that a video is decoded forwards."""


@dataclass(frozen=True, slots=True)
class Found:
    """What decoding one sample brought to light."""

    id: str
    problems: tuple[Problem, ...]
    size: Size | None = None
    """(height, width) of the image; None if it cannot be read."""
    pixels: Int64[np.ndarray, " 256"] | None = None
    """How many pixels have each label value; None without a readable label."""
    camera: Camera | None = None
    depth: DepthRange | None = None
    """None without a readable depth map."""
    traits: Traits = field(default_factory=Traits)
    """What is to be known of how the image is read."""


@dataclass(frozen=True, slots=True)
class DepthRange:
    """What one depth map holds, in metres; of a map without any valid pixel all three are NaN."""

    least: float
    median: float
    largest: float
    valid: float
    """Share of the pixels whose depth is known, 0 to 1."""

    @classmethod
    def of(cls, depth: Float32[np.ndarray, "h w"]) -> DepthRange:
        """The range of one map."""
        known = depth[depth > 0]
        if not known.size:
            return cls(np.nan, np.nan, np.nan, 0.0)
        return cls(float(known.min()), float(np.median(known)), float(known.max()), known.size / depth.size)


def scan(dataset: Dataset, ids: Sequence[str]) -> Iterator[Found]:
    """Decode every image and map of these samples in threads, and yield what was found, in order."""
    for found in map_threads(lambda chunk: [look(dataset, id) for id in chunk], chunks(ids)):
        yield from found


def look(dataset: Dataset, id: str) -> Found:
    """Decode one sample; a file that cannot be used becomes a problem, not an exception."""
    problems: dict[Problem, None] = {}  # a dict keeps the order and drops what image and label both report
    size, pixels, camera, depth, traits = None, None, None, None, Traits()
    try:
        size = dataset.image(id).shape[:2]
        traits = dataset.traits(id)
        camera = dataset.camera(id)
    except DataError as error:
        problems.update(dict.fromkeys(error.problems))
    try:
        label = dataset.label(id)
        pixels = None if label is None else np.bincount(label.reshape(-1), minlength=256)
    except DataError as error:
        problems.update(dict.fromkeys(error.problems))
    try:
        metres = dataset.depth(id)
        depth = None if metres is None else DepthRange.of(metres)
    except DataError as error:
        problems.update(dict.fromkeys(error.problems))
    try:
        dataset.stored_normals(id)
    except DataError as error:
        problems.update(dict.fromkeys(error.problems))
    return Found(id, tuple(problems), size, pixels, camera, depth, traits)


def chunks(items: Sequence[A]) -> list[Sequence[A]]:
    """The items in runs of `CHUNK`."""
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]


def map_threads(function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """`map` in a few threads, in order; an interrupt or an exception drops what has not begun."""
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        try:
            yield from pool.map(function, items)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
