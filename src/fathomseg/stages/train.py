"""`fathom train` and `fathom pretrain`: from a recipe to a run folder that can be evaluated, used and resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fathomseg.data.datasets.folder_splits import SplitLists
from fathomseg.data.held_out import VAL
from fathomseg.engine.loop import Trainer, accelerator
from fathomseg.engine.sharding import unsharded
from fathomseg.engine.step import Step
from fathomseg.io.lock import alone_in
from fathomseg.io.outcome import conclude
from fathomseg.io.progress import say
from fathomseg.training.advice import averaging_advice, memory_advice, resume_advice
from fathomseg.training.batches import refuse_batches
from fathomseg.training.build import build_networks, build_step, model_card, pose_network, refuse_unfit
from fathomseg.training.cameras import learned, tell_cameras
from fathomseg.training.data_record import check_classes, keep_or_compare, refuse_other_classes
from fathomseg.training.needed_runs import refuse_missing_runs
from fathomseg.training.page import write_page
from fathomseg.training.phases import train_phases, trainings_in
from fathomseg.training.recipe import Recipe
from fathomseg.training.run_folder import begin, labelled_ids, refuse_changes
from fathomseg.training.saving import save
from fathomseg.training.start import started
from fathomseg.training.stream_ids import budgets, evaluated
from fathomseg.training.streams import build_streams
from fathomseg.training.warnings import tell_labels, tell_left_out, tell_streams

if TYPE_CHECKING:
    import accelerate


def trained(recipe: Path | None, overrides: Sequence[str], out: Path | None, resume: Path | None) -> Path:
    """Train by a recipe into the folder `out` (runs/RECIPE), or resume the run in `resume`. Returns the folder."""
    known, folder, what = started(Recipe, recipe, overrides, out, resume, refuse_changes)
    if resume is None:
        refuse_missing_runs(trainings_in(known, folder).values(), recipe, folder)
    with alone_in(folder, f"fathom train {what}"):
        train(known, folder, resume=resume is not None)
    return folder


def train(recipe: Recipe, folder: Path, resume: bool) -> None:
    """One training, or the phases of the recipe one after the other, each in a folder of its own inside `folder`."""
    with resume_advice("train", folder):
        if recipe.phases:
            train_phases(recipe, folder, resume, train_once, _score)
        else:
            train_once(recipe, folder, resume)


def train_once(recipe: Recipe, folder: Path, resume: bool) -> None:
    """One training, top to bottom: labels, network, earlier weights, streams, step, loop, model, scores, page."""
    given, recipe = recipe, recipe.at_work
    accelerate = accelerator(recipe.train)
    main = accelerate.is_main_process
    refuse_batches(recipe, accelerate)  # before hours of preparing
    refuse_unfit(recipe)
    if resume:
        refuse_other_classes(folder, recipe)
        labelled = labelled_ids(folder, recipe.streams)
    else:
        labelled = budgets(recipe)
        if main:
            tell_left_out(given)
            tell_labels(recipe, labelled)
        begin(folder, given, labelled, accelerate)
    torch.manual_seed(recipe.seed)  # for the weights that start at random
    network, brought = build_networks(recipe, pretrained=not resume)
    if not resume and recipe.init_from is not None:
        classes = recipe.data.classes.names if "segmentation" in recipe.network.tasks else ()
        say(recipe.init_from.into(network, recipe.network, pose_network(brought), classes))  # fail before preprocessing

    streams = build_streams(recipe, labelled, folder, accelerate)
    if main:
        tell_streams(recipe, labelled, streams)
    check_classes(recipe, streams, main)
    keep_or_compare(folder, recipe, streams, resume, main)
    if main:
        tell_cameras(learned(streams.intrinsics), streams.intrinsics)
    step = build_step(recipe, network, brought, streams)
    if accelerate.is_local_main_process and (advice := averaging_advice(recipe.train)):
        say(advice)
    with memory_advice(recipe, accelerate.num_processes):
        trainer = Trainer(
            step, streams.by_name, recipe.train, recipe.optimiser, folder, recipe.seed, accelerate, recipe.own_batch
        )
        if resume:
            trainer.resume()
        trainer.run(recipe.evaluation.every, _evaluation(recipe, step, accelerate))
    if main:
        whole = trainer.trained(lambda: build_step(recipe, *build_networks(recipe, pretrained=False), streams))
        save(folder, recipe, whole, streams)
    accelerate.wait_for_everyone()
    conclude(f"{recipe.train.steps} steps are done, the run is in {folder}")
    scores = _score(recipe, folder)
    if recipe.evaluation.report and main:
        say(f"Page: {write_page(folder, recipe, whole, streams, scores)}")


def _evaluation(
    recipe: Recipe, step: Step, accelerate: accelerate.Accelerator
) -> Callable[[int], Mapping[str, Any]] | None:
    """Scores of the averaged weights in the middle of training; None if there is nothing to score on."""
    config, ids = recipe.evaluation, list(evaluated(recipe))
    if config.limit is not None:
        from fathomseg.evaluation.scoring import with_truth

        ids, _ = with_truth(recipe.data, recipe.network.predicted, ids, len(ids))
        ids = ids[:: max(1, -(-len(ids) // config.limit))]
    if not ids or config.every == 0 or not recipe.network.tasks:
        return None
    from fathomseg.evaluation.scoring import FromNetwork, score  # here and below: nothing that reading a recipe needs
    from fathomseg.inference.predictor import Predictor

    predictor = Predictor(step.ema.network, model_card(recipe), accelerate.device, config.inference)

    def evaluate(_: int) -> Mapping[str, Any]:
        with unsharded(step.ema.network):
            source = FromNetwork(predictor, recipe.data)
            scored = score(source, recipe.data, ids, predictor.tasks, accelerate.device)
        headlines = (predictor.tasks[name].headline(scores.result) for name, scores in scored.items())
        return {name: value for headline in headlines for name, value in headline.items()}

    return evaluate


def _lists_val(recipe: Recipe) -> bool:
    """Whether the evaluation split is one that the user writes the list of."""
    return recipe.evaluation.split == VAL and isinstance(recipe.data, SplitLists)


def _score(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Score the run on its evaluation split, if the dataset has it; {} if there is nothing to score on."""
    if (split := recipe.evaluation.split) is None:
        return {}
    if split not in recipe.data.splits:
        say(
            f"The run is not scored: {recipe.data.name} has no split {split!r}; it has {', '.join(recipe.data.splits)}."
            + (" Hold some images out: `val: [...]` in dataset.yaml, or data.val=[...]." if _lists_val(recipe) else "")
        )
        return {}
    from fathomseg.stages.evaluate import Scoring, evaluate_run

    how = Scoring(split=split, inference=recipe.evaluation.inference)
    return evaluate_run(folder, how, report=recipe.evaluation.report, optional=True)
