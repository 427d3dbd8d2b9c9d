"""The folder of a demo: that of its jobs, with its settings, the recipes, and the results of its runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Any, Final

from rich.table import Table

from fathomseg.demo.plan import FRAMES, LABELS, ROWS, SPLIT, Row, Task
from fathomseg.errors import FathomError
from fathomseg.io.files import write_text
from fathomseg.study.folder import JobFolder, Spent, scores

PLAN: Final = "plan.json"
RESULTS: Final = "results.json"
RECIPES: Traversable = files("fathomseg.demo") / "recipes"
"""The recipes, with $names where numbers of the plan belong."""


def demo_folder(path: Path) -> JobFolder:
    """The folder of a demo. Its commands are meant to be typed in it: paths in recipes begin there."""
    return JobFolder(path, notes="logs")


def recipe(folder: JobFolder, task: str) -> Path:
    """The recipe of a task."""
    return folder.path / "recipes" / f"{task}.yaml"


def open_demo(path: Path, asked: Mapping[str, Any], tasks: Sequence[Task], recipes: Mapping[str, str]) -> JobFolder:
    """Start a demo in `path` or resume the one there: what failed is tried again, what has gone is done again.

    Raises `FathomError` if the folder holds something else or a demo of another plan.
    """
    wanted = {"asked": dict(asked), "tasks": [asdict(task) for task in tasks], "recipes": dict(recipes)}
    text, plan, folder = json.dumps(wanted, indent=1) + "\n", path / PLAN, demo_folder(path)
    if plan.is_file():
        if (known := plan.read_text(encoding="utf-8")) != text:
            raise FathomError(_other_plan(path, json.loads(known)["asked"], asked))
    elif path.exists() and any(path.iterdir()):
        raise FathomError(f"{path} exists and is not the folder of a demo. Give another one (--out).")
    else:
        (path / "recipes").mkdir(parents=True, exist_ok=True)
        for task, content in recipes.items():
            write_text(recipe(folder, task), content)
        write_text(plan, text)  # last: with it, the folder is a demo
    for one in tasks:
        folder.forgive(one.name)
        if not folder.run(one.name).is_dir():
            folder.forget(one.name)
    return folder


def recipes(tasks: Sequence[Task], seed: int) -> dict[str, str]:
    """The recipes by task, as text; a task with arguments of its own has none."""

    def text(task: Task) -> str:
        numbers = {"steps": task.steps, "seed": seed, "drives": task.drives, "frames": FRAMES, "labels": LABELS}
        numbers |= {"held_out": max(1, 3 * task.drives // 8), "few": max(1, task.drives // 10)}
        return Template((RECIPES / f"{task.name}.yaml").read_text(encoding="utf-8")).substitute(numbers)

    return {task.name: text(task) for task in tasks if not task.words}


def _other_plan(folder: Path, known: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    then, now = (" ".join(f"--{name} {value:g}" for name, value in options.items()) for options in (known, asked))
    if then == now:
        return f"{folder} holds a demo of another version of the program. Give another folder (--out), or delete it."
    return (
        f"{folder} holds a demo started with {then}, but now it is {now}. Give the same to resume it, another folder "
        "(--out), or delete it."
    )


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
                "gain": one.gain,
                **{key: one.scores[key] for key in ("miou", "boundary_miou", "pixel_accuracy")},
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
