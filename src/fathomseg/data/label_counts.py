"""How many pixels of every label value each image has: counted in threads, and kept in a small file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from fathomseg.data.datasets.scan import chunks, map_threads
from fathomseg.io import array_store

Read = Callable[[str], UInt8[np.ndarray, "h w"] | None]
"""The label of an id, None if it has none."""


def label_counts(
    ids: Sequence[str], read: Read, kept: Path | None, progress: Callable[[int, int], None] | None = None
) -> dict[str, Int64[np.ndarray, " 256"]]:
    """The pixels of every label value by id, all 0 without a label; taken from the file `kept` if it is there, else
    counted and written to it. `progress` is called with (done, total)."""
    table = None if kept is None else array_store.load(kept)
    if table is None or len(table) != len(ids) + 1:
        table = _counted(ids, read, progress)
        _keep(table, kept)
    counts = np.zeros((len(ids), 256), np.int64)
    counts[:, table[0]] = table[1:]
    return dict(zip(ids, counts, strict=True))


def _counted(ids: Sequence[str], read: Read, progress: Callable[[int, int], None] | None) -> Int64[np.ndarray, "n v"]:
    """Label values that are there, then their pixels in each image."""

    def count(some: Sequence[str]) -> list[Int64[np.ndarray, " 256"]]:
        labels = [read(id) for id in some]
        return [np.bincount(() if label is None else label.ravel(), minlength=256) for label in labels]

    rows: list[Int64[np.ndarray, " 256"]] = []
    for found in map_threads(count, chunks(ids)):
        rows += found
        if progress is not None:
            progress(len(rows), len(ids))
    counts = np.stack(rows)
    values = np.flatnonzero(counts.any(axis=0))
    return np.concatenate([values[None], counts[:, values]])


def _keep(table: Int64[np.ndarray, "n v"], path: Path | None) -> None:
    """Write the counts down. Where that cannot be done they are counted again next time."""
    try:
        if path is not None:
            array_store.store(path, table)
    except OSError:
        return
