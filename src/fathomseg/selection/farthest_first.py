"""Exact greedy farthest-point picking (k-center; Gonzalez 1985, Sener & Savarese 2018), in time that large pools bear.

Greedy means: the next image is the one that is farthest from all images chosen so far. Distances only shrink as images
are chosen, so the next few picks are sought among a few hundred candidates until one of them falls below what any other
image can have; only then is the pool compared with those picks, with all of them in one pass. That is the same answer
as a pass for every pick, O(picked x pool x dim), with a memory of O(pool) beside the features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from fathomseg.selection.picker import Pick, Picker

_CANDIDATES: Final = 512


class FarthestFirst(Picker):
    """Each row is the farthest from those taken before, by the Euclidean distance to the nearest of them."""

    def __init__(
        self, features: Float[np.ndarray, "n d"], taken: Sequence[int] = (), device: torch.device | str | None = None
    ) -> None:
        """`features` may be memory-mapped; `taken` are rows that are there already, in any order.

        Raises `FathomError` if there is no row, or one that is not finite.
        """
        super().__init__(features, _CANDIDATES, device)
        self._squared = torch.full((len(features),), math.inf)
        self._nearest = torch.full((len(features),), -1)
        if taken:
            self.take(taken)

    @property
    def distances(self) -> Float64[np.ndarray, " n"]:
        """Euclidean distance of every row to the nearest one taken; infinite if none is."""
        distances: Float64[np.ndarray, " n"] = np.sqrt(self._squared.numpy(), dtype=np.float64)
        return distances

    def take(self, rows: Sequence[int]) -> list[Pick]:
        """Take these rows, in this order, whatever their distances; tells what these were."""
        picks, chosen = [], list(rows)
        for start in range(0, len(chosen), _CANDIDATES):
            part = np.array(chosen[start : start + _CANDIDATES])
            before, nearest = self._squared.numpy()[part], self._nearest.numpy()[part]
            group = _Group(self._read(part), part, before, nearest)
            picks += [self._picked(*group.take(place)) for place in range(len(part))]
            self._update(part)
        return picks

    def _next_few(self, most: int, scores: Float64[np.ndarray, " n"], bonus: Float64[np.ndarray, " n"]) -> list[Pick]:
        """As many picks as can be told without comparing the whole pool."""
        candidates, others = _highest(scores, _CANDIDATES)
        squared, nearest = self._squared.numpy()[candidates], self._nearest.numpy()[candidates]
        group = _Group(self._read(candidates), candidates, squared, nearest, bonus[candidates])
        picks: list[Pick] = []
        while len(picks) < most:
            place, score = group.best()
            # The first is the best of all. A later one equal to an image outside might come after it by its row.
            if picks and score <= others:
                break
            picks.append(self._picked(*group.take(place)))
        self._update(np.array([pick.row for pick in picks]))
        return picks

    def _picked(self, row: int, nearest: int) -> Pick:
        """The distance is that of the two rows in float64: |x|^2 + |c|^2 - 2 x.c loses the digits of small ones."""
        if nearest < 0:
            return Pick(row, None, None)
        difference = self.features[row].astype(np.float64) - self.features[nearest].astype(np.float64)
        return Pick(row, float(np.linalg.norm(difference)), nearest)

    def _update(self, rows: Int64[np.ndarray, " m"]) -> None:
        """Compare the whole pool with rows now taken."""
        self._taken[rows] = True
        centres = self._read(rows)
        squares = centres.square().sum(1)
        for place, block in self._blocks():
            # |x - c|^2 = |x|^2 + |c|^2 - 2 x.c, of which |x|^2 does not matter for which c is the nearest
            found, index = torch.addmm(squares, block, centres.T, alpha=-2).min(1)
            squared = (found.cpu() + self._squares[place]).clamp(min=0)
            closer = squared < self._squared[place]
            self._squared[place] = torch.where(closer, squared, self._squared[place])
            self._nearest[place] = torch.where(closer, torch.from_numpy(rows)[index.cpu()], self._nearest[place])
        self._squared[rows] = 0.0  # what rounding leaves of a difference of large numbers depends on the processor


class _Group:
    """Candidates compared among themselves as one after the other is taken."""

    def __init__(
        self,
        features: Float32[Tensor, "m d"],
        rows: Int64[np.ndarray, " m"],
        squared: Float32[np.ndarray, " m"],
        nearest: Int64[np.ndarray, " m"],
        bonus: Float64[np.ndarray, " m"] | None = None,
    ) -> None:
        """`squared` and `nearest`: squared distance to the nearest row taken before, and that row (-1 = none)."""
        self.features, self.rows = features, rows
        self.bonus = np.zeros(len(rows)) if bonus is None else bonus
        self.squared, self.nearest = squared.copy(), nearest.copy()
        self.open = np.ones(len(rows), np.bool_)

    def best(self) -> tuple[int, float]:
        """The place of the highest score, the first of equals, and that score; -inf if all are taken."""
        scores = np.where(self.open, np.sqrt(self.squared, dtype=np.float64) + self.bonus, -math.inf)
        place = int(scores.argmax())
        return place, float(scores[place])

    def take(self, place: int) -> tuple[int, int]:
        """Take one: its row, and the nearest row taken before it (-1 = none)."""
        row, nearest = int(self.rows[place]), int(self.nearest[place])
        squared = (self.features - self.features[place]).square().sum(1).cpu().numpy()
        self.open[place] = False
        closer = squared < self.squared
        self.squared[closer], self.nearest[closer] = squared[closer], row
        return row, nearest


def _highest(scores: Float64[np.ndarray, " n"], count: int) -> tuple[Int64[np.ndarray, " m"], float]:
    """The places of the `count` highest scores in ascending order, the first of equals; no other score is above."""
    if count >= len(scores):
        return np.flatnonzero(scores > -math.inf), -math.inf
    bound = float(np.partition(scores, len(scores) - count)[len(scores) - count])
    above = np.flatnonzero(scores > bound)
    equal = np.flatnonzero(scores == bound)[: count - len(above)]
    places = np.sort(np.concatenate([above, equal]))
    return places[scores[places] > -math.inf], bound
