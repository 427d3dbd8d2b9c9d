"""The tables of a study as text: the mIoU of every row, the scores of its other tasks, and the IoU of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fathomseg.study.table import Mean, Row

RELATIVE: Final = "% of all"

COLUMNS: Final = ("arm", "labels", "seeds", "mIoU", RELATIVE, "difference [95 %]", "p", "minutes", "CPU min")

MOST_CLASSES: Final = 20
"""Classes that have a column each; results.json has those of longer lists."""

NAMES: Final = {
    "abs_rel": "AbsRel ↓",
    "delta1": "δ < 1.25 ↑",
    "mean": "mean angle, ° ↓",
    "within_11.25": "within 11.25° ↑",
}
"""How headline scores are called, and which way is better; those that are not here go by their keys."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table."""

    title: str
    columns: tuple[str, ...]
    cells: list[list[str]]
    """Row by row, under `columns`."""
    wide: bool = False
    """Too many columns for a terminal."""


def sheets(rows: Sequence[Row], titles: dict[str, str], delta_m: bool) -> list[Sheet]:
    """The mIoU, if any row has one or none is finished; the scores of other tasks, and the IoU of each class, of the
    rows that have them.

    `titles`: how each arm is called. A study without mIoU has one table, of what else there is.
    """
    keys = list(dict.fromkeys((task, key) for row in rows for task, found in row.others.items() for key in found))
    heads = tuple(f"{task} {NAMES.get(key, key)}" for task, key in keys)
    further = ("Delta_m",) if delta_m else ()

    def place(row: Row) -> list[str]:
        done = f"{row.done} of {row.wanted}" + (f", {row.failed} failed" if row.failed else "")
        every = "–" if row.images == 0 else "all" if row.images is None else f"all ({row.images})"
        labels = every if row.budget == "all" else str(row.budget)
        return [titles.get(row.arm, row.arm), labels, done]

    def others(row: Row) -> list[str]:
        return [_score(row.others.get(task, {}).get(key)) for task, key in keys]

    def costs(row: Row) -> list[str]:
        return [_mean(row.minutes, spread=False), _mean(row.cpu_minutes, spread=False), *_deltas(row, delta_m)]

    if not with_classes(rows):
        columns = (*COLUMNS[:3], *heads, *COLUMNS[-2:], *further)
        return [Sheet("Scores", columns, [[*place(row), *others(row), *costs(row)] for row in rows])]
    several = len({row.budget for row in rows}) > 1  # of one budget every mIoU would be compared with itself
    columns = (*(name for name in COLUMNS if several or name != RELATIVE), *further)
    found = [Sheet("mIoU, per cent", columns, [[*place(row), *_miou(row, several), *costs(row)] for row in rows])]
    if keys:
        cells = [[*place(row), *others(row)] for row in rows if row.others]
        found.append(Sheet("Other tasks", (*COLUMNS[:3], *heads), cells))
    classes = tuple(dict.fromkeys(name for row in rows for name in row.classes))
    if 0 < len(classes) <= MOST_CLASSES:
        cells = [[*place(row), *(_mean(row.classes.get(name)) for name in classes)] for row in rows if row.classes]
        found.append(Sheet("IoU by class, per cent", (*COLUMNS[:3], *classes), cells, wide=True))
    return found


def with_classes(rows: Sequence[Row]) -> bool:
    """Whether there is any mIoU to show, or may be: nothing is finished yet."""
    return any(row.score for row in rows) or not any(row.done for row in rows)


def _miou(row: Row, relative: bool) -> list[str]:
    p = "" if row.p_holm is None else f"{row.p_holm:.3f}" + (" *" if row.p_holm < 0.05 else "")
    return [_mean(row.score), *([_mean(row.relative)] if relative else []), _difference(row), p]


def _deltas(row: Row, wanted: bool) -> list[str]:
    return [_mean(row.delta_m)] if wanted else []


def _mean(mean: Mean | None, spread: bool = True, digits: int = 1) -> str:
    if mean is None:
        return "–"
    known = f" ± {mean.spread:.{digits}f}" if spread and mean.spread is not None else ""
    return f"{mean.mean:.{digits}f}{known}"


def _score(mean: Mean | None) -> str:
    """Shares and relative errors with three digits behind the point, angles with one."""
    return _mean(mean, digits=3 if mean is None or abs(mean.mean) < 2 else 1)


def _difference(row: Row) -> str:
    found = row.against
    if found is None:
        return ""
    ends = "" if found.low is None or found.high is None else f" [{found.low:+.1f}, {found.high:+.1f}]"
    return f"{found.difference:+.1f}{ends}"
