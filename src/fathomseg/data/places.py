"""Where in its clip each sample lies: samples of one clip that lie near each other show nearly the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from fathomseg.data.datasets.base import Dataset

T = TypeVar("T")

Place = tuple[int, int]
"""The number of a clip, and the frame's place in it. A sample without neighbours is a clip of its own."""


def places(dataset: Dataset, ids: Iterable[str]) -> dict[str, Place]:
    """The place of every id. Renderings of one moment in other weather, or by another camera, share theirs."""
    known: dict[str, Place] = {}
    clips = 0
    found: dict[str, Place] = {}
    for id in ids:
        moment = dataset.moment(id)
        back = []  # from the moment back to the clip's first frame, or to one that is known
        at: str | None = moment
        while at is not None and at not in known:
            back.append(at)
            at = dataset.neighbour(at, -1)
        if at is None:
            clip, place, clips = clips, -1, clips + 1
        else:
            clip, place = known[at]
        for further, one in enumerate(reversed(back), start=1):
            known[one] = (clip, place + further)
        found[id] = known[moment]
    return found


def spread(
    where: Mapping[str, Place], ids: Sequence[str], apart: int, usable: Callable[[str], bool] = lambda id: True
) -> list[str]:
    """Those of the ids, in their order, that lie at least `apart` frames from all taken before, if they are `usable`,
    which no others need."""
    taken: dict[int, list[int]] = {}
    chosen = []
    for id in ids:
        clip, place = where[id]
        others = taken.setdefault(clip, [])
        if all(abs(place - other) >= apart for other in others) and usable(id):
            others.append(place)
            chosen.append(id)
    return chosen


def evenly(items: Sequence[T], count: int) -> list[T]:
    """`count` items, evenly spread from the first to the last; all if there are no more."""
    rows = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[row] for row in rows.tolist()]
