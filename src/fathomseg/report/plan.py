"""A trajectory seen from above, as the points of an SVG drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float64

from fathomseg.evaluation.motion import Drive
from fathomseg.geometry.trajectory import align, from_first

_SIDE: Final = 300.0
"""Units of the drawing across its square."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One clip: the paths in a square of `_SIDE` units, forward up and right to the right."""

    name: str
    frames: int
    truth: str
    """Points of a polyline."""
    predicted: str
    grid: list[tuple[float, float]]
    """Where the lines of the grid lie, from the left and from the top."""
    step_m: float
    """Metres between two lines of the grid."""
    start: tuple[float, float]
    end_truth: tuple[float, float]
    end_predicted: tuple[float, float]
    scale: float
    """True metres per predicted unit, as fitted."""
    side: float = _SIDE


def plan(drive: Drive) -> Plan:
    """Both paths from above (x right, z forward), seen from the first camera, the predicted one scaled to fit best."""
    predicted, scale = align(drive.predicted, drive.truth, "scale")
    paths = [poses[:, [0, 2], 3] for poses in (from_first(drive.truth), predicted)]
    points = np.concatenate(paths)
    low, high = points.min(0), points.max(0)
    extent = max(1.0, 1.1 * float((high - low).max()))  # metres across; a clip that stands still is a point
    corner = (low + high) / 2 - extent / 2
    true, guess = (_drawn(path, corner, extent) for path in paths)
    step = _nice(extent / 5)
    return Plan(
        name=drive.ids[0],
        frames=len(drive.ids),
        truth=_text(true),
        predicted=_text(guess),
        grid=_grid(corner, extent, step),
        step_m=step,
        start=_pair(true[0]),
        end_truth=_pair(true[-1]),
        end_predicted=_pair(guess[-1]),
        scale=scale,
    )


def _drawn(path: Float64[np.ndarray, "n 2"], corner: Float64[np.ndarray, " 2"], extent: float) -> np.ndarray:
    """Units of the drawing, whose second axis points down."""
    units = (path - corner) / extent * _SIDE
    return np.stack([units[:, 0], _SIDE - units[:, 1]], axis=1)


def _grid(corner: Float64[np.ndarray, " 2"], extent: float, step: float) -> list[tuple[float, float]]:
    """As many whole multiples of `step` as fit on both axes."""
    count = math.floor(extent / step)
    first = np.ceil(corner / step) * step
    lines = _drawn(first + step * np.arange(count)[:, None], corner, extent)
    return [_pair(line) for line in lines]


def _nice(value: float) -> float:
    """The largest of 1, 2 or 5 times a power of ten that is not above `value`."""
    power = 10.0 ** math.floor(math.log10(value))
    return power * max(factor for factor in (1, 2, 5) if factor * power <= value * (1 + 1e-9))


def _text(points: Float64[np.ndarray, "n 2"]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _pair(point: Float64[np.ndarray, " 2"]) -> tuple[float, float]:
    return round(float(point[0]), 1), round(float(point[1]), 1)
