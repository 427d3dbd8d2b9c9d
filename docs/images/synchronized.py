"""Draws the figure of docs/methods/synchronized.md: `python docs/images/synchronized.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fathomseg.io.chart import ACCENT, GREY, INK, chart, svg
from fathomseg.io.files import write_text

HERE = Path(__file__).parent
LEVELS = 3
SECOND = "#c2571a"


def main() -> None:
    """Two U-Nets as V shapes: encoders go down, decoders come up, dashed lines are the links."""
    with chart(9, 4.6) as figure:
        axes = figure.add_subplot()
        axes.set(xlim=(-0.6, 11.6), ylim=(-4.6, 1.5))
        axes.axis("off")
        starts = {"segmentation": (0.0, ACCENT), "depth": (6.4, SECOND)}
        for name, (x, colour) in starts.items():
            _network(axes, name, x, colour)
        for level in range(LEVELS):
            left, right = (x for x, _ in starts.values())
            up = -1.1 * level
            _link(axes, (left + 0.45 * level, up), (right + 4.6 - 0.45 * level, up), ACCENT, -0.22)
            _link(axes, (right + 0.45 * level, up), (left + 4.6 - 0.45 * level, up), SECOND, 0.22)
        axes.text(5.5, 1.2, "RGB image", ha="center", color=INK, weight="bold")
        axes.text(
            5.5,
            -4.5,
            "dashed: 1x1 convolution, weight and bias zero at first, added to what the decoder joins",
            ha="center",
            color=GREY,
        )
        write_text(HERE / "synchronized.svg", svg(figure))


def _network(axes: Any, name: str, x: float, colour: str) -> None:
    places = [(x + 0.45 * i, -1.1 * i) for i in range(LEVELS)]
    ups = [(x + 4.6 - 0.45 * i, -1.1 * i) for i in range(LEVELS)]
    bottom = (x + 2.3, -1.1 * LEVELS)
    path = [*places, bottom, *reversed(ups)]
    axes.plot(*zip(*path, strict=True), "-", color=colour, linewidth=1.5, zorder=1)
    for i, (here, there) in enumerate(zip(places, ups, strict=True)):
        for label, place in ((f"e{i + 1}", here), (f"d{i + 1}", there)):
            _box(axes, label, place, colour)
        axes.annotate("", there, here, arrowprops={"arrowstyle": "->", "color": GREY, "shrinkA": 16, "shrinkB": 16})
    _box(axes, "bottleneck", bottom, colour)
    axes.annotate("", places[0], (5.5, 1.1), arrowprops={"arrowstyle": "->", "color": GREY, "shrinkB": 14})
    axes.text(x + 4.6, 0.55, name, ha="center", color=colour, weight="bold")


def _box(axes: Any, label: str, place: tuple[float, float], colour: str) -> None:
    box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": colour}
    axes.text(*place, label, ha="center", va="center", color=INK, fontsize=9, bbox=box, zorder=3)


def _link(axes: Any, start: tuple[float, float], end: tuple[float, float], colour: str, bend: float) -> None:
    look = {"arrowstyle": "->", "linestyle": "--", "color": colour, "shrinkA": 14, "shrinkB": 14}
    axes.annotate("", end, start, arrowprops={**look, "connectionstyle": f"arc3,rad={bend}"}, zorder=2)


if __name__ == "__main__":
    main()
