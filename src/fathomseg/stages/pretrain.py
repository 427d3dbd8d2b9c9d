"""`fathom pretrain`: from a recipe and video without labels to a run folder with a network for depth."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from fathomseg.config import load
from fathomseg.data.cache import Cache
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.intrinsics import Lenses, field_of_view
from fathomseg.data.loading import Stream
from fathomseg.data.video_stream import TRIPLETS, choose_frames, known_lenses, training_ids, video_stream
from fathomseg.engine.checkpoint import FILE as CHECKPOINT
from fathomseg.engine.logging import preparing, say
from fathomseg.engine.loop import Trainer, accelerator
from fathomseg.errors import ConfigError
from fathomseg.evaluation.depth_scoring import evaluate_depth_network, has_depth
from fathomseg.learners.depth import DepthLearner
from fathomseg.models.saved import CARD, POSE, WEIGHTS, ModelCard, save_model, save_weights
from fathomseg.stages.advice import memory_advice, resume_advice
from fathomseg.stages.depth_recipe import DepthRecipe
from fathomseg.stages.evaluate_depth import evaluate_depth_run
from fathomseg.stages.run_folder import begin, refuse_changes, reopen
from fathomseg.stages.start import Start, start
from fathomseg.types import Camera

if TYPE_CHECKING:
    import accelerate

EVERYTHING = ("encoder", "decoder", "disparity", "pose")


def run(recipe: Path | None, overrides: Sequence[str], out: Path | None, resume: Path | None) -> int:
    """Learn depth by a recipe into the folder `out`, or go on with the run in `resume`. Returns the exit code."""
    if (recipe is None) == (resume is None):
        raise ConfigError("Give either a recipe to start a run, or --resume RUN to go on with one.")
    if resume is not None:
        refuse_changes(overrides)
        pretrain(load(DepthRecipe, reopen(resume), overrides), resume, resume=True)
    else:
        assert recipe is not None
        pretrain(load(DepthRecipe, recipe, overrides), out or Path("runs") / recipe.stem, resume=False)
    return 0


def pretrain(recipe: DepthRecipe, folder: Path, resume: bool) -> None:
    """One training, or the phases of the recipe one after the other, each in a folder of its own inside `folder`."""
    if not recipe.phases:
        with resume_advice("pretrain", folder):
            train_depth(recipe, folder, resume)
        return
    phases = phase_recipes(recipe, folder)  # every mistake in any phase is told before the first begins
    accelerate = accelerator(recipe.train)
    if not resume:
        begin(folder, recipe, None, accelerate)
    for name, settings in phases.items():
        inside = folder / name
        if not (inside / WEIGHTS["ema"]).is_file():  # written last
            say(f"Phase {name} of {', '.join(phases)}")
            interrupted = (inside / CHECKPOINT).is_file()
            if accelerate.is_main_process and not interrupted:
                shutil.rmtree(inside, ignore_errors=True)  # it stopped before there was anything to go on with
            accelerate.wait_for_everyone()
            with resume_advice("pretrain", folder):
                train_depth(settings, inside, resume=interrupted)
    if accelerate.is_main_process:
        for file in (*WEIGHTS.values(), POSE, CARD, *(path.name for path in inside.glob("camera-*.yaml"))):
            shutil.copy2(inside / file, folder / file)
        if (inside / "evaluation").is_dir():
            shutil.copytree(inside / "evaluation", folder / "evaluation", dirs_exist_ok=True)
    accelerate.wait_for_everyone()


def phase_recipes(recipe: DepthRecipe, folder: Path) -> dict[str, DepthRecipe]:
    """The recipe of every phase. Raises `ConfigError` for a setting that does not exist or a value that is wrong."""
    recipes: dict[str, DepthRecipe] = {}
    before: Path | None = None
    for name, changes in recipe.phases.items():
        tree = recipe.model_dump(mode="json", exclude={"phases"})
        if before is not None:
            tree["start"] = {"run": str(before), "parts": list(EVERYTHING)}
        elif recipe.start is None:
            del tree["start"]  # a group that a change may begin
        recipes[name] = load(DepthRecipe, tree, changes)
        before = folder / name
    return recipes


def train_depth(recipe: DepthRecipe, folder: Path, resume: bool) -> None:
    """One training, top to bottom: network, learner, frames, loop, saved model, scores."""
    accelerate = accelerator(recipe.train)
    if not resume:
        begin(folder, recipe, None, accelerate)
    torch.manual_seed(recipe.seed)  # for the weights that start at random
    learner = recipe.learner.build(recipe.network.build(pretrained=not resume), not resume)
    if not resume:
        start(recipe.start, learner.network, learner.pose)  # what is wrong with it is told before hours of decoding

    stream, lenses = _prepared(recipe, folder, accelerate)
    if lenses.learned and lenses.guessed:
        learner.video.learn_focals(lenses.guessed, known_factors(None if resume else recipe.start, lenses))
    crop, model = recipe.learner.geometry.crop or recipe.size, recipe.network.encoder.model
    with memory_advice(crop, recipe.train, model):
        trainer = Trainer(learner, {"clips": stream}, recipe.train, recipe.optimiser, folder, recipe.seed, accelerate)
        if resume:
            trainer.resume()
        scored = _scored_ids(recipe) if recipe.evaluation.every else []
        evaluate = partial(_evaluate, recipe, learner, scored, accelerate) if scored else None
        trainer.run(recipe.evaluation.every, evaluate)
    if accelerate.is_main_process:
        save_cameras(folder, lenses, learner.focal_factors())
        save_models(folder, recipe, learner)
    accelerate.wait_for_everyone()
    if recipe.evaluation.split is not None:
        evaluate_depth_run(folder, split=recipe.evaluation.split, report=recipe.evaluation.report, optional=True)


def save_models(folder: Path, recipe: DepthRecipe, learner: DepthLearner) -> None:
    """Write the networks a user takes away: averaged and last weights for depth, and those for motion."""
    loss = recipe.learner.loss
    card = ModelCard(
        network=recipe.network,
        size=recipe.size,
        depth_range=(loss.min_depth, loss.max_depth),
        pose=recipe.learner.pose,
    )
    save_weights(folder / POSE, learner.pose.state_dict())
    save_model(folder, card, learner.network.state_dict(), WEIGHTS["last"])
    save_model(folder, card, learner.ema.network.state_dict(), WEIGHTS["ema"])


def known_factors(start: Start | None, lenses: Lenses) -> list[float]:
    """By what each learned focal length had grown at the end of the run whose `pose` this one starts from; 1 = new."""
    factors = [1.0] * len(lenses.names)
    if start is None or "pose" not in start.parts:
        return factors
    for number, name in enumerate(lenses.names):
        path = start.run / f"camera-{name}.yaml"
        if path.is_file():
            factors[number] = float(yaml.safe_load(path.read_text(encoding="utf-8"))["fx"]) / _guess(lenses, number).fx
            say(f"The focal length of {name} goes on from {path}")
    return factors


def _guess(lenses: Lenses, number: int) -> Camera:
    """What a learned camera began with."""
    return next(lenses.cameras[id] for id, own in lenses.guessed.items() if own == number)


def save_cameras(folder: Path, lenses: Lenses, factors: Sequence[float]) -> None:
    """Write each learned camera as a camera.yaml for the folder of its clips, and say what it is."""
    for number, (name, factor) in enumerate(zip(lenses.names, factors, strict=bool(factors))):
        guess = _guess(lenses, number)
        camera = {"width": guess.width, "height": guess.height, "fx": guess.fx * factor, "fy": guess.fy * factor}
        camera |= {"cx": guess.cx, "cy": guess.cy}
        path = folder / f"camera-{name}.yaml"
        path.write_text(yaml.safe_dump(camera, sort_keys=False), encoding="utf-8")
        say(
            f"Learned camera of {name}: focal length {camera['fx']:.1f} px at {guess.height} x {guess.width} "
            f"(began at {guess.fx:.1f}, {field_of_view(guess):.0f} degrees); written to {path}"
        )


def _prepared(recipe: DepthRecipe, folder: Path, accelerate: accelerate.Accelerator) -> tuple[Stream, Lenses]:
    """The stream of clips: frames decoded once at working size, those chosen that teach something, cameras known."""
    dataset: Dataset = recipe.data
    ids = training_ids(dataset, recipe.split, recipe.evaluation.split)
    cache = Cache(dataset, recipe.size)
    with accelerate.local_main_process_first(), preparing(accelerate.is_local_main_process) as progress:
        cache.prepare([(id, "image") for id in ids], progress)
        triplets = choose_frames(recipe.frames, cache, ids, folder / TRIPLETS, progress)
    lenses = known_lenses(recipe.camera, dataset, triplets)
    if accelerate.is_main_process:
        left_out = len(ids) - len(triplets)
        say(f"Learning from {len(triplets)} of {len(ids)} frames; {left_out} lack motion or a neighbour.")
        if lenses.guessed:
            how = "its focal length is learned" if lenses.learned else "depth is stretched if it is wrong"
            say(
                f"WARNING: {len(lenses.guessed)} frames have no known camera: a horizontal field of view of "
                f"{recipe.camera.degrees:g} degrees is assumed; {how}."  # type: ignore[union-attr]
            )
    return video_stream(cache, triplets, lenses, recipe.learner.geometry, recipe.seed), lenses


def _scored_ids(recipe: DepthRecipe) -> list[str]:
    """The images scored while training: those of the evaluation split with depth, evenly spread."""
    dataset, config = recipe.data, recipe.evaluation
    there = config.split is not None and config.split in dataset.splits
    ids = list(dataset.ids(str(config.split))) if there else []
    if config.limit is not None:
        ids = ids[:: max(1, -(-len(ids) // config.limit))]
    return ids if any(has_depth(dataset, id) for id in ids) else []


def _evaluate(
    recipe: DepthRecipe, learner: DepthLearner, ids: Sequence[str], accelerate: accelerate.Accelerator, step: int
) -> Mapping[str, Any]:
    """Scores of the averaged weights in the middle of training."""
    loss = recipe.learner.loss
    scores = evaluate_depth_network(
        learner.ema.network,
        (loss.min_depth, loss.max_depth),
        recipe.data,
        ids,
        recipe.size,
        accelerate.device,
    )
    return {"abs_rel": scores["median"]["abs_rel"], "delta1": scores["median"]["delta1"]}
