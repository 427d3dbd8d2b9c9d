"""The folder of a demo: what was asked for, its recipes, and what each task has cost so far."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Any, Final

from fathomseg.demo.plan import Task
from fathomseg.errors import FathomError
from fathomseg.io.files import write_text

PLAN: Final = "plan.json"
CHECKPOINT: Final = "checkpoint.pt"
RECIPES: Traversable = files("fathomseg.demo") / "recipes"
"""The recipes, with $names where numbers of the plan belong."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What all attempts at a task have cost."""

    minutes: float = 0.0
    """By the clock on the wall."""
    cpu_minutes: float = 0.0
    done: bool = False
    """Whether the last one reached its end."""


class DemoFolder:
    """One demo, with one plan. The commands of its tasks are meant to be typed in it: paths in recipes begin there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def recipe(self, task: str) -> Path:
        """The recipe of a task."""
        return self.path / "recipes" / f"{task}.yaml"

    def run(self, task: str) -> Path:
        """The folder a task writes."""
        return self.path / "runs" / task

    def log(self, task: str) -> Path:
        """What a task said."""
        return self.path / "logs" / f"{task}.log"

    @contextmanager
    def opened(self, asked: Mapping[str, Any], tasks: Sequence[Task], recipes: Mapping[str, str]) -> Iterator[None]:
        """Begin, or go on; nobody else works here meanwhile.

        Raises `FathomError` if the folder holds something else, a demo of another plan, or one that is at work.
        """
        wanted = {"asked": dict(asked), "tasks": [asdict(task) for task in tasks], "recipes": dict(recipes)}
        wanted = json.loads(json.dumps(wanted))  # tuples come back as lists
        known = self._plan()
        if known is None and self.path.exists() and any(self.path.iterdir()):
            raise FathomError(f"{self.path} exists and is not the folder of a demo. Give another one (--out).")
        if known is not None and known != wanted:
            raise FathomError(_another(self.path, known, wanted))
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FathomError(
                    f"Another demo is at work in {self.path}. Wait for it, or give another --out."
                ) from None
            if known is None:
                self._write(wanted, recipes)
            yield

    def spent(self, task: str) -> Spent:
        """What a task has cost; one whose results have gone has to be done again."""
        try:
            known = Spent(**json.loads(self._cost(task).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return Spent()
        return known if self.run(task).is_dir() else Spent()

    def spend(self, task: str, minutes: float, cpu_minutes: float, done: bool) -> None:
        """Add what an attempt has cost."""
        before = self.spent(task)
        total = Spent(round(before.minutes + minutes, 3), round(before.cpu_minutes + cpu_minutes, 3), done)
        self._cost(task).parent.mkdir(exist_ok=True)
        write_text(self._cost(task), json.dumps(asdict(total)) + "\n")

    def _cost(self, task: str) -> Path:
        return self.path / "logs" / f"{task}.json"

    def _plan(self) -> Any:
        path = self.path / PLAN
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def _write(self, wanted: Mapping[str, Any], recipes: Mapping[str, str]) -> None:
        (self.path / "recipes").mkdir(exist_ok=True)
        for task, text in recipes.items():
            write_text(self.recipe(task), text)
        write_text(self.path / PLAN, json.dumps(wanted, indent=1) + "\n")  # last: with it, the folder is a demo


def recipes(tasks: Sequence[Task], seed: int) -> dict[str, str]:
    """The text of every task's recipe."""

    def text(task: Task) -> str:
        numbers = {"steps": task.steps, "seed": seed, "drives": task.drives}
        numbers |= {"held_out": max(1, 3 * task.drives // 8), "few": max(1, task.drives // 10)}
        return Template((RECIPES / f"{task.name}.yaml").read_text(encoding="utf-8")).substitute(numbers)

    return {task.name: text(task) for task in tasks}


def _another(folder: Path, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    def options(plan: Mapping[str, Any]) -> str:
        return " ".join(f"--{name} {value:g}" for name, value in plan["asked"].items())

    if known["asked"] == wanted["asked"]:
        return (
            f"{folder} holds a demo that another version of the program has begun. Give another folder (--out), or "
            "delete it."
        )
    return (
        f"{folder} holds a demo begun with {options(known)}, but now it is {options(wanted)}. Give the same to go on "
        "with it, another folder (--out), or delete it."
    )
