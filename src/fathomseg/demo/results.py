"""What the runs of a demo have come to: the rows of its table, the depth, and what everything has cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table

from fathomseg.demo.plan import ROWS, SPLIT, Row, Task
from fathomseg.io.files import write_text
from fathomseg.study.folder import JobFolder, Spent, scores

RESULTS: Final = "results.json"


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the table."""

    row: Row
    scores: Mapping[str, Any]
    """Of the averaged weights after the last step, on drives nothing was learned from; fractions 0..1."""
    gain: float
    """mIoU minus that of the first row, 0..1."""
    spent: Spent
    """On the training of this row."""

    @property
    def miou(self) -> float:
        """Mean IoU over the classes present, 0..1."""
        return float(self.scores["miou"])


def results(folder: JobFolder) -> list[Result]:
    """The rows of the table, in its order."""
    found = [scores(folder.run(row.task), SPLIT)["segmentation"] for row in ROWS]
    first = found[0]["miou"]
    return [
        Result(row, own, own["miou"] - first, spent(folder, row.task)) for row, own in zip(ROWS, found, strict=True)
    ]


def spent(folder: JobFolder, task: str) -> Spent:
    """What a task has cost, as far as it is known."""
    return folder.spent(task) or Spent(0.0, 0.0)


def abs_rel(folder: JobFolder) -> float:
    """Mean relative error of the learned depth on other drives, after scaling each image by the ratio of medians."""
    return float(scores(folder.run("depth"), SPLIT)["depth"]["median"]["abs_rel"])


def write_results(
    folder: JobFolder,
    tasks: Sequence[Task],
    rows: Sequence[Result],
    asked: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> None:
    """results.json: all numbers of the demo, in fractions of 1 and minutes."""
    tree = {
        "asked": dict(asked),
        "images": rows[0].scores["images"],
        "rows": [
            {
                "name": one.row.task,
                "title": one.row.title,
                "miou": one.miou,
                "gain": one.gain,
                "boundary_miou": one.scores["boundary_miou"],
                "pixel_accuracy": one.scores["pixel_accuracy"],
            }
            for one in rows
        ],
        "depth_abs_rel": abs_rel(folder),
        "tasks": [
            {
                "name": task.name,
                "command": " ".join(["fathom", *task.command]),
                "steps": task.steps,
                **{key: round(value, 3) for key, value in spent(folder, task.name)._asdict().items()},
            }
            for task in tasks
        ],
        "origin": dict(origin),
    }
    write_text(folder.path / RESULTS, json.dumps(tree, indent=1, allow_nan=False) + "\n")


def table(rows: Sequence[Result]) -> Table:
    """The table the demo ends with."""
    made = Table()
    made.add_column("row")
    for name in ("mIoU %", "gain", "minutes", "CPU minutes"):
        made.add_column(name, justify="right")
    for one in rows:
        gain = "" if one is rows[0] else f"{100 * one.gain:+.1f}"
        numbers = (f"{100 * one.miou:.1f}", gain, f"{one.spent.minutes:.1f}", f"{one.spent.cpu_minutes:.1f}")
        made.add_row(one.row.title, *numbers, style="bold" if one is rows[-1] else None)
    return made
