"""From the video of a dataset to the frames depth is learned from, with their neighbours and cameras."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from fathomseg.data.cache import Cache
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.several import Several
from fathomseg.data.held_out import HeldOut, refuse_scored
from fathomseg.data.motion import AnyFrames, Triplet
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.files import writing
from fathomseg.io.shapes import refuse_other_shape


def training_ids(dataset: Dataset, split: str | None, held_out: str | None) -> tuple[str, ...]:
    """The frames to learn from: a split (null: `clips` or else `train`) without the images of the split `held_out` and
    the drives that the dataset holds out.

    Of several datasets each has its own `clips` or `train`. Raises `FathomError` if both are one split.
    """
    refuse_scored(split, held_out)
    return tuple(HeldOut.of(dataset, held_out, asked=split).without(dataset, frames_of(dataset, split)))


def frames_of(dataset: Dataset, split: str | None) -> list[str]:
    """The ids of a split, or of the usual one for video (null): `clips`, or else `train`, of each of several datasets
    by itself."""
    if split is not None:
        return list(dataset.ids(split))
    if isinstance(dataset, Several):
        return [f"{key}/{id}" for key, member in dataset.datasets.items() for id in frames_of(member, None)]
    return list(dataset.ids("clips" if "clips" in dataset.splits else "train"))


def choose_frames(
    frames: AnyFrames, cache: Cache, ids: Sequence[str], file: Path, progress: Callable[[int, int], None]
) -> list[Triplet]:
    """The frames to learn from and their neighbours; read from `file` if it is there, else chosen and written to it.

    Raises `FathomError` if no frame can be learned from, and `DataError` for neighbours of another shape.
    """
    if file.is_file():
        return read_triplets(file)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, len(ids))

    def read(id: str) -> object:
        return cache.read(id, "image")

    chosen = frames.triplets(cache.dataset, ids, tick, read)  # type: ignore[arg-type]
    if not chosen:
        raise FathomError(
            f"None of the {len(ids)} frames of {cache.dataset.name} can be learned from: no frame has one before and "
            "one after it between which the camera moves. Is this video, and does the camera move? frames.name=fixed "
            "takes frames without looking; frames.min_parallax is the least motion."
        )
    _refuse_other_shapes(cache.dataset, chosen)
    write_triplets(file, chosen)
    return chosen


def _refuse_other_shapes(dataset: Dataset, triplets: Sequence[Triplet]) -> None:
    """Raises `DataError` for neighbours of another shape than their frame, which would be stretched to it."""
    problems: dict[Problem, None] = {}
    for triplet in triplets:
        size = dataset.size_of(triplet.target)
        for other in (triplet.before, triplet.after):
            try:
                refuse_other_shape("the frame", dataset.size_of(other), size, f"{other}, beside {triplet.target}")
            except DataError as error:
                problems.update(dict.fromkeys(error.problems))
    if problems:
        raise DataError(tuple(problems))


def write_triplets(file: Path, triplets: Sequence[Triplet]) -> None:
    """One line a frame: target, before, after."""
    with writing(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("target", "before", "after"))
        writer.writerows((x.target, x.before, x.after) for x in triplets)


def read_triplets(file: Path) -> list[Triplet]:
    """What `write_triplets` wrote."""
    with file.open(newline="", encoding="utf-8") as stream:
        return [Triplet(row["target"], row["before"], row["after"]) for row in csv.DictReader(stream)]
