"""`fathom train`: from a recipe to a run folder that can be evaluated, used and resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fathomseg.config import load
from fathomseg.data.datasets.base import Dataset
from fathomseg.engine.logging import say
from fathomseg.engine.loop import Trainer, accelerator
from fathomseg.errors import ConfigError
from fathomseg.learners import SemiSupervised
from fathomseg.learners.base import Learner
from fathomseg.learners.semi import SemiLearner
from fathomseg.learners.supervised import SupervisedLearner
from fathomseg.losses.photometric import Photometric
from fathomseg.models.joint import JointNetwork, JointNetworkConfig
from fathomseg.models.network import Network
from fathomseg.models.pose_base import PoseNetwork
from fathomseg.models.saved import ModelCard, save_model
from fathomseg.stages.advice import memory_advice, resume_advice
from fathomseg.stages.evaluate import evaluate_network, evaluate_run
from fathomseg.stages.recipe import Recipe
from fathomseg.stages.run_folder import begin, labelled_ids, refuse_changes, reopen
from fathomseg.stages.start import start
from fathomseg.stages.streams import Streams, build_streams

if TYPE_CHECKING:
    import accelerate


def run(recipe: Path | None, overrides: Sequence[str], out: Path | None, resume: Path | None) -> int:
    """Train by a recipe into the folder `out`, or go on with the run in `resume`. Returns the exit code."""
    if (recipe is None) == (resume is None):
        raise ConfigError("Give either a recipe to start a run, or --resume RUN to go on with one.")
    if resume is not None:
        refuse_changes(overrides)
        settings = load(Recipe, reopen(resume), overrides)
        train(settings, resume, resume=True)
    else:
        assert recipe is not None
        train(load(Recipe, recipe, overrides), out or Path("runs") / recipe.stem, resume=False)
    return 0


def train(recipe: Recipe, folder: Path, resume: bool) -> None:
    """One run, top to bottom: labels, network, data, learner, loop, saved model, scores."""
    accelerate = accelerator(recipe.train)
    dataset: Dataset = recipe.data
    if resume:
        ids = labelled_ids(folder)
    else:
        ids = recipe.labels.choose(dataset, recipe.seed)
        begin(folder, recipe, ids, accelerate)
    torch.manual_seed(recipe.seed)  # for the weights that start at random
    network = recipe.network.build(classes=len(dataset.classes), pretrained=not resume)
    pose = build_pose(recipe, pretrained=not resume)
    if not resume:
        start(recipe.start, network, pose)  # what is wrong with it is told before hours of decoding

    streams = build_streams(recipe, ids, folder, accelerate)
    learner = build_learner(recipe, network, pose, streams)
    crop, model = recipe.learner.geometry.crop or recipe.size, recipe.network.encoder.model
    advice = memory_advice(crop, recipe.train, model, recipe.own_batch)
    with advice, resume_advice("train", folder):
        trainer = Trainer(
            learner,
            streams.by_name,
            recipe.train,
            recipe.optimiser,
            folder,
            recipe.seed,
            accelerate,
            recipe.own_batch,
        )
        if resume:
            trainer.resume()
        scored = _scored_ids(recipe)
        evaluate = (
            partial(_evaluate, recipe, learner, scored, accelerate) if scored and recipe.evaluation.every else None
        )
        trainer.run(recipe.evaluation.every, evaluate)
    if accelerate.is_main_process:
        save_models(folder, recipe, learner)
    accelerate.wait_for_everyone()
    if scored:
        evaluate_run(
            folder,
            split=recipe.evaluation.split,
            inference=recipe.evaluation.inference,
            report=recipe.evaluation.report,
        )


def build_pose(recipe: Recipe, pretrained: bool) -> PoseNetwork | None:
    """The network for camera motion, if depth is learned along."""
    video = recipe.learner.video if isinstance(recipe.learner, SemiSupervised) else None
    return None if video is None else video.pose.build(pretrained)


def build_learner(
    recipe: Recipe, network: Network | JointNetwork, pose: PoseNetwork | None, streams: Streams
) -> SupervisedLearner | SemiLearner:
    """The training step around the networks."""
    pixels = streams.labelled.label_pixels(len(recipe.data.classes))
    if isinstance(recipe.learner, SemiSupervised):
        return recipe.learner.build(network, pixels, recipe.train.steps, pose, streams.guessed, recipe.foreign_clips)
    assert isinstance(network, Network), "checked by the recipe"
    return recipe.learner.build(network, pixels)


def save_models(folder: Path, recipe: Recipe, learner: Learner[Any]) -> None:
    """Write the networks a user takes away: averaged weights in model.safetensors, the last in last.safetensors."""
    classes = recipe.data.classes
    card = ModelCard(
        network=recipe.network,
        classes=classes.names,
        colours=classes.colours,
        size=recipe.size,
        depth_range=depth_range(recipe),
    )
    save_model(folder, card, learner.network.state_dict(), "last.safetensors")
    save_model(folder, card, learner.ema.network.state_dict(), "model.safetensors")


def depth_range(recipe: Recipe) -> tuple[float, float] | None:
    """Depth of disparity 1 and 0 of a joint network; None for one that gives no disparity."""
    if not isinstance(recipe.network, JointNetworkConfig):
        return None
    video = recipe.learner.video if isinstance(recipe.learner, SemiSupervised) else None
    loss = Photometric() if video is None else video.loss
    return loss.min_depth, loss.max_depth


def _scored_ids(recipe: Recipe) -> tuple[str, ...]:
    """The labelled images of the evaluation split; none if the dataset has no such split."""
    dataset: Dataset = recipe.data
    if recipe.evaluation.split not in dataset.splits:
        say(
            f"The run is not scored: {dataset.name} has no split {recipe.evaluation.split!r};"
            f" it has {', '.join(dataset.splits)}."
        )
        return ()
    return tuple(id for id in dataset.ids(recipe.evaluation.split) if dataset.has_label(id))


def _evaluate(
    recipe: Recipe, learner: Learner[Any], ids: Sequence[str], accelerate: accelerate.Accelerator, step: int
) -> Mapping[str, Any]:
    """Scores of the averaged weights in the middle of training."""
    scores = evaluate_network(
        learner.ema.network, recipe.data, ids, recipe.evaluation.inference, recipe.size, accelerate.device
    )
    return {"miou": scores["miou"], "pixel_accuracy": scores["pixel_accuracy"]}
