"""Greedy picking of images that stand for all others (k-medoids; facility location, Krause & Golovin 2014, section 2).

The farthest image is often an odd one. Here the next image is the one that brings the pool nearest to what is taken: it
minimises the mean distance of the pool's images, or of their cells, to the nearest ones taken, so crowds of like ones
are stood for first and what is odd last. The mean is over a sample. What an image brings only shrinks as others are
taken, so what it brought when last asked bounds it from above, and few are asked again for a pick (Minoux 1978).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from fathomseg.selection.picker import Rows, parts

_WITNESSES: Final = 8192
_ASKED: Final = 2**22
"""Distances computed at once: larger ones take new memory from the system every time."""
_EQUAL: Final = 1e-5
"""Gains that differ by less of the first mean distance are equal, as those of two rows that are nearest to each other
are: rounding must not decide, since it depends on the processor."""


_ROUNDING: Final = 2.0**-20
"""Sixteen times what float32 rounds by."""


@dataclass(frozen=True, slots=True)
class Cover:
    """One picked row of the features."""

    row: int
    before: float
    """Mean distance of the sample to what was taken; infinite if nothing was."""
    after: float
    """The same with this row."""


class Covering(Rows):
    """Picks rows one after the other, each the one that lowers most the mean distance to what is taken.

    Of rows that lower it equally the first is taken. Picking 10 and then 15 gives what picking 25 gives.
    O(pool x cells x sample x channels) time for the first pick and a fraction of that for each later one.
    """

    def __init__(
        self,
        features: Float[np.ndarray, "n d"],
        cells: int = 1,
        taken: Sequence[int] = (),
        device: torch.device | str | None = None,
    ) -> None:
        """`features` hold for every channel its `cells` numbers (1: rows are compared as wholes); they may be
        memory-mapped. `taken` are rows that are there already, in any order.

        Raises `FathomError` if there is no row, or one that is not finite.
        """
        assert features.shape[1] % cells == 0, f"{features.shape[1]} numbers are no whole number of {cells} cells"
        super().__init__(features, features.shape[1], device)
        self.cells = cells
        self._sample = self._sampled(len(features) * cells)
        self._sample_squares = (1 - _ROUNDING) * self._sample.square().sum(-1)
        self._near = self._sample.new_full((len(self._sample),), math.inf)
        self._bounds = np.full(len(features), math.inf)
        self._tolerance = 0.0
        self.take(taken)

    @property
    def mean(self) -> float:
        """Mean distance of the sample to what is taken; infinite if nothing is."""
        return float(self._near.mean(dtype=torch.float64))

    def take(self, rows: Sequence[int]) -> list[Cover]:
        """Take these rows, in this order, whatever they bring; tells what that was."""
        return [self._take(row) for row in rows]

    def pick(self, count: int) -> list[Cover]:
        """The next `count` rows. At least one must have been taken. Raises `FathomError` if fewer are left."""
        self._check(count)
        return [self._take(self._best()) for _ in range(count)]

    def _take(self, row: int) -> Cover:
        before = self.mean
        self._near = torch.minimum(self._near, self._distances(np.array([row]))[0])
        self._taken[row] = True
        if math.isinf(before):
            self._tolerance = _EQUAL * self.mean
        return Cover(row, before, self.mean)

    def _best(self) -> int:
        """The first of the rows that bring most."""
        bounds = np.where(self._taken, -math.inf, self._bounds)
        known = np.where(bounds == 0, 0.0, -math.inf)
        count = max(1, _ASKED // (self.cells * len(self._sample)))
        while (asked := _worth_asking(bounds, known, self._tolerance)[:count]).size:
            known[asked] = self._bounds[asked] = self._gains(asked)
        return int(np.flatnonzero(known >= known.max() - self._tolerance)[0])

    def _gains(self, rows: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
        """By how much each of these rows would lower the mean distance."""
        return (self._near - self._distances(rows)).clamp(min=0).mean(1, dtype=torch.float64).cpu().numpy()

    def _distances(self, rows: Int64[np.ndarray, " m"]) -> Float32[Tensor, "m sample"]:
        """The distance of the sample to the nearest cell of each row."""
        cells = parts(self._read(rows), self.cells)
        # |x - c|^2 = |x|^2 + |c|^2 - 2 x.c, of which rounding leaves something where x = c: lengths a little too short
        # make that less than 0.
        own = (1 - _ROUNDING) * cells.flatten(0, 1).square().sum(-1)
        squared = torch.addmm(self._sample_squares, cells.flatten(0, 1), self._sample.T, alpha=-2).add_(own[:, None])
        return squared.view(len(rows), self.cells, -1).amin(1).clamp(min=0).sqrt()

    def _sampled(self, count: int) -> Float32[Tensor, "sample c"]:
        """Some of the cells of all rows, by chance, but always the same ones."""
        chosen = np.sort(np.random.default_rng(0).permutation(count)[:_WITNESSES])
        found = []
        for rows, block in self._blocks():
            first, last = np.searchsorted(chosen, (rows.start * self.cells, rows.stop * self.cells))
            places = torch.from_numpy(chosen[first:last] - rows.start * self.cells).to(block.device)
            found.append(parts(block, self.cells).flatten(0, 1)[places])
        return torch.cat(found)


def _worth_asking(
    bounds: Float64[np.ndarray, " n"], known: Float64[np.ndarray, " n"], tolerance: float
) -> Int64[np.ndarray, " m"]:
    """Rows that may bring as much as the best known, those of the highest bounds first; -inf is what is not known."""
    open = np.flatnonzero((bounds > -math.inf) & (known == -math.inf) & (bounds >= known.max() - tolerance))
    return open[np.argsort(-bounds[open], kind="stable")]
