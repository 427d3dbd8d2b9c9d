"""What the runs of a demo have come to: the rows of its table, the depth, and what everything has cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table

from fathomseg.demo.folder import DemoFolder, Spent
from fathomseg.demo.plan import ROWS, Row, Task
from fathomseg.io.files import write_text

RESULTS: Final = "results.json"


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the table."""

    row: Row
    scores: Mapping[str, Any]
    """Of the averaged weights after the last step, on drives nothing was learned from; fractions 0..1."""
    gain: float
    """mIoU above the first row's, 0..1."""
    spent: Spent
    """On the training of this row."""

    @property
    def miou(self) -> float:
        """Mean IoU over the classes present, 0..1."""
        return float(self.scores["miou"])


def results(folder: DemoFolder) -> list[Result]:
    """The rows of the table, in its order."""
    scores = [_scores(folder, row.task) for row in ROWS]
    first = scores[0]["miou"]
    return [
        Result(row, own, own["miou"] - first, folder.spent(row.task)) for row, own in zip(ROWS, scores, strict=True)
    ]


def abs_rel(folder: DemoFolder) -> float:
    """Mean relative error of the learned depth on other drives, after scaling each image by the ratio of medians."""
    return float(_scores(folder, "depth")["median"]["abs_rel"])


def write_results(
    folder: DemoFolder,
    tasks: Sequence[Task],
    rows: Sequence[Result],
    asked: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> None:
    """results.json: all numbers of the demo, in fractions of 1 and minutes."""
    spent = {task.name: folder.spent(task.name) for task in tasks}
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
                "minutes": spent[task.name].minutes,
                "cpu_minutes": spent[task.name].cpu_minutes,
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


def _scores(folder: DemoFolder, task: str) -> Mapping[str, Any]:
    path = folder.run(task) / "evaluation" / "val" / "scores.json"
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))["scores"]["ema"]
    return found
