"""The folder of a demo: that of its jobs, with what was asked for and the recipes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Any, Final

from fathomseg.demo.plan import Task
from fathomseg.errors import FathomError
from fathomseg.io.files import write_text
from fathomseg.study.folder import JobFolder

PLAN: Final = "plan.json"
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
    """The text of every task's recipe."""

    def text(task: Task) -> str:
        numbers = {"steps": task.steps, "seed": seed, "drives": task.drives}
        numbers |= {"held_out": max(1, 3 * task.drives // 8), "few": max(1, task.drives // 10)}
        return Template((RECIPES / f"{task.name}.yaml").read_text(encoding="utf-8")).substitute(numbers)

    return {task.name: text(task) for task in tasks}


def _other_plan(folder: Path, known: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    then, now = (" ".join(f"--{name} {value:g}" for name, value in options.items()) for options in (known, asked))
    if then == now:
        return f"{folder} holds a demo of another version of the program. Give another folder (--out), or delete it."
    return (
        f"{folder} holds a demo started with {then}, but now it is {now}. Give the same to resume it, another folder "
        "(--out), or delete it."
    )
