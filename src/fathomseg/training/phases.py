"""Several trainings one after the other, each from the end of the one before, as one run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from torch import Tensor

from fathomseg.config import load
from fathomseg.engine.checkpoint import FILE as CHECKPOINT
from fathomseg.engine.logging import METRICS
from fathomseg.engine.loop import accelerator
from fathomseg.errors import FathomError
from fathomseg.inference.card import CARD, POSE, WEIGHTS, ModelCard
from fathomseg.io.owned import clear, own
from fathomseg.io.progress import say
from fathomseg.models.scene.saved import SCENE
from fathomseg.report.training_page import PAGE
from fathomseg.study.folder import scores_file
from fathomseg.training.batches import refuse_batches
from fathomseg.training.build import build_networks, pose_network
from fathomseg.training.cameras import FILE as CAMERA
from fathomseg.training.init_from import EVERYTHING, InitFrom, InitPart, Runs
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
        refuse_unlike(phases, folder)
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


def refuse_unlike(phases: Mapping[str, Recipe], folder: Path) -> None:
    """Raise `FathomError` for a phase that cannot take over what it is to from an earlier one, which is built without
    being trained: shapes and names are all that matters."""
    before = _Untrained()
    for name, settings in phases.items():
        recipe = settings.at_work
        if (start := recipe.init_from) is not None and before.recipes.keys() & {start.run, *_runs_of(start)}:
            network, brought = build_networks(recipe, pretrained=False)
            try:
                start.into(network, recipe.network, pose_network(brought), _class_names(recipe), before)
            except FathomError as error:
                raise FathomError(f"Phase {name} cannot begin where it is to; nothing was started. {error}") from None
        before.recipes[folder / name] = recipe


class _Untrained(Runs):
    """Phases as they begin, by their folders; other runs as they are."""

    def __init__(self) -> None:
        self.recipes: dict[Path, Recipe] = {}

    def card(self, run: Path) -> ModelCard:
        """What is known of a phase without training it."""
        if (recipe := self.recipes.get(run)) is None:
            return super().card(run)
        names = _class_names(recipe)
        colours = recipe.data.classes.colours if names else ()
        return ModelCard(network=recipe.network, classes=names, colours=colours, size=recipe.size)

    def weights(self, run: Path, file: str) -> Mapping[str, Tensor]:
        """Random ones."""
        if (recipe := self.recipes.get(run)) is None:
            return super().weights(run, file)
        network, brought = build_networks(recipe, pretrained=False)
        pose = pose_network(brought)
        return network.state_dict() if file != POSE or pose is None else pose.state_dict()


def _runs_of(start: InitFrom) -> list[Path]:
    return [given.run for given in start.tasks.values()]


def _class_names(recipe: Recipe) -> tuple[str, ...]:
    return recipe.data.classes.names if "segmentation" in recipe.network.tasks else ()


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
            tree["init_from"]["parts"] = _parts(before[1], load(Recipe, tree, changes, f"in phases.{name}"))
        recipes[name] = _placed(load(Recipe, tree, changes, f"in phases.{name}"), folder, recipes)
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
