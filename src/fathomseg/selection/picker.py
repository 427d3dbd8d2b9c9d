"""What the ways of picking rows of features one after the other have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from fathomseg.errors import FathomError

_CHUNK: Final = 2**23
"""Numbers of features held in memory at once."""


@dataclass(frozen=True, slots=True)
class Pick:
    """One picked row of the features."""

    row: int
    distance: float | None
    """Euclidean distance to the nearest row taken before; None if it is the first."""
    nearest: int | None
    """That row."""
    cell: int | None = None
    """The cell the distance is that of; None if rows are compared as a whole."""


class Taken:
    """Rows of which some are taken."""

    _taken: Bool[np.ndarray, " n"]

    @property
    def left(self) -> Int64[np.ndarray, " m"]:
        """The rows not taken yet."""
        return np.flatnonzero(~self._taken)

    def _check(self, count: int) -> None:
        """Raises `FathomError` if fewer rows are left to pick than that."""
        if count > len(self.left):
            raise FathomError(f"{count} images were to be picked, but only {len(self.left)} are left in the pool.")
        assert self._taken.any(), "the first row must be taken by `take`"


class Rows(Taken):
    """Rows of features, some of them taken, that are read in blocks: a pool may be larger than memory."""

    def __init__(
        self,
        features: Float[np.ndarray, "n d"],
        width: int,
        device: torch.device | str | None = None,
        first: int = 0,
        step: int | None = None,
    ) -> None:
        """`features` may be memory-mapped; `width`: numbers a row is compared with at once; `first`: the number of the
        first row, of those that are a part of more; `step`: rows of a block, by default what `block_rows` says.

        Raises `FathomError` if there is no row, or one that is not finite.
        """
        self.features, self.first, self.device = features, first, torch.device(device or "cpu")
        count = len(features)
        if count == 0:
            raise FathomError("There is nothing to pick from: the pool is empty.")
        self._step = step or block_rows(features.shape[1], width)
        self._squares = torch.cat([self._lengths(block).cpu() for _, block in self._blocks()])
        bad = (~self._squares.isfinite()).view(count, -1).any(1)
        if bool(bad.any()):
            raise FathomError(
                f"The features of row {first + int(bad.nonzero()[0])} are NaN or infinite, as are those of "
                f"{int(bad.sum()) - 1} other rows, so no distance can be told. The network "
                "that made them is broken; take another run or encoder."
            )
        self._taken = np.zeros(count, np.bool_)

    def central(self) -> int:
        """The row nearest to the mean of all rows: the most ordinary one."""
        mean: Float32[np.ndarray, " d"] = (np.sum(self.sums(), 0) / len(self.features)).astype(np.float32)
        return self.nearest_to(mean)[1]

    def sums(self) -> list[Float64[np.ndarray, " d"]]:
        """The sum of every block."""
        return [block.sum(0, dtype=torch.float64).cpu().numpy() for _, block in self._blocks()]

    def nearest_to(self, point: Float32[np.ndarray, " d"]) -> tuple[float, int]:
        """Squared distance and number of the row nearest to a point, the first of equals."""
        squared = torch.empty(len(self.features))
        for place, block in self._blocks():
            squared[place] = (block - self._tensor(point[None])).square().sum(1).cpu()
        row = int(squared.numpy().argmin())
        return float(squared[row]), self.first + row

    def _lengths(self, block: Float32[Tensor, "m d"]) -> Float32[Tensor, "m *cells"]:
        """The squared length of every row, or of every one of its parts that are compared by themselves."""
        return block.square().sum(1)

    def _blocks(self) -> Iterator[tuple[slice, Float32[Tensor, "m d"]]]:
        """The features in blocks of rows, as float32 on the device."""
        for start in range(0, len(self.features), self._step):
            rows = slice(start, min(start + self._step, len(self.features)))
            yield rows, self._tensor(self.features[rows])

    def _read(self, rows: Int64[np.ndarray, " m"]) -> Float32[Tensor, "m d"]:
        return self._tensor(self.features[rows])

    def _tensor(self, block: Float[np.ndarray, "m d"]) -> Float32[Tensor, "m d"]:
        owned = np.require(block, requirements=["C", "W"])
        return torch.from_numpy(owned).to(self.device, torch.float32)


class Picker(Taken, ABC):
    """Picks rows of features one after the other, each the farthest from those taken before.

    Of rows equally far the first is taken. Picking 10 and then 15 gives what picking 25 gives.
    """

    @property
    @abstractmethod
    def distances(self) -> Float64[np.ndarray, " n"]:
        """Distance of every row to what is taken; infinite if nothing is."""

    @abstractmethod
    def central(self) -> int:
        """The row nearest to the mean of all rows: the most ordinary one."""

    @abstractmethod
    def take(self, rows: Sequence[int]) -> list[Pick]:
        """Take these rows, in this order, whatever their distances; tells what these were."""

    @abstractmethod
    def pick(self, count: int, bonus: Float[np.ndarray, " n"] | None = None) -> list[Pick]:
        """The next `count` rows: of those left, the one of the largest distance, plus its `bonus` if given.

        At least one row must have been taken. Raises `FathomError` if fewer rows are left.
        """


def block_rows(numbers: int, width: int) -> int:
    """Rows read at once, of so many numbers each."""
    return max(1, _CHUNK // max(numbers, width))


def parts(block: Float32[Tensor, "m d"], cells: int) -> Float32[Tensor, "m cells c"]:
    """The cells of every row, which holds for every channel its `cells` numbers."""
    return block.view(len(block), -1, cells).transpose(1, 2)
