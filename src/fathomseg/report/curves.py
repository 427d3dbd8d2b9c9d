"""The log of a training as small charts, one for each number it tells."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from fathomseg.engine.step import LINKS
from fathomseg.io.chart import ACCENT, chart, svg

_MOST: Final = 24
"""Charts in a group; the log has the rest."""
_POINTS: Final = 400
"""Points of a curve that are drawn, evenly spread."""
_OF_THE_STEP: Final = ("lr", "ema_decay", "gradient_norm")
_NOT_DRAWN: Final = ("step", "kind", "seconds", "cpu_seconds")

Kind = Literal["train", "val"]


@dataclass(frozen=True, slots=True)
class Series:
    """One number by the steps it was logged at."""

    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Log:
    """What metrics.jsonl tells."""

    losses: Mapping[str, Series]
    """Loss terms, and what objectives log beside them."""
    of_steps: Mapping[str, Series]
    """Learning rate, norm of the gradient, seconds of a step."""
    scores: Mapping[str, Series]
    """Of the averaged weights in the middle of the training."""
    minutes: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart of a page."""

    title: str
    last: str
    """The last value."""
    picture: str
    """An SVG element."""


def read_log(path: Path) -> Log:
    """The log of a run; empty where there is none. A last line cut short is passed over."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    trained = [line for line in lines if line["kind"] == "train"]
    found = _series(trained)
    steps: dict[str, Series] = {name: found.pop(name) for name in _OF_THE_STEP if name in found}
    if speed := _seconds(trained):
        steps["seconds of a step"] = speed
    losses = {name: one for name, one in found.items() if not name.startswith(f"{LINKS}.")}
    seconds = float(lines[-1].get("seconds", 0.0)) if lines else 0.0
    return Log(losses, steps, _series([line for line in lines if line["kind"] == "val"]), seconds / 60)


def panels(series: Mapping[str, Series]) -> list[Panel]:
    """A chart for each, the first `_MOST`."""
    return [_panel(name, one) for name, one in list(series.items())[:_MOST]]


def _series(lines: Sequence[Mapping[str, object]]) -> dict[str, Series]:
    """By name the steps that have a number for it."""
    names = dict.fromkeys(key for line in lines for key in line if key not in _NOT_DRAWN)
    found = {}
    for name in names:
        points = [(line["step"], line[name]) for line in lines if isinstance(line.get(name), int | float)]
        if points:
            steps, values = zip(*points, strict=True)
            found[name] = Series(steps, values)
    return found


def _seconds(lines: Sequence[Mapping[str, float]]) -> Series | None:
    """Seconds of a step between two lines of the log."""
    pairs = [(a, b) for a, b in pairwise(lines) if b["step"] > a["step"]]
    if not pairs:
        return None
    values = [(b["seconds"] - a["seconds"]) / (b["step"] - a["step"]) for a, b in pairs]
    return Series([int(b["step"]) for _, b in pairs], values)


def _panel(name: str, series: Series) -> Panel:
    from matplotlib.ticker import MaxNLocator

    every = max(1, len(series.steps) // _POINTS)
    steps, values = series.steps[::every], series.values[::every]
    with chart(3.4, 1.9) as figure:
        figure.set_layout_engine(None)  # which would draw each of them twice
        figure.subplots_adjust(left=0.2, right=0.97, top=0.95, bottom=0.15)
        axes = figure.add_subplot()
        axes.plot(steps, values, color=ACCENT, linewidth=1.8, marker="o" if len(steps) < 8 else None, markersize=4)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(lambda value, _: _tick(value))
        if min(values) >= 0 and max(values) > 0:
            axes.set_ylim(0, 1.08 * max(values))
        return Panel(readable(name), f"{series.values[-1]:.4g}", svg(figure, inline=True))


def _tick(value: float) -> str:
    """Few letters: 0.25, 2.5e-4."""
    text = f"{value:.3g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.1e}"
    return text.replace("e-0", "e-")


def readable(name: str) -> str:
    """`pseudo_labels.confidence` -> `pseudo labels: confidence`."""
    return name.replace("_", " ").replace(".", ": ")
