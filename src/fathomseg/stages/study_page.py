"""The page of a study, written when the command ends: one training of every arm predicts the same images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fathomseg import config
from fathomseg.data.places import evenly
from fathomseg.errors import FathomError
from fathomseg.inference.card import CARD
from fathomseg.inference.predictor import load
from fathomseg.io.files import CONFIG, write_text
from fathomseg.report.study_page import PAGE, ArmPictures, arm_pictures, render_study
from fathomseg.study.folder import JobFolder
from fathomseg.study.report import Report, redact_paths
from fathomseg.study.table import Cell, size
from fathomseg.training.recipe import Recipe

_IMAGES: Final = 4
"""Images that every arm predicts."""
_ARMS: Final = 8
"""Arms that are shown."""


def write_study_page(folder: JobFolder, report: Report, origin: Mapping[str, Any]) -> Path:
    """Write results.html beside the other results and return its path."""
    path = folder.path / PAGE
    write_text(path, render_study(report, _pictures(folder, report), origin))
    return path


def _pictures(folder: JobFolder, report: Report) -> ArmPictures | None:
    """Of the first seed that is finished of each arm, at the smallest budget; None without a network to predict with.
    Networks of runs that lie elsewhere (`--known`) are not here. Without the data a sentence says so."""
    shown: dict[str, Cell] = {}
    for cell in sorted(report.records, key=lambda cell: (size(cell.budget), cell.seed)):
        if cell.arm not in shown and (folder.run(cell) / CARD).is_file():
            shown[cell.arm] = cell
    cells = [shown[arm] for arm in report.titles if arm in shown][:_ARMS]
    if not cells:
        return None
    recipe = config.load(Recipe, folder.run(cells[0]) / CONFIG)
    if not recipe.network.tasks or recipe.evaluation.split is None:
        return None
    try:
        ids = recipe.data.ids(recipe.evaluation.split)
    except FathomError as error:
        return ArmPictures([], f"No pictures: {redact_paths(str(error), 'error')}", None, depth=False)
    arms = {report.titles[cell.arm]: load(folder.run(cell)).predict for cell in cells if _predicts(folder.run(cell))}
    budgets = sorted({str(cell.budget) for cell in cells})
    seeds = sorted({cell.seed for cell in cells})
    what = f"Labels: {', '.join(budgets)}; seed {', '.join(map(str, seeds))}."
    return arm_pictures(recipe.data, evenly(ids, _IMAGES), arms, what)


def _predicts(run: Path) -> bool:
    """Whether a run has a network that predicts something, rather than a scene model alone."""
    return bool(config.load(Recipe, run / CONFIG).network.tasks)
