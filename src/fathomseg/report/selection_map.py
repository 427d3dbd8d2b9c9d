"""A pool of images seen through its features: a map of it, and how well the images chosen from it cover it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64

from fathomseg.io.chart import ACCENT, GREY, chart, svg
from fathomseg.selection.cells import StrangestCell

_NUMBERS: Final = 2**24
"""Numbers of features, or distances, held in memory at once."""
_DOTS: Final = 10_000
"""Images of the pool the map shows at most, besides those chosen or labelled before."""
_NUMBERED: Final = 60
"""Up to so many chosen images have their rank written on the map."""
_DRAWS: Final = 3
"""Random choices the curve is compared with."""
_BY_CELLS: Final = 500
"""Images of the pool that are looked at, besides those chosen or labelled before, where cells are compared."""
_AXES: Final = 2
_WIDTH: Final = 640.0
_MARGIN: Final = 18.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class PoolMap:
    """The pool along the two directions its features vary most in, both on one scale, in units of the drawing."""

    height: float
    dots: str
    """An SVG path with a dot for every image shown that is neither chosen nor labelled before."""
    rows: list[int]
    """The images behind the dots."""
    places: list[Point]
    """Where they lie."""
    chosen: list[Point]
    taken: list[Point]
    share: float
    """The part of all variance, 0..1, that the two directions hold."""
    width: float = _WIDTH
    numbered: bool = False


def pool_map(features: Float[np.ndarray, "n d"], chosen: Sequence[int], taken: Sequence[int]) -> PoolMap:
    """The map of a pool whose rows `chosen` (in order) and `taken` (labelled before) are marked."""
    free = np.setdiff1d(np.arange(len(features)), np.array([*chosen, *taken], np.int64))
    rows = free[np.linspace(0, len(free) - 1, min(len(free), _DOTS)).round().astype(np.int64)]
    axes, share = principal_axes(features)
    points = project(features, axes, np.concatenate([rows, np.array([*chosen, *taken], np.int64)])).astype(np.float64)
    low, extent = points.min(0), np.maximum(np.ptp(points, axis=0), 1e-12)
    scale = (_WIDTH - 2 * _MARGIN) / extent.max()  # one for both directions
    height = min(_WIDTH, max(240.0, float(extent[1]) * scale + 2 * _MARGIN))
    drawn = [_WIDTH / 2, height / 2] + (points - low - extent / 2) * [scale, -scale]
    places: list[Point] = [(round(x, 1), round(y, 1)) for x, y in drawn.tolist()]
    dots, marks = places[: len(rows)], places[len(rows) :]
    return PoolMap(
        height=height,
        dots="".join(f"M{x} {y}h0" for x, y in dots),
        rows=rows.tolist(),
        places=dots,
        chosen=marks[: len(chosen)],
        taken=marks[len(chosen) :],
        share=share,
        numbered=len(chosen) <= _NUMBERED,
    )


def principal_axes(features: Float[np.ndarray, "n d"]) -> tuple[Float32[np.ndarray, "d 2"], float]:
    """The two directions along which features vary most, unit length, and their share of all variance, 0..1.

    From as many evenly spaced rows as fit 64 MB. The widest is first. Each axis points to where its largest
    component is positive; where there are fewer directions they are zero.
    """
    rows = torch.from_numpy(np.array(features[:: -(-features.size // _NUMBERS)], np.float32))
    rows = rows - rows.mean(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, sizes, found = torch.pca_lowrank(rows, min(_AXES + 4, *rows.shape), center=False, niter=12)
    some = min(_AXES, int((sizes > 1e-6 * sizes[0].clamp(min=1e-30)).sum()))
    axes = torch.zeros(rows.shape[1], _AXES)
    axes[:, :some] = found[:, :some] * found[:, :some].gather(0, found[:, :some].abs().argmax(0)[None]).sign()
    whole = float(rows.square().sum(dtype=torch.float64))
    return axes.numpy(), min(1.0, float(sizes[:some].square().sum()) / whole) if whole > 0 else 0.0


def project(
    features: Float[np.ndarray, "n d"], axes: Float32[np.ndarray, "d k"], rows: Int64[np.ndarray, " m"]
) -> Float32[np.ndarray, "m k"]:
    """Some rows along these axes, from wherever the features have their origin."""
    parts = np.array_split(rows, -(-len(rows) * features.shape[1] // _NUMBERS))
    return np.concatenate([features[part].astype(np.float32) @ axes for part in parts])


@dataclass(frozen=True, slots=True)
class Coverage:
    """Distances of the pool's images to the nearest labelled one, by the number of images chosen so far.

    Entry k is after k of them. Entry 0 is NaN if no image was labelled before.
    """

    largest: Float64[np.ndarray, " n"]
    mean: Float64[np.ndarray, " n"]


def coverage(features: Float[np.ndarray, "n d"], taken: Sequence[int], order: Sequence[int]) -> Coverage:
    """The Euclidean distance of every row to the nearest of `taken` and of the first rows of `order`: 0, 1, ... all.

    One pass over the features, which may be memory-mapped: O(rows x dim x (taken + order)) time.
    """
    # Squared distances lose fewest digits near the origin.
    middle = np.asarray(features[:: -(-features.size // _NUMBERS)], np.float32).mean(0)
    columns = np.array([*taken, *order], np.int64)
    centres = features[columns] - middle
    squares = np.square(centres).sum(1)
    largest, total = np.zeros(len(order) + 1), np.zeros(len(order) + 1)
    step = max(1, _NUMBERS // max(features.shape[1], len(columns)))
    for start in range(0, len(features), step):
        rows = features[start : start + step] - middle
        found = np.square(rows).sum(1)[:, None] + squares - 2 * rows @ centres.T
        inside = (columns >= start) & (columns < start + len(rows))
        found[columns[inside] - start, inside] = 0  # which rounding would miss
        first = found[:, : len(taken)].min(1, initial=np.inf)
        nearest = np.minimum.accumulate(np.concatenate([first[:, None], found[:, len(taken) :]], axis=1), axis=1)
        distances = np.sqrt(np.maximum(nearest, 0))
        largest, total = np.maximum(largest, distances.max(0)), total + distances.sum(0, dtype=np.float64)
    mean = total / len(features)
    if not len(taken):
        largest[0] = mean[0] = np.nan
    return Coverage(largest, mean)


def coverage_by_cells(
    features: Float[np.ndarray, "n d"], cells: int, taken: Sequence[int], order: Sequence[int]
) -> Coverage:
    """The same where every cell of an image is compared with all cells of others, as `compare: cells` does: the largest
    and the mean distance over all cells of up to `_BY_CELLS` images and those of `taken` and `order`."""
    marked = np.array([*taken, *order], np.int64)
    free = np.setdiff1d(np.arange(len(features)), marked)
    rows = free[np.linspace(0, len(free) - 1, min(len(free), _BY_CELLS)).round().astype(np.int64)]
    some = np.concatenate([marked, rows])
    picker = StrangestCell(np.asarray(features[some]), cells, range(len(taken)))
    found = []
    for place in range(len(order) + 1):
        if place:
            picker.take([len(taken) + place - 1])
        distances = picker.cell_distances
        found.append((distances.max(), distances.mean()) if len(taken) or place else (np.nan, np.nan))
    largest, mean = np.array(found).T
    return Coverage(largest, mean)


@dataclass(frozen=True, slots=True)
class Curve:
    """One distance against the number of chosen images, beside the mean of some random choices."""

    name: str
    chosen: Float64[np.ndarray, " n"]
    random: Float64[np.ndarray, " n"]

    @property
    def picture(self) -> str:
        """An SVG element; distances that are NaN, without labels before, are left out."""
        from matplotlib.ticker import MaxNLocator

        with chart(height=2.9) as figure:
            axes = figure.add_subplot(xlabel="images chosen")
            axes.set_title(f"{self.name} distance", loc="left")
            axes.plot(self.random, "--", color=GREY, linewidth=2)
            axes.plot(self.chosen, color=ACCENT, linewidth=2.5)
            axes.set_ylim(0)
            axes.margins(x=0.02)
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
            return svg(figure, inline=True)


def curves(
    features: Float[np.ndarray, "n d"], chosen: Sequence[int], taken: Sequence[int], seed: int, cells: int = 1
) -> tuple[Curve, Curve]:
    """The largest and the mean distance to the nearest labelled image, or of cells to the nearest labelled cell if the
    criterion compares the `cells` of images."""

    def covered(order: Sequence[int]) -> Coverage:
        return coverage(features, taken, order) if cells == 1 else coverage_by_cells(features, cells, taken, order)

    own = covered(chosen)
    free = np.setdiff1d(np.arange(len(features)), np.array(taken, np.int64))
    count = _DRAWS if cells == 1 else 1
    draws = [np.random.default_rng((seed, draw)).permutation(free)[: len(chosen)] for draw in range(count)]
    random = [covered(draw.tolist()) for draw in draws]
    return (
        Curve("largest", own.largest, np.mean([one.largest for one in random], axis=0)),
        Curve("mean", own.mean, np.mean([one.mean for one in random], axis=0)),
    )
