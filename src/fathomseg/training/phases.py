"""Several trainings one after the other, each from the end of the one before, as one run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from fathomseg.config import load
from fathomseg.engine.checkpoint import FILE as CHECKPOINT
from fathomseg.engine.logging import METRICS
from fathomseg.engine.loop import accelerator
from fathomseg.inference.card import CARD, POSE, WEIGHTS
from fathomseg.io.owned import clear, own
from fathomseg.io.progress import say
from fathomseg.models.scene.saved import SCENE
from fathomseg.report.training_page import PAGE
from fathomseg.study.folder import scores_file
from fathomseg.training.batches import refuse_batches
from fathomseg.training.cameras import FILE as CAMERA
from fathomseg.training.init_from import EVERYTHING, InitPart
from fathomseg.training.recipe import Recipe
from fathomseg.training.run_folder import FRAMES, IDS, begin


def train_phases(
    recipe: Recipe,
    folder: Path,
    resume: bool,
    train: Callable[[Recipe, Path, bool], None],
    score: Callable[[Recipe, Path], object],
) -> None:
    """Every phase in a folder of its own inside `folder`, which ends up as the run of the last one.

    `score` is for a phase that has been trained but not scored, where `train` has no checkpoint to resume.
    """
    phases = phase_recipes(recipe, folder)  # every mistake in any phase is told before the first begins
    accelerate = accelerator(recipe.train)
    for settings in phases.values():
        refuse_batches(settings, accelerate)
    if not resume:
        begin(folder, recipe, {}, accelerate)
    for name, settings in phases.items():
        inside = folder / name
        if _finished(inside, settings):
            continue
        say(f"Phase {name} of {', '.join(phases)}")
        interrupted = (inside / CHECKPOINT).is_file()
        if (inside / CARD).is_file() and not interrupted:
            score(settings, inside)
            continue
        if accelerate.is_main_process and not interrupted:
            clear(inside)  # it stopped before there was anything to resume
        accelerate.wait_for_everyone()
        train(settings, inside, interrupted)
    if accelerate.is_main_process:
        used = [name.format(stream) for stream in settings.streams for name in (IDS, FRAMES)]
        lists = [name for name in used if (inside / name).is_file()]
        there = [*WEIGHTS.values(), POSE, SCENE, CARD, PAGE, *(path.name for path in inside.glob(CAMERA.format("*")))]
        for file in (name for name in [*there, *lists, METRICS] if (inside / name).is_file()):
            shutil.copy2(inside / file, folder / file)
        own(folder, lists)
        if (inside / "evaluation").is_dir():
            shutil.copytree(inside / "evaluation", folder / "evaluation", dirs_exist_ok=True)
    accelerate.wait_for_everyone()


def _finished(folder: Path, recipe: Recipe) -> bool:
    """Whether a phase has its network and, where there is its split, its scores; one that has no truth to be scored on
    has its page."""
    if not (folder / CARD).is_file():
        return False
    split = recipe.evaluation.split
    scored = split is None or split not in recipe.data.splits or scores_file(folder, split).is_file()
    return scored or (folder / PAGE).is_file()


def trainings_in(recipe: Recipe, folder: Path) -> dict[Path, Recipe]:
    """Every training of a run in their order, by the folder it is in: its phases, or the run alone.

    The last one's recipe is that of the network in `folder`.
    """
    phases = phase_recipes(recipe, folder)
    return {folder / name: settings for name, settings in phases.items()} or {folder: recipe}


def phase_recipes(recipe: Recipe, folder: Path) -> dict[str, Recipe]:
    """The recipe of every phase. Raises `ConfigError` for a setting that does not exist or a value that is wrong."""
    recipes: dict[str, Recipe] = {}
    before: tuple[Path, Recipe] | None = None
    for name, changes in recipe.phases.items():
        tree = recipe.model_dump(mode="json", exclude={"phases"})
        if before is not None and before[1].network.tasks:
            tree["init_from"] = {"run": str(before[0]), "parts": [*EVERYTHING]}
            tree["init_from"]["parts"] = _parts(before[1], load(Recipe, tree, changes))
        recipes[name] = _placed(load(Recipe, tree, changes), folder, recipes)
        before = folder / name, recipes[name]
    return recipes


def _placed(recipe: Recipe, folder: Path, before: Collection[str]) -> Recipe:
    """`init_from.tasks` may name an earlier phase in place of a run."""
    if recipe.init_from is None:
        return recipe
    tasks = {
        task: given.model_copy(update={"run": folder / given.run}) if str(given.run) in before else given
        for task, given in recipe.init_from.tasks.items()
    }
    return recipe.model_copy(update={"init_from": recipe.init_from.model_copy(update={"tasks": tasks})})


def _parts(before: Recipe, now: Recipe) -> list[InitPart]:
    """Everything a phase leaves behind that the next one has a place for."""
    lacking: set[InitPart] = set()
    if "none" in (before.network.links.name, now.network.links.name):
        lacking.add("links")
    if not (_has_pose(before) and _has_pose(now)):
        lacking.add("pose")
    if not before.network.tasks.keys() & now.network.tasks.keys():
        lacking.add("head")
    return [part for part in EVERYTHING if part not in lacking]


def _has_pose(recipe: Recipe) -> bool:
    """Whether a pose network is trained."""
    return any(objective.name == "photometric" for objective in recipe.at_work.objectives.values())
