"""The drawings of the selection page: the map of the pool, and the curves of how well it is covered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float64, Int64

from fathomseg.report.selection_map import coverage, principal_axes, project, share_of_variance

_DOTS: Final = 10_000
"""Images of the pool the map shows at most, besides those chosen or labelled before."""
_NUMBERED: Final = 60
"""Up to so many chosen images have their rank written on the map."""
_DRAWS: Final = 3
"""Random choices the curve is compared with."""
_WIDTH: Final = 640.0
_MARGIN: Final = 18.0
_PLOT: Final = (360.0, 200.0)

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
    marked = np.zeros(len(features), bool)
    marked[[*chosen, *taken]] = True
    free = np.flatnonzero(~marked)
    rows = free[_spread(len(free), _DOTS)]
    axes = principal_axes(features)
    everything = np.concatenate([rows, np.array([*chosen, *taken], np.int64)])
    points = project(features, axes, everything).astype(np.float64)
    drawn, height = _fitted(points)
    dots = drawn[: len(rows)]
    marks = [_pair(point) for point in drawn[len(rows) :]]
    return PoolMap(
        height=height,
        dots="".join(f"M{x:.1f} {y:.1f}h0" for x, y in dots),
        rows=rows.tolist(),
        places=[_pair(point) for point in dots],
        chosen=marks[: len(chosen)],
        taken=marks[len(chosen) :],
        share=share_of_variance(features, axes),
        numbered=len(chosen) <= _NUMBERED,
    )


@dataclass(frozen=True, slots=True)
class Curve:
    """One distance against the number of chosen images, in units of the drawing."""

    name: str
    chosen: str
    """Points of a polyline."""
    random: str
    ticks_x: list[tuple[float, int]]
    ticks_y: list[tuple[float, str]]
    end: float
    """The distance after the whole budget."""
    end_random: float
    width: float = _PLOT[0]
    height: float = _PLOT[1]


def curves(
    features: Float[np.ndarray, "n d"], chosen: Sequence[int], taken: Sequence[int], seed: int
) -> tuple[Curve, Curve]:
    """The largest and the mean distance to the nearest labelled image, beside the mean of some random choices."""
    own = coverage(features, taken, chosen)
    free = np.setdiff1d(np.arange(len(features)), np.array(taken, np.int64))
    draws = [np.random.default_rng((seed, draw)).permutation(free)[: len(chosen)] for draw in range(_DRAWS)]
    random = [coverage(features, taken, draw.tolist()) for draw in draws]
    return (
        _curve("largest", own.largest, np.mean([one.largest for one in random], axis=0)),
        _curve("mean", own.mean, np.mean([one.mean for one in random], axis=0)),
    )


def _curve(name: str, own: Float64[np.ndarray, " n"], random: Float64[np.ndarray, " n"]) -> Curve:
    first = int(np.isnan(own[0]))  # without labels before, distances begin with the first image
    width, height = _PLOT
    top = max(float(np.nanmax(own)), float(np.nanmax(random)), 1e-12)
    span = max(1, len(own) - 1 - first)

    def points(values: Float64[np.ndarray, " n"]) -> str:
        pairs = ((width * (k - first) / span, height * (1 - values[k] / top)) for k in range(first, len(values)))
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)

    ticks = sorted({first, *(round(first + span * part / 4) for part in range(5)), len(own) - 1})
    step = _nice(top / 4)
    heights = [i * step for i in range(math.floor(top / step + 1e-9) + 1)]
    return Curve(
        name=name,
        chosen=points(own),
        random=points(random),
        ticks_x=[(round(width * (k - first) / span, 1), k) for k in ticks],
        ticks_y=[(round(height * (1 - value / top), 1), f"{value:.10g}") for value in heights],
        end=float(own[-1]),
        end_random=float(random[-1]),
    )


def _spread(count: int, wanted: int) -> Int64[np.ndarray, " n"]:
    """At most `wanted` of 0 .. count - 1, evenly spaced."""
    return np.arange(count) if count <= wanted else np.linspace(0, count - 1, wanted).round().astype(np.int64)


def _fitted(points: Float64[np.ndarray, "n 2"]) -> tuple[Float64[np.ndarray, "n 2"], float]:
    """Points at one scale for both directions in a drawing as wide as the page wants, and its height."""
    low, extent = points.min(0), np.maximum(np.ptp(points, axis=0), 1e-12)
    inside = _WIDTH - 2 * _MARGIN
    scale = inside / float(max(extent[0], extent[1]))
    drawn = (points - low - extent / 2) * scale
    height = min(_WIDTH, max(240.0, float(extent[1]) * scale + 2 * _MARGIN))
    return np.stack([_WIDTH / 2 + drawn[:, 0], height / 2 - drawn[:, 1]], axis=1), height


def _nice(value: float) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that is not below `value`."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-9))


def _pair(point: Float64[np.ndarray, " 2"]) -> Point:
    return round(float(point[0]), 1), round(float(point[1]), 1)
