"""The runs of a study's cells: how they are begun, gone on with, read, and told from those of another study."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from fathomseg.config import load
from fathomseg.engine.checkpoint import FILE
from fathomseg.errors import FathomError
from fathomseg.stages.recipe import Recipe
from fathomseg.stages.run_folder import CHANGEABLE, CONFIG, ORIGIN, labelled_ids
from fathomseg.stages.study_config import GRID, Job, flat
from fathomseg.study.folder import LABELLED_HASH, SETTINGS, Record, StudyFolder
from fathomseg.study.grid import Cell

CELL_BY_CELL = (*GRID, "labels.file")
"""Settings that may differ between the cells of an arm."""


def command(folder: Path, job: Job) -> list[str]:
    """The words that begin a training, or go on with it where there is a checkpoint."""
    if (folder / FILE).is_file():
        allowed = [text for text in job.overrides if text.partition("=")[0] in CHANGEABLE]
        return ["fathomseg.cli", "train", "--resume", str(folder), *allowed]
    shutil.rmtree(folder, ignore_errors=True)  # begun, but nothing was saved
    return ["fathomseg.cli", "train", str(job.path), *job.overrides, "--out", str(folder)]


def result(cell: Cell, folder: Path, recipe: Recipe) -> Record | None:
    """What a finished run says: scores in per cent, images, settings, commit, machine. None if it has no scores."""
    path = folder / "evaluation" / recipe.evaluation.split / "scores.json"
    if not path.is_file():
        return None
    scores = json.loads(path.read_text(encoding="utf-8"))["scores"]
    made = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
    ema, labelled = scores["ema"], labelled_ids(folder)
    return {
        "arm": cell.arm,
        "budget": cell.budget,
        "seed": cell.seed,
        "images": len(labelled),
        LABELLED_HASH: hashed(labelled),
        "steps": recipe.train.steps,
        "miou": 100 * ema["miou"],
        "miou_last": 100 * scores["last"]["miou"],
        "boundary_miou": None if ema["boundary_miou"] is None else 100 * ema["boundary_miou"],
        "pixel_accuracy": 100 * ema["pixel_accuracy"],
        "ece": ema["ece"],
        "scored_images": ema["images"],
        **{key: made[key] for key in ("commit", "date", "machine", "processor", "gpu", "threads", "torch")},
        SETTINGS: {key: value for key, value in comparable(recipe).items() if key not in CELL_BY_CELL},
    }


def hashed(ids: Iterable[str]) -> str:
    """Twelve digits that tell one set of images from another, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:12]


def forgive(folder: StudyFolder, jobs: Mapping[Cell, Job]) -> None:
    """Let failed trainings be tried again: from their checkpoint, or anew where settings have changed since."""
    for cell in folder.failures(jobs):
        if _differences(folder.run(cell), jobs[cell].recipe):
            shutil.rmtree(folder.run(cell))
        folder.forgive(cell)


def refuse_other_settings(folder: StudyFolder, jobs: Mapping[Cell, Job]) -> None:
    """Raise `FathomError` if runs are there that were begun with other settings than the study now has."""
    odd = {cell: found for cell, job in jobs.items() if (found := _differences(folder.run(cell), job.recipe))}
    if odd:
        cell, found = next(iter(odd.items()))
        raise FathomError(
            f"{len(odd)} trainings in {folder.path} were begun with other settings than the study has now, for example "
            f"{cell}:\n  " + "\n  ".join(found) + "\nGive another --out, or change the study back, or delete their "
            f"folders in {folder.path / 'runs'} and their files in {folder.path / 'cells'}."
        )


def _differences(folder: Path, recipe: Recipe) -> list[str]:
    """Settings of a run that are not those of the recipe, but for what does not change what is learned."""
    path = folder / CONFIG
    if not path.is_file():
        return []
    return differences(load(Recipe, path), recipe)


def differences(before: Recipe, after: Recipe) -> list[str]:
    """Settings in which two trainings differ, but for what does not change what is learned."""
    then, now = comparable(before), comparable(after)
    return [
        f"{key}: then {then.get(key, 'nothing')}, now {now.get(key, 'nothing')}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key)
    ]


def comparable(recipe: Recipe) -> dict[str, Any]:
    """All settings by dotted key; of a folder or file of this machine only its name."""
    tree = yaml.safe_load(yaml.safe_dump(recipe.model_dump(mode="json")))
    same = {key: value for key, value in flat(tree) if key not in CHANGEABLE and not key.endswith(".root")}
    return {key: Path(v).name if isinstance(v, str) and Path(v).is_absolute() else v for key, v in same.items()}
