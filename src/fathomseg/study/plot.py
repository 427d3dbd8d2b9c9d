"""The label-efficiency plot: mIoU against the number of labelled images, a curve for each arm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fathomseg.study.drawing import Dot, Drawing, Line, Point, Shape, Text
from fathomseg.study.folder import Record
from fathomseg.study.grid import Cell
from fathomseg.study.rows import SCORE, Row

_WIDTH: Final = 760
_LEFT: Final = 64.0
_RIGHT: Final = 736.0
_TOP: Final = 40.0
_BOTTOM: Final = 360.0
"""Where the axes lie."""

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
"""Okabe and Ito's, which most colour-blind people can tell apart."""

_GREY: Final = "#767676"
_PALE: Final = "#e4e4e4"

_APART: Final = 7.0
"""Units between arms that used the same number of labels, so that none hides another."""


@dataclass(frozen=True, slots=True)
class Axes:
    """From numbers of labels (logarithmic) and per cent to units of the drawing."""

    labels: tuple[float, float]
    score: tuple[float, float]

    def at(self, labels: float, score: float, beside: float = 0.0) -> Point:
        """The point of a result, moved to the right by `beside` units."""
        low, high = (math.log(end) for end in self.labels)
        x = _LEFT + (math.log(labels) - low) / (high - low) * (_RIGHT - _LEFT)
        y = _BOTTOM - (score - self.score[0]) / (self.score[1] - self.score[0]) * (_BOTTOM - _TOP)
        return x + beside, y


def label_efficiency(
    rows: Sequence[Row], records: Mapping[Cell, Record], titles: Mapping[str, str], title: str, full: Row | None
) -> Drawing:
    """Means as lines, their spread as bars, single seeds as rings; dashed: `full` (what 100 % means) and 95 % of it.

    `titles`: the name of each arm in the legend.
    """
    points = [(record["images"], record[SCORE]) for record in records.values()]
    if not points:
        return Drawing(_WIDTH, 120, title, [Text((_WIDTH / 2, 64), "no result yet", _GREY, 16, "middle")])
    axes = _axes(points)
    arms = list(dict.fromkeys(row.arm for row in rows))
    colours = {arm: COLOURS[i % len(COLOURS)] for i, arm in enumerate(arms)}
    beside = {arm: _APART * (i - (len(arms) - 1) / 2) for i, arm in enumerate(arms)}
    shapes: list[Shape] = [*_frame(axes, sorted({images for images, _ in points}), title), *_levels(axes, full)]
    for cell, record in records.items():
        point = axes.at(record["images"], record[SCORE], beside[cell.arm])
        shapes.append(Dot(point, 2.5, colours[cell.arm], hollow=True))
    for arm in arms:
        shapes += _curve(axes, [row for row in rows if row.arm == arm], colours[arm], beside[arm])
    return Drawing(_WIDTH, _height(len(arms)), title, [*shapes, *_legend(arms, titles, colours)])


def _axes(points: Sequence[tuple[float, float]]) -> Axes:
    labels, scores = [images for images, _ in points], [score for _, score in points]
    margin = max(1.0, 0.15 * (max(scores) - min(scores)))
    low, high = min(labels) / 1.2, max(labels) * 1.2
    return Axes((low, high), (max(0.0, min(scores) - margin), min(100.0, max(scores) + margin)))


def _frame(axes: Axes, budgets: Sequence[int], title: str) -> list[Shape]:
    """Title, grid, numbers and names of the axes."""
    shapes: list[Shape] = [Text((_LEFT, 24), title, "#111111", 15)]
    step = _step((axes.score[1] - axes.score[0]) / 5)
    for i in range(math.ceil(axes.score[0] / step), math.floor(axes.score[1] / step) + 1):
        y = axes.at(axes.labels[0], i * step)[1]
        shapes += [Line([(_LEFT, y), (_RIGHT, y)], _PALE), Text((_LEFT - 8, y + 4), f"{i * step:g}", _GREY, 12, "end")]
    last = -math.inf
    for budget in budgets:
        x = axes.at(budget, axes.score[0])[0]
        shapes.append(Line([(x, _BOTTOM), (x, _BOTTOM + 5)], _GREY))
        if x - last > 30:  # else the numbers would touch
            shapes.append(Text((x, _BOTTOM + 20), str(budget), _GREY, 12, "middle"))
            last = x
    shapes.append(Line([(_LEFT, _TOP), (_LEFT, _BOTTOM), (_RIGHT, _BOTTOM)], _GREY))
    shapes.append(Text(((_LEFT + _RIGHT) / 2, _BOTTOM + 40), "labelled images", "#333333", 13, "middle"))
    shapes.append(Text((8, _TOP - 6), "mIoU, %", "#333333", 12))
    return shapes


def _curve(axes: Axes, rows: Sequence[Row], colour: str, beside: float) -> list[Shape]:
    """A line through the means, and bars of one standard deviation to both sides."""
    known = [(row.images, row.score) for row in rows if row.images is not None and row.score is not None]
    means = [axes.at(images, score.mean, beside) for images, score in known]
    shapes: list[Shape] = [Line(means, colour, 2.2)] if len(means) > 1 else []
    for images, score in known:
        if score.spread is not None:
            ends = [axes.at(images, score.mean + way * score.spread, beside) for way in (-1, 1)]
            shapes.append(Line(ends, colour, 1.2))
    return [*shapes, *(Dot(point, 4.0, colour) for point in means)]


def _levels(axes: Axes, full: Row | None) -> list[Shape]:
    if full is None or full.score is None:
        return []
    shapes: list[Shape] = []
    for part, text in ((1.0, "100 %"), (0.95, "95 %")):
        score = part * full.score.mean
        if axes.score[0] <= score <= axes.score[1]:
            y = axes.at(axes.labels[0], score)[1]
            shapes += [Line([(_LEFT, y), (_RIGHT, y)], _GREY, 1, dash=5), Text((_LEFT + 4, y - 4), text, _GREY, 11)]
    return shapes


def _legend(arms: Sequence[str], titles: Mapping[str, str], colours: Mapping[str, str]) -> list[Shape]:
    """Two columns under the plot."""
    shapes: list[Shape] = []
    for i, arm in enumerate(arms):
        x, y = _LEFT + (i % 2) * 340, _BOTTOM + 66 + 20 * (i // 2)
        shapes += [Line([(x, y - 4), (x + 24, y - 4)], colours[arm], 2.2), Dot((x + 12, y - 4), 4.0, colours[arm])]
        shapes.append(Text((x + 32, y), titles.get(arm, arm)))
    return shapes


def _height(arms: int) -> int:
    return round(_BOTTOM + 66 + 20 * ((arms + 1) // 2))


def _step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
