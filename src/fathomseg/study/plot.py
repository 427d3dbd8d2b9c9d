"""The plot of a study: mIoU against the number of labelled images, a curve for each arm; of one number, a line each."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from fathomseg.io.chart import COLOURS, GREY, chart
from fathomseg.study.table import SCORE, Cell, Record, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "p")
"""One for each arm, since arms with the same number of labels stand at the same place."""
_CLOSE: Final = 0.05
"""Lines nearer than this part of the axis share one label."""
_NUMBER: Final = 0.055
"""The part of the axis that a number below it takes."""
_TO_NONE: Final = 0.5
"""Decades between no labels and the smallest number of them."""
_LINE: Final = 0.3
"""Inches between two arms above each other."""


def label_efficiency(
    rows: Sequence[Row], records: Mapping[Cell, Record], titles: Mapping[str, str], title: str, full: Row | None
) -> Figure:
    """Means as lines, their spread as bars, single seeds as rings; dashed: `full` (what 100 % means) and 95 % of it.

    `titles`: the name of each arm in the legend.
    """
    records = {cell: one for cell, one in records.items() if one[SCORE] is not None}
    lost = {row.arm for row in rows if row.done and not row.score} - {row.arm for row in rows if row.score}
    names = {row.arm: textwrap.fill(titles.get(row.arm, row.arm), 60) for row in rows if row.arm not in lost}
    if records and len({row.budget for row in rows}) == 1 and len(names) > 1:
        return _one_budget(rows, records, names, title)
    columns = 2 if max(map(len, names.values()), default=0) < 26 else 1
    with chart(height=3.2 + 0.2 * -(-len(names) // columns)) as figure:
        axes = figure.add_subplot(xlabel="labelled images", ylabel="mIoU, %")
        if title:
            axes.set_title(textwrap.fill(title, 56), loc="left")
        if not records:
            nothing = "no mIoU: no classes are predicted" if lost else "no result yet"
            axes.text(0.5, 0.5, nothing, transform=axes.transAxes, ha="center", color=GREY)
            return figure
        _frame(axes, list(records.values()))
        for i, arm in enumerate(names):
            points = [(one["images"], one[SCORE]) for cell, one in records.items() if cell.arm == arm]
            axes.plot(*zip(*points, strict=True) if points else ([], []), "o", mfc="none", mec=COLOURS[i % 8], ms=3.5)
            known = [row for row in rows if row.arm == arm and row.images is not None and row.score]
            axes.errorbar(
                [row.images for row in known if row.images is not None],
                [row.score.mean for row in known if row.score],
                [row.score.spread or 0 for row in known if row.score],
                fmt=f"{MARKERS[i % 8]}-",
                capsize=2.5,
                color=COLOURS[i % 8],
                linewidth=2,
                elinewidth=1.2,
                label=names[arm],
            )
        low, high = axes.get_ylim()
        for part in (1.0, 0.95):
            score = part * full.score.mean if full and full.score else -1
            if low <= score <= high and (part == 1.0 or score / part * (1 - part) > _CLOSE * (high - low)):
                axes.axhline(score, color=GREY, linestyle="--", linewidth=1)
                place = (0, score), (4, 2), axes.get_yaxis_transform(), "offset points"
                axes.annotate(f"{100 * part:.0f} %", *place, color=GREY, fontsize=9)
        figure.legend(loc="outside lower left", ncols=columns)
        return figure


def _one_budget(rows: Sequence[Row], records: Mapping[Cell, Record], names: Mapping[str, str], title: str) -> Figure:
    """Arms above each other, by mIoU: means as dots, their spread as bars, single seeds as rings."""
    known = [(row, row.score) for row in rows if row.score]
    images = ", ".join(sorted({"all" if row.images is None else str(row.images) for row, _ in known}))
    with chart(height=1.2 + _LINE * len(known)) as figure:
        axes = figure.add_subplot(xlabel=f"mIoU, %, with {images} labelled images")
        if title:
            axes.set_title(textwrap.fill(title, 40), loc="left")
        for i, (row, score) in enumerate(known):
            seeds = [one[SCORE] for cell, one in records.items() if cell.arm == row.arm]
            axes.plot(seeds, [i] * len(seeds), "o", mfc="none", mec=COLOURS[0], ms=3.5)
            spread = [score.spread or 0]
            axes.errorbar([score.mean], [i], xerr=spread, fmt="o", capsize=2.5, color=COLOURS[0], elinewidth=1.2)
        axes.set_yticks(range(len(known)), [textwrap.fill(names[row.arm], 36) for row, _ in known], fontsize=9)
        axes.invert_yaxis()
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        return figure


def _frame(axes: Axes, records: Sequence[Record]) -> None:
    """Limits, and the numbers of labels that do not touch. No labels stand at the left of a logarithmic scale."""
    counts, scores = sorted({one["images"] for one in records}), [one[SCORE] for one in records]
    least, most, margin = counts[0], max(1, counts[-1]), max(1.0, 0.15 * (max(scores) - min(scores)))
    if least:
        axes.set(xscale="log", xlim=(least / 1.2, most * 1.2))
    else:
        first = next((count for count in counts if count), 1)
        axes.set_xscale("symlog", linthresh=first, linscale=_TO_NONE)
        axes.set_xlim(-first / 4, most * 1.2)
    axes.set_ylim(max(0, min(scores) - margin), min(100, max(scores) + margin))
    places = (axes.transScale + axes.transLimits).transform([(count, scores[0]) for count in counts])[:, 0].tolist()
    shown: list[float] = []
    texts = []
    for count, place in zip(counts, places, strict=True):
        fits = not shown or place >= shown[-1] + _NUMBER
        shown += [place] if fits else []
        texts.append(str(count) if fits else "")
    axes.set_xticks(counts, texts)
    axes.xaxis.minorticks_off()
