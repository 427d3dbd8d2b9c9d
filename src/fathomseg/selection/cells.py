"""Greedy farthest-point picking by parts of images: each next image shows somewhere what no image before it shows.

Compared as wholes, two images differ by what fills them: trees, a lorry close by. What is rare and small, a rider or a
sign, is one cell of many and drowns. So an image is here as far from those taken as the strangest of its cells is from
all of theirs, wherever they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from fathomseg.selection.picker import Pick, Picker, Rows, parts


class StrangestCell(Rows, Picker):
    """Each row has the cell farthest from all cells of the rows taken before (a directed Hausdorff distance).

    One pass over the pool for every pick: O(picked x pool x cells^2 x channels) time, O(pool x cells) memory.
    """

    def __init__(
        self,
        features: Float[np.ndarray, "n d"],
        cells: int,
        taken: Sequence[int] = (),
        device: torch.device | str | None = None,
    ) -> None:
        """`features` hold for every channel its `cells` numbers; they may be memory-mapped. `taken` are rows that are
        there already, in any order.

        Raises `FathomError` if there is no row, or one that is not finite.
        """
        assert features.shape[1] % cells == 0, f"{features.shape[1]} numbers are no whole number of {cells} cells"
        self.cells = cells
        super().__init__(features, cells * cells, device)
        self._squared = torch.full((len(features), cells), math.inf)
        self._nearest = torch.full((len(features), cells), -1)
        self.take(taken)

    @property
    def distances(self) -> Float64[np.ndarray, " n"]:
        """Euclidean distance of every row's strangest cell to the nearest cell of a row taken; infinite if none is."""
        distances: Float64[np.ndarray, " n"] = np.sqrt(self._squared.amax(1).numpy(), dtype=np.float64)
        return distances

    @property
    def cell_distances(self) -> Float64[np.ndarray, "n cells"]:
        """The same of every cell."""
        distances: Float64[np.ndarray, "n cells"] = np.sqrt(self._squared.numpy(), dtype=np.float64)
        return distances

    def take(self, rows: Sequence[int]) -> list[Pick]:
        """Take these rows, in this order, whatever their distances; tells what these were."""
        return [self._take(row) for row in rows]

    def pick(self, count: int, bonus: Float[np.ndarray, " n"] | None = None) -> list[Pick]:
        """One after the other."""
        self._check(count)
        extra = np.zeros(len(self._taken)) if bonus is None else np.asarray(bonus, np.float64)
        return [
            self._take(int(np.where(self._taken, -math.inf, self.distances + extra).argmax())) for _ in range(count)
        ]

    def _take(self, row: int) -> Pick:
        """Take one row and compare the whole pool with it."""
        cell = int(self._squared[row].argmax())
        nearest = int(self._nearest[row, cell])
        pick = Pick(row, None, None) if nearest < 0 else Pick(row, self._distance(row, cell, nearest), nearest, cell)
        self._taken[row] = True
        centres = parts(self._read(np.array([row])), self.cells)[0]
        squares = centres.square().sum(1)
        for place, block in self._blocks():
            found = torch.addmm(squares, parts(block, self.cells).flatten(0, 1), centres.T, alpha=-2).amin(1)
            squared = (found.view(-1, self.cells).cpu() + self._squares[place]).clamp(min=0)
            closer = squared < self._squared[place]
            self._squared[place] = torch.where(closer, squared, self._squared[place])
            self._nearest[place] = torch.where(closer, row, self._nearest[place])
        self._squared[row] = 0.0  # what rounding leaves of a difference of large numbers depends on the processor
        return pick

    def _distance(self, row: int, cell: int, nearest: int) -> float:
        """That of one cell to the most similar one of another row, in float64."""
        one, other = (self.features[i].astype(np.float64).reshape(-1, self.cells) for i in (row, nearest))
        return float(np.linalg.norm(other - one[:, [cell]], axis=0).min())

    def _lengths(self, block: Float32[Tensor, "m d"]) -> Float32[Tensor, "m cells"]:
        return parts(block, self.cells).square().sum(2)
