"""Choices of images by every criterion and seed, for a study of what choosing is worth.

    python benchmarks/choices.py recipes/select-streets.yaml --train recipes/streets.yaml --runs runs/choices/streets
    fathom study recipes/studies/selection-streets.yaml

Writes RUNS/CRITERION-SEED.txt (ids in order). `diversity`, `difficulty` and `both` are `fathom select` with the
criterion of the recipe, or its half, beginning with a random image of the seed; `coverage` has the same features;
`cells`, `both-cells` and `coverage-cells` are `diversity`, `both` and `coverage` that compare images by their 6 x 12
cells; `imagenet` is diversity of the features of the default encoder as ImageNet left it, which needs no video.
`entropy` needs labels to begin with: as many random ones as the recipe's first stage, which stand first in its file and
on which TRAIN is trained, with --train-settings; the others are those this run is least sure of. Choices that are there
are not made again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from fathomseg.study.table import LABEL_BUDGET, SEED

CRITERIA = ("diversity", "cells", "imagenet", "both", "both-cells", "difficulty", "entropy")
PARTS = {
    "diversity": ("features",),
    "coverage": ("features",),
    "difficulty": ("teacher", "student", "first_stage", "ignored_regions"),
}
"""What of the criterion `diversity_and_difficulty` (here `both`, for short) is set for its halves."""
BY_CELLS = {"cells": "diversity", "both-cells": "both", "coverage-cells": "coverage"}
"""The criteria that compare by cells, and what they are called without."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "recipe", type=Path, help="a recipe of fathom select with the criterion `diversity_and_difficulty`"
    )
    parser.add_argument("settings", nargs="*", help="settings of the recipe, as group.key=value")
    parser.add_argument("--train", type=Path, required=True, help="what is trained for the criterion entropy")
    parser.add_argument("--train-settings", nargs="*", default=[], help="settings of that training")
    parser.add_argument("--criteria", nargs="+", default=list(CRITERIA))
    parser.add_argument("--budget", type=int, help="how many images to choose; default: the recipe's")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, required=True)
    arguments = parser.parse_intermixed_args()
    recipe = yaml.safe_load(arguments.recipe.read_text(encoding="utf-8"))
    recipe["budget"] = arguments.budget or recipe["budget"]
    arguments.runs.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for criterion in arguments.criteria:
            out = arguments.runs / f"{criterion}-{seed}"
            listed = out.with_suffix(".txt")
            if listed.exists():
                continue
            if criterion == "entropy":
                chosen = unsure(arguments, recipe, seed, out)
            else:
                chosen = select(arguments, recipe | {"criterion": part(recipe["criterion"], criterion)}, seed, out)
            listed.write_text("\n".join(chosen) + "\n", encoding="utf-8")


def part(both: dict[str, Any], name: str) -> dict[str, Any]:
    """The criterion `name` with the settings of `both`, the recipe's."""
    if name == "imagenet":
        return {"name": "diversity", "features": {"name": "encoder"}, "start": "random"}
    if name in BY_CELLS:
        by_cells = {"compare": "cells", "features": both["features"] | {"grid": [6, 12]}}
        return part(both, BY_CELLS[name]) | by_cells
    begin = {} if name == "difficulty" else {"start": "random"}
    if name == "both":
        return {**both, **begin}
    return {**{key: both[key] for key in PARTS[name] if key in both}, **begin, "name": name}


def unsure(arguments: argparse.Namespace, recipe: dict[str, Any], seed: int, out: Path) -> list[str]:
    """A few random labels, and what a run on them is least sure of."""
    first = recipe["criterion"]["first_stage"]
    run = out.with_name(f"{out.name}-run")
    if not (run / "model.safetensors").exists():
        settings = [*arguments.train_settings, f"{LABEL_BUDGET}={first}", f"{SEED}={seed}", "evaluation.report=false"]
        fathom("train", str(arguments.train), *settings, "--out", str(run))
    known = run / "labelled.txt"
    criterion = {"name": "entropy", "run": str(run)}
    asked = recipe | {"criterion": criterion, "already": str(known), "budget": recipe["budget"] - first}
    return [*ids(known), *select(arguments, asked, seed, out)]


def select(arguments: argparse.Namespace, recipe: dict[str, Any], seed: int, out: Path) -> list[str]:
    """What `fathom select` chooses, or has chosen; goes on with a choice that was interrupted."""
    chosen = out / "selection.txt"
    if chosen.exists():
        return ids(chosen)
    written = out.with_suffix(".yaml")
    written.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    light = ["copy_images=none", "annotation=false", "report=false"]
    begun = out.exists()
    command = ["--resume", str(out)] if begun else [str(written), *arguments.settings, *light, f"seed={seed}"]
    fathom("select", *command, *([] if begun else ["--out", str(out)]))
    return ids(chosen)


def ids(path: Path) -> list[str]:
    """The ids in a file of one a line."""
    return path.read_text(encoding="utf-8").split()


def fathom(*command: str) -> None:
    """One command in a process of its own."""
    subprocess.run([sys.executable, "-m", "fathomseg.cli", *command], check=True)


if __name__ == "__main__":
    main()
