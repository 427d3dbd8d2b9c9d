"""`fathom train` and `fathom pretrain`: from a recipe to a run folder that can be evaluated, used and resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fathomseg.engine.loop import Trainer, accelerator
from fathomseg.engine.sharding import gathered
from fathomseg.engine.step import Step
from fathomseg.inference.card import POSE, WEIGHTS, ModelCard, save_card
from fathomseg.io.lock import alone_in
from fathomseg.io.outcome import conclude
from fathomseg.io.progress import say
from fathomseg.models.saved import save_weights
from fathomseg.models.scene.saved import SCENE
from fathomseg.training.advice import averaging_advice, memory_advice, resume_advice
from fathomseg.training.batches import refuse_batches
from fathomseg.training.build import (
    build_networks,
    build_step,
    contrastive_of,
    model_card,
    photometric_of,
    pose_network,
)
from fathomseg.training.cameras import learned, learned_cameras, save_cameras, tell_cameras, trained_camera
from fathomseg.training.data_record import check_classes, keep_or_compare, refuse_other_classes
from fathomseg.training.domains import same_data
from fathomseg.training.labels_used import tell_all_labelled, tell_labels, tell_shared_clips
from fathomseg.training.metric_scale import with_scale
from fathomseg.training.needed_runs import refuse_missing_runs
from fathomseg.training.page import write_page
from fathomseg.training.phases import train_phases, trainings_in
from fathomseg.training.recipe import Recipe
from fathomseg.training.run_folder import begin, labelled_ids, refuse_changes
from fathomseg.training.seen_before import tell_seen_before
from fathomseg.training.start import started
from fathomseg.training.stream_ids import budgets, evaluated, split_ids
from fathomseg.training.streams import Streams, build_streams

if TYPE_CHECKING:
    import accelerate


def run(recipe: Path | None, overrides: Sequence[str], out: Path | None, resume: Path | None) -> int:
    """`trained`, for the command line: returns the exit code."""
    trained(recipe, overrides, out, resume)
    return 0


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
    accelerate = accelerator(recipe.train)
    refuse_batches(recipe, accelerate)  # before hours of preparing
    if resume:
        refuse_other_classes(folder, recipe)
        labelled = labelled_ids(folder, recipe.streams)
    else:
        labelled = budgets(recipe)
        if accelerate.is_main_process:
            tell_labels(recipe, labelled)
            tell_seen_before(recipe)
        begin(folder, recipe, labelled, accelerate)
    torch.manual_seed(recipe.seed)  # for the weights that start at random
    network, brought = build_networks(recipe, pretrained=not resume)
    if not resume and recipe.init_from is not None:
        say(recipe.init_from.into(network, recipe.network, pose_network(brought)))  # fail before preprocessing

    streams = build_streams(recipe, labelled, folder, accelerate)
    if accelerate.is_main_process:
        tell_all_labelled(recipe, labelled, streams)
        tell_shared_clips(recipe, streams)
    check_classes(recipe, streams, accelerate.is_main_process)
    keep_or_compare(folder, recipe, streams, resume, accelerate.is_main_process)
    if accelerate.is_main_process:
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
    if accelerate.is_main_process:
        whole = trainer.trained(lambda: build_step(recipe, *build_networks(recipe, pretrained=False), streams))
        save(folder, recipe, whole, streams)
    accelerate.wait_for_everyone()
    conclude(f"{recipe.train.steps} steps are done, the run is in {folder}")
    scores = _score(recipe, folder)
    if recipe.evaluation.report and accelerate.is_main_process:
        say(f"Page: {write_page(folder, recipe, step, streams, scores)}")


def save(folder: Path, recipe: Recipe, step: Step, streams: Streams) -> None:
    """Write what a user takes away: averaged and last weights, the pose network, learned cameras, the scene model; the
    card comes last."""
    if (photometric := photometric_of(step)) is not None:
        save_weights(folder / POSE, photometric.pose.state_dict())
        save_cameras(folder, learned(streams.intrinsics), photometric.focal_factors())
    if (contrastive := contrastive_of(step)) is not None:
        save_weights(folder / SCENE, contrastive.scene.state_dict())
    if step.network.tasks:
        save_weights(folder / WEIGHTS["last"], step.network.state_dict())
        save_weights(folder / WEIGHTS["ema"], step.ema.network.state_dict())
    save_card(folder, _card(recipe, step, streams))


def _card(recipe: Recipe, step: Step, streams: Streams) -> ModelCard:
    """What must be known beside the weights; depth in metres where something tells the scale of what was learned from
    video of the recipe's own data."""
    card, photometric = model_card(recipe), photometric_of(step)
    if photometric is not None:
        cameras = learned_cameras(learned(streams.intrinsics), photometric.focal_factors())
        card = card.model_copy(update={"cameras": cameras})
    if photometric is None or card.depth_unit != "relative" or recipe.metric_scale.source == "none":
        return card
    name = next(stream for stream in photometric.config.streams if stream in streams.intrinsics)
    if not same_data(recipe.dataset(name), recipe.data):
        say(
            f"Depth stays relative: it was learned from {recipe.dataset(name).name}, and what a unit is there need not "
            f"hold for images of {recipe.data.name}, which the network is for."
        )
        return card
    intrinsics = streams.intrinsics[name]
    camera = trained_camera(intrinsics, streams.learned_focal_ids, photometric.focal_factors())
    scales = recipe.metric_scale.measure(
        card,
        step.ema.network,
        photometric.pose,
        recipe.dataset(name),
        [(beside[-1], id, beside[1]) for id, beside in (streams.by_name[name].neighbours or {}).items()],
        split_ids(recipe, name),
        camera,
    )
    return with_scale(card, scales)


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
        with gathered(step.ema.network):
            source = FromNetwork(predictor, recipe.data)
            scored = score(source, recipe.data, ids, predictor.tasks, accelerate.device)
        headlines = (predictor.tasks[name].headline(scores.result) for name, scores in scored.items())
        return {name: value for headline in headlines for name, value in headline.items()}

    return evaluate


def _score(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Score the run on its evaluation split, if the dataset has it; {} if there is nothing to score on."""
    if (split := recipe.evaluation.split) is None:
        return {}
    if split not in recipe.data.splits:
        say(
            f"The run is not scored: {recipe.data.name} has no split {split!r}; it has {', '.join(recipe.data.splits)}."
        )
        return {}
    from fathomseg.stages.evaluate import evaluate_run

    return evaluate_run(
        folder, split=split, inference=recipe.evaluation.inference, report=recipe.evaluation.report, optional=True
    )
