"""Trainings of a study that another machine has done, by the results.json it wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fathomseg.config import validate
from fathomseg.errors import ConfigError, FathomError
from fathomseg.io.progress import say
from fathomseg.stages.recipe import Recipe
from fathomseg.stages.run_folder import CHANGEABLE
from fathomseg.stages.study_config import Job, flat
from fathomseg.stages.study_runs import CELL_BY_CELL, differences, hashed
from fathomseg.study.folder import LABELLED_HASH, SETTINGS, Record, StudyFolder
from fathomseg.study.grid import Cell


def take(folder: StudyFolder, jobs: Mapping[Cell, Job], path: Path) -> None:
    """Count the trainings in the results.json at `path` as finished, where they are open cells of the study.

    Raises `FathomError` if one was trained with other settings or on other labelled images than the study would, and
    takes none then. Files of older versions do not say all of that; what they leave open is told.
    """
    records = {cell: record for cell, record in read(path).items() if cell in jobs and not folder.settled(cell)}
    odd = {cell: found for cell, record in records.items() if (found := _unlike(record, jobs[cell]))}
    if odd:
        cell, found = next(iter(odd.items()))
        raise FathomError(
            f"{len(odd)} trainings in {path} are not those of this study, for example {cell}:\n  "
            + "\n  ".join(found)
            + "\nChange the study back, or leave the file out and train them again."
        )
    unsaid = [key for key in (SETTINGS, LABELLED_HASH) if any(key not in record for record in records.values())]
    for cell, record in records.items():
        folder.finish(cell, record)
    if records:
        say(f"{len(records)} trainings are known from {path} and not done again.")
    if unsaid:
        say(f"Not compared, since {path} does not say it: {', '.join(map(_IN_WORDS.__getitem__, unsaid))}.")


_IN_WORDS = {SETTINGS: "the settings of its trainings", LABELLED_HASH: "which images had labels"}


def read(path: Path) -> dict[Cell, Record]:
    """The finished trainings in a results.json, as they stand in the folder of a study."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        recipes: dict[str, Any] = tree.get("recipes", {})
        return {
            Cell(record["arm"], record["budget"], record["seed"]): record
            | ({SETTINGS: recipes[record["arm"]]} if record["arm"] in recipes else {})
            for record in tree["cells"]
        }
    except OSError as error:
        raise FathomError(f"{path} cannot be read: {error.strerror}. Give the results.json of a study.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FathomError(f"{path} is not the results.json of a study: it has no list `cells` of trainings.") from None


def _unlike(record: Record, job: Job) -> list[str]:
    """In what a known training is not the one of the job."""
    found = []
    if SETTINGS in record:
        try:
            found = differences(_as_then(record[SETTINGS], job.recipe), job.recipe)
        except ConfigError as error:
            found = [str(error)]
    if LABELLED_HASH in record:
        now = hashed(job.recipe.labels.choose(job.recipe.data, job.recipe.seed))
        if now != record[LABELLED_HASH]:
            found.append("it had labels of other images than the study gives it")
    return found


def _as_then(settings: Mapping[str, Any], now: Recipe) -> Recipe:
    """The recipe with the settings of a known training; settings that are newer than it have their defaults.

    Where the data lie and which images have labels is taken from today's.
    """
    tree: dict[str, Any] = {}
    for key, value in settings.items():
        _set(tree, key, value)
    for key, value in flat(now.model_dump(mode="json")):
        if key.endswith(".root") or key in (*CHANGEABLE, *CELL_BY_CELL):
            _set(tree, key, value)
    return validate(Recipe, tree, "then")


def _set(tree: dict[str, Any], dotted: str, value: object) -> None:
    """Set a leaf of nested mappings, if nothing but mappings is in its way."""
    *groups, last = dotted.split(".")
    node: Any = tree
    for group in groups:
        node = node.setdefault(group, {})
        if not isinstance(node, dict):
            return
    node[last] = value
