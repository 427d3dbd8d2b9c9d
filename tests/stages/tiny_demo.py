"""A demo that takes a minute: the same recipes with small pictures, few steps and timm's smallest test encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fathomseg.demo import folder
from fathomseg.demo.plan import TASKS, Task
from fathomseg.stages import demo

SIZE = [48, 96]
STEPS = 6
DRIVES = 8


def plan(minutes: float) -> tuple[Task, ...]:
    """All tasks, each of six steps, whatever the time."""
    return tuple(replace(task, steps=STEPS if task.steps else 0, drives=DRIVES) for task in TASKS)


def write_recipes(out: Path) -> Path:
    """The recipes of the demo, made small."""
    out.mkdir(parents=True)
    for task in (task for task in TASKS if not task.words):
        tree = yaml.safe_load((folder.RECIPES / f"{task.name}.yaml").read_text())
        tree["size"] = tree["data"]["size"] = SIZE
        for stream in tree.get("streams", {}).values():
            if stream and "data" in stream:
                stream["data"]["size"] = SIZE
        if "train" in tree:
            tree.setdefault("network", {})["encoder"] = {"model": "test_efficientnet", "pretrained": "none"}
            tree["train"] |= {"log_every": 1, "save_every": 2, "device": "cpu"}
        (out / f"{task.name}.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return out


def make_tiny(patch: pytest.MonkeyPatch, recipes: Path) -> None:
    """Let `fathom demo` run the tiny plan; its commands are real processes all the same."""
    patch.setattr(folder, "RECIPES", recipes)
    patch.setattr(demo, "plan", plan)
