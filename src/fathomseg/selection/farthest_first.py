"""Exact greedy farthest-point picking (k-center; Gonzalez 1985, Sener & Savarese 2018), in time that large pools bear.

Greedy means: the next image is the one that is farthest from all images chosen so far. Distances only shrink as images
are chosen, so the next few picks are sought among a few hundred candidates until one of them falls below what any other
image can have; only then is the pool compared with those picks, with all of them in one pass. That is the same answer
as a pass for every pick, O(picked x pool x dim), with a memory of O(pool) beside the features.

The pool lies in shards, here or in other processes: each says its best candidates, and is told the rows picked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64

from fathomseg.errors import FathomError
from fathomseg.parallel.base import Actor, all_of
from fathomseg.parallel.inline import Inline
from fathomseg.selection import shard
from fathomseg.selection.picker import Pick, Picker
from fathomseg.selection.shard import Shard, Some, highest, merged


class FarthestFirst(Picker):
    """Each row is the farthest from those taken before, by the Euclidean distance to the nearest of them."""

    def __init__(
        self,
        features: Float[np.ndarray, "n d"],
        taken: Sequence[int] = (),
        device: torch.device | str | None = None,
        shards: Sequence[Actor] | None = None,
    ) -> None:
        """`features` may be memory-mapped; `taken` are rows that are there already, in any order; `shards`: actors that
        hold all rows, in their order (`shard.load_shard`); by default they are held here.

        Raises `FathomError` if there is no row, or one that is not finite.
        """
        if len(features) == 0:
            raise FathomError("There is nothing to pick from: the pool is empty.")
        self.features = features
        self.shards = [Inline(Shard(features, 0, device))] if shards is None else list(shards)
        self._taken = np.zeros(len(features), np.bool_)
        if taken:
            self.take(taken)

    @property
    def distances(self) -> Float64[np.ndarray, " n"]:
        """Euclidean distance of every row to the nearest one taken; infinite if none is."""
        return np.concatenate(all_of(self.shards, "distances"))

    def central(self) -> int:
        """The row nearest to the mean of all rows: the most ordinary one."""
        sums = [one for part in all_of(self.shards, "sums") for one in part]
        mean = (np.sum(sums, 0) / len(self.features)).astype(np.float32)
        return int(min(all_of(self.shards, "nearest_to", mean))[1])

    def take(self, rows: Sequence[int]) -> list[Pick]:
        """Take these rows, in this order, whatever their distances; tells what these were."""
        picks, chosen = [], list(rows)
        for start in range(0, len(chosen), shard.CANDIDATES):
            part = np.array(chosen[start : start + shard.CANDIDATES])
            group = _Group(merged(all_of(self.shards, "those", part)))
            picks += [self._picked(*group.take(place)) for place in np.searchsorted(group.rows, part).tolist()]
            self._update(group, part)
        return picks

    def pick(self, count: int, bonus: Float[np.ndarray, " n"] | None = None) -> list[Pick]:
        """The next `count` rows: of those left, the one of the largest distance, plus its `bonus` if given.

        At least one row must have been taken. Raises `FathomError` if fewer rows are left.
        """
        self._check(count)
        self._favour(bonus)
        picks: list[Pick] = []
        while len(picks) < count:
            picks += self._next_few(count - len(picks))
        return picks

    def _next_few(self, most: int) -> list[Pick]:
        """As many picks as are certain without comparing the whole pool."""
        found = merged(all_of(self.shards, "best", shard.CANDIDATES))
        group = _Group(found.of(highest(found.scores, shard.CANDIDATES)))
        outside = len(self._taken) - int(self._taken.sum()) > len(group.rows)
        others = group.lowest() if outside else -math.inf
        picks: list[Pick] = []
        while len(picks) < most:
            place, score = group.best()
            # The first is the best of all. A later one equal to an image outside might come after it by its row.
            if picks and score <= others:
                break
            picks.append(self._picked(*group.take(place)))
        self._update(group, np.array([pick.row for pick in picks]))
        return picks

    def _favour(self, bonus: Float[np.ndarray, " n"] | None) -> None:
        """Tell every shard its part of the bonus."""
        if bonus is None:
            all_of(self.shards, "favour", None)
            return
        parts = np.split(np.asarray(bonus, np.float64), np.cumsum(all_of(self.shards, "__len__"))[:-1])
        calls = [one.call("favour", part) for one, part in zip(self.shards, parts, strict=True)]
        for call in calls:
            call.result()

    def _picked(self, row: int, nearest: int) -> Pick:
        """The distance is that of the two rows in float64: |x|^2 + |c|^2 - 2 x.c loses the digits of small ones."""
        if nearest < 0:
            return Pick(row, None, None)
        difference = self.features[row].astype(np.float64) - self.features[nearest].astype(np.float64)
        return Pick(row, float(np.linalg.norm(difference)), nearest)

    def _update(self, group: _Group, rows: Int64[np.ndarray, " m"]) -> None:
        """Compare the whole pool with rows of the group that are now taken."""
        self._taken[rows] = True
        all_of(self.shards, "update", rows, group.some.features[np.searchsorted(group.rows, rows)])


class _Group:
    """Candidates compared among themselves as one after the other is taken."""

    def __init__(self, some: Some) -> None:
        self.some, self.rows = some, some.rows
        self.squared, self.nearest = some.squared.copy(), some.nearest.copy()
        self.open = np.ones(len(self.rows), np.bool_)
        self._features = torch.from_numpy(np.require(some.features, requirements=["C", "W"]))

    def lowest(self) -> float:
        """The lowest score."""
        return float(self.some.scores.min())

    def best(self) -> tuple[int, float]:
        """The place of the highest score, the first of equals, and that score; -inf if all are taken."""
        scores = np.where(self.open, np.sqrt(self.squared, dtype=np.float64) + self.some.bonus, -math.inf)
        place = int(scores.argmax())
        return place, float(scores[place])

    def take(self, place: int) -> tuple[int, int]:
        """Take one: its row, and the nearest row taken before it (-1 = none)."""
        row, nearest = int(self.rows[place]), int(self.nearest[place])
        squared = (self._features - self._features[place]).square().sum(1).numpy()
        self.open[place] = False
        closer = squared < self.squared
        self.squared[closer], self.nearest[closer] = squared[closer], row
        return row, nearest
