"""What criteria share that compare images by features: whole images, or their cells."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
from jaxtyping import Float

from fathomseg.config import Part
from fathomseg.errors import FathomError
from fathomseg.inference.device import pick_device
from fathomseg.io.progress import named
from fathomseg.selection.base import random_order, times_the_median
from fathomseg.selection.cells import StrangestCell
from fathomseg.selection.covering import Covering
from fathomseg.selection.extraction import extract
from fathomseg.selection.farthest_first import FarthestFirst
from fathomseg.selection.features import AnyFeatures, Features, Grid
from fathomseg.selection.picker import Pick, Picker
from fathomseg.selection.pool import Pool
from fathomseg.selection.result import Choice
from fathomseg.selection.shard import held


class Comparing(Part):
    """What criteria share that compare images by features."""

    features: AnyFeatures
    """What images are compared by."""
    compare: Literal["images", "cells"] = "images"
    """`images`: as wholes, cell by cell of the features' grid. `cells`: every cell with all cells of other images,
    wherever they are. The strangest cell of an image says how far it is from others, which finds what is rare and
    small; for `coverage` all cells of the pool count alike."""
    start: Literal["central", "random"] = "central"
    """The first image if none is labelled yet: the most ordinary one (nearest to the mean of the pool), or a random one
    by the seed. Hoyer et al. (2021) take a random one; the rest of the choice depends little on it."""

    @contextmanager
    def picker(self, pool: Pool) -> Iterator[tuple[Picker, Features]]:
        """The pool by its features, with those taken that are labelled already."""
        found, taken, device = self.extracted(pool), pool.rows(pool.already), pick_device(pool.place)
        if self.compare == "cells":
            yield StrangestCell(found.matrix, self.cells, taken, device), found
        elif pool.team is None or found.file is None:
            yield FarthestFirst(found.matrix, taken, device), found
        else:
            with held(found.file, found.matrix.shape, pool.team, pool.place) as shards:
                yield FarthestFirst(found.matrix, taken, device, shards), found

    def extracted(self, pool: Pool) -> Features:
        """The features of the pool, in the order of its ids."""
        found = extract(
            self.features, pool.cache, pool.ids, pool.place, progress=named(pool.progress, "features"), team=pool.team
        )
        if found.ids != pool.ids:
            raise FathomError(f"{found.skipped[0].id} could be read a moment ago, and now: {found.skipped[0].reason}.")
        return found

    @property
    def cells(self) -> int:
        """Parts of an image that are compared by themselves."""
        return 1 if self.compare == "images" else math.prod(self.features.grid)

    def first(self, pool: Pool, picker: Picker | Covering) -> Choice:
        """The image the choice begins with."""
        central = self.start == "central"
        row = picker.central() if central else pool.row[random_order(pool)[0]]
        picker.take([row])
        what = "the image nearest to the mean of the pool" if central else f"a random image (seed {pool.seed})"
        return Choice(id=pool.ids[row], rank=1, reason=f"The choice begins with {what}.")

    def far(self, pool: Pool, pick: Pick, rank: int) -> Choice:
        """An image chosen by its distance."""
        assert pick.nearest is not None, "something is taken"
        assert pick.distance is not None
        away = f"{pick.distance:.1f} away from the nearest"
        if pick.cell is None:
            reason = f"It is the least like any image before it: {away}, {pool.ids[pick.nearest]}."
        else:
            where = self._where(pick.cell)
            reason = f"{where} is the least like any of the images before it: {away}, in {pool.ids[pick.nearest]}."
        return self._choice(pool, pick, rank, {"diversity": pick.distance}, reason)

    def far_and_hard(self, pool: Pool, pick: Pick, errors: Float[np.ndarray, " n"], rank: int) -> Choice:
        """An image chosen by its distance and its difficulty."""
        assert pick.nearest is not None, "something is taken"
        assert pick.distance is not None
        error = float(errors[pick.row])
        what, where = ("It", ",") if pick.cell is None else (self._where(pick.cell), ", in")
        reason = (
            f"{what} is {pick.distance:.1f} away from the nearest image before it{where} {pool.ids[pick.nearest]}, "
            f"and a depth student errs by {error:.4f} here, {times_the_median(error, errors)}."
        )
        return self._choice(pool, pick, rank, {"diversity": pick.distance, "difficulty": error}, reason)

    def _where(self, cell: int) -> str:
        """A cell in words."""
        (rows, columns), (row, column) = self.features.grid, divmod(cell, self.features.grid[1])
        return f"Its cell {row + 1} of {rows} down, {column + 1} of {columns} across,"

    def _choice(self, pool: Pool, pick: Pick, rank: int, scores: dict[str, float], reason: str) -> Choice:
        assert pick.nearest is not None
        return Choice(
            id=pool.ids[pick.row],
            rank=rank,
            scores=scores,
            distance=pick.distance,
            nearest=pool.ids[pick.nearest],
            part=None if pick.cell is None else _part(pick.cell, self.features.grid),
            reason=reason,
        )


def _part(cell: int, grid: Grid) -> tuple[float, float, float, float]:
    """Top, left, bottom and right of a cell as shares of the image."""
    row, column = divmod(cell, grid[1])
    return row / grid[0], column / grid[1], (row + 1) / grid[0], (column + 1) / grid[1]
