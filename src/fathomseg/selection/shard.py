"""A part of a pool in farthest-point picking: rows of features, and how far each is from what is taken.

Shards lie in this process or in others (`parallel`); rows are numbered as in the whole pool. A row's distance depends
on the block it is compared in only by rounding, and shards are cut between blocks (`cut`): so the numbers, and with
them the choice, are those of one shard that holds all rows, on the same kind of processor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64

from fathomseg.io.array_store import mapped
from fathomseg.parallel.base import Actor, Team
from fathomseg.selection.picker import Rows, block_rows

CANDIDATES: Final = 512
"""Rows that may be picked before the whole pool is compared with them."""


@dataclass(frozen=True, slots=True)
class Some:
    """Rows of a shard, in ascending order."""

    rows: Int64[np.ndarray, " m"]
    features: Float32[np.ndarray, "m d"]
    squared: Float32[np.ndarray, " m"]
    """Squared distance to the nearest row taken; infinite if none is."""
    nearest: Int64[np.ndarray, " m"]
    """That row, or -1."""
    bonus: Float64[np.ndarray, " m"]
    """What is added to the distance."""

    @property
    def scores(self) -> Float64[np.ndarray, " m"]:
        """Distance and bonus."""
        scores: Float64[np.ndarray, " m"] = np.sqrt(self.squared, dtype=np.float64) + self.bonus
        return scores

    def of(self, places: Int64[np.ndarray, " k"]) -> Some:
        """Some of them."""
        return Some(*(part[places] for part in (self.rows, self.features, self.squared, self.nearest, self.bonus)))


class Shard(Rows):
    """The rows `first` .. `first + n - 1` of a pool."""

    def __init__(
        self,
        features: Float[np.ndarray, "n d"],
        first: int = 0,
        device: torch.device | str | None = None,
        step: int | None = None,
    ) -> None:
        """`features` may be memory-mapped. Raises `FathomError` if there is no row, or one that is not finite."""
        super().__init__(features, CANDIDATES, device, first, step)
        self._squared = torch.full((len(features),), math.inf)
        self._nearest = torch.full((len(features),), -1)
        self._bonus = np.zeros(0)

    def __len__(self) -> int:
        return len(self.features)

    def distances(self) -> Float64[np.ndarray, " n"]:
        """Euclidean distance of every row to the nearest one taken; infinite if none is."""
        distances: Float64[np.ndarray, " n"] = np.sqrt(self._squared.numpy(), dtype=np.float64)
        return distances

    def favour(self, bonus: Float64[np.ndarray, " n"] | None) -> None:
        """What is added to the distances from now on; None = nothing."""
        self._bonus = np.zeros(0) if bonus is None else bonus

    def best(self, count: int) -> Some:
        """Those not taken of the `count` highest scores, the first of equals."""
        scores = self.distances() + (self._bonus if self._bonus.size else 0.0)
        return self._some(highest(np.where(self._taken, -math.inf, scores), count))

    def those(self, rows: Int64[np.ndarray, " m"]) -> Some:
        """Those of these rows that are here."""
        here = rows[(rows >= self.first) & (rows < self.first + len(self.features))]
        return self._some(np.sort(here) - self.first)

    def update(self, rows: Int64[np.ndarray, " m"], centres: Float32[np.ndarray, "m d"]) -> None:
        """Compare the whole shard with rows now taken, of which it may hold some."""
        near = self._tensor(centres)
        squares = near.square().sum(1)
        for place, block in self._blocks():
            # |x - c|^2 = |x|^2 + |c|^2 - 2 x.c, of which |x|^2 does not matter for which c is the nearest
            found, index = torch.addmm(squares, block, near.T, alpha=-2).min(1)
            squared = (found.cpu() + self._squares[place]).clamp(min=0)
            closer = squared < self._squared[place]
            self._squared[place] = torch.where(closer, squared, self._squared[place])
            self._nearest[place] = torch.where(closer, torch.from_numpy(rows)[index.cpu()], self._nearest[place])
        here = rows[(rows >= self.first) & (rows < self.first + len(self.features))] - self.first
        self._taken[here] = True
        self._squared[here] = 0.0  # what rounding leaves of a difference of large numbers depends on the processor

    def _some(self, places: Int64[np.ndarray, " m"]) -> Some:
        bonus = self._bonus[places] if self._bonus.size else np.zeros(len(places))
        squared, nearest = self._squared.numpy()[places], self._nearest.numpy()[places]
        return Some(places + self.first, self._read(places).cpu().numpy(), squared, nearest, bonus)


def load_shard(path: Path, rows: tuple[int, int], step: int, device: str | None) -> Shard:
    """Rows from .. to of a memory-mapped matrix, where they are to be held."""
    matrix = mapped(path)  # torch takes no arrays it may not write to
    return Shard(matrix[rows[0] : rows[1]], rows[0], device, step)


@contextmanager
def held(path: Path, shape: tuple[int, ...], team: Team, device: str | None) -> Iterator[list[Actor]]:
    """The rows of a matrix of this shape in shards, one for each actor of a team. An actor that dies is not replaced,
    since its distances are lost with it; the features are not."""
    step, share = block_rows(shape[1], CANDIDATES), team.engine.share(team.size)
    make = partial(team.engine.actor, load_shard, gpus=share, retries=0)
    shards = [make(path, rows, step, device) for rows in cut(shape[0], step, team.size)]
    try:
        yield shards
    finally:
        for shard in shards:
            shard.close()


def cut(count: int, step: int, shards: int) -> list[tuple[int, int]]:
    """The rows from .. to of at most so many shards, about equal and of whole blocks of `step` rows."""
    blocks = -(-count // step)
    ends = [step * (blocks * i // shards) for i in range(shards)] + [count]
    return [(first, last) for first, last in pairwise(ends) if first < last]


def merged(parts: Sequence[Some]) -> Some:
    """The rows of shards that follow each other."""
    fields = ("rows", "features", "squared", "nearest", "bonus")
    return Some(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))


def highest(scores: Float64[np.ndarray, " n"], count: int) -> Int64[np.ndarray, " m"]:
    """The places of the `count` highest scores above -inf in ascending order, the first of equals."""
    if count >= len(scores):
        return np.flatnonzero(scores > -math.inf)
    bound = float(np.partition(scores, len(scores) - count)[len(scores) - count])
    above, equal = np.flatnonzero(scores > bound), np.flatnonzero(scores == bound)
    places = np.sort(np.concatenate([above, equal[: count - len(above)]]))
    found: Int64[np.ndarray, " m"] = places[scores[places] > -math.inf]
    return found
