"""What a training shows at its end: its page, with one more batch of every stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from fathomseg.data.intrinsics import field_of_view
from fathomseg.data.loading import collate
from fathomseg.engine.step import Batches, Step
from fathomseg.io.files import CONFIG
from fathomseg.report.page import sections
from fathomseg.report.section import Card
from fathomseg.report.step_samples import step_samples
from fathomseg.report.training_page import PAGE, LearnedCamera, TrainingPage, write_training_page
from fathomseg.training.build import photometric_of
from fathomseg.training.cameras import learned
from fathomseg.training.recipe import Recipe
from fathomseg.training.run_folder import origin
from fathomseg.training.streams import Streams

_SAMPLES: Final = 4
"""Images of a stream that are looked at: enough to mix them in pairs."""


def write_page(folder: Path, recipe: Recipe, step: Step, streams: Streams, scores: Mapping[str, Any]) -> Path:
    """Write the page of a finished training into its folder and return its path. `scores`: what evaluating the run has
    come to; empty if nothing was scored."""
    split = recipe.evaluation.split or ""
    evaluation = f"evaluation/{split}/{PAGE}"
    labelled = "segmentation" in recipe.network.tasks or any("label" in recipe.uses(name) for name in streams.by_name)
    classes = recipe.data.classes if labelled else None
    page = TrainingPage(
        title=folder.name,
        steps=recipe.train.steps,
        dataset=recipe.data.name,
        samples=step_samples(step, next_batches(recipe, step, streams), classes),
        classes=classes,
        origin=origin(),
        streams={n: None if recipe.is_endless(n) else len(stream.ids) for n, stream in streams.by_name.items()},
        cameras=_cameras(step, streams),
        scores=_headlines(recipe, scores),
        evaluation=evaluation if (folder / evaluation).is_file() else None,
    )
    return write_training_page(folder, page, folder / CONFIG)


def next_batches(recipe: Recipe, step: Step, streams: Streams) -> Batches:
    """Up to `_SAMPLES` samples of every stream, the first of the step that would come next, on the step's device."""
    device = next((parameter.device for parameter in step.parameters()), torch.device("cpu"))
    batches = {}
    for name, stream in streams.by_name.items():
        size = recipe.own_batch.get(name, recipe.train.batch)
        first = recipe.train.steps * size
        batches[name] = collate([stream[first + i] for i in range(min(_SAMPLES, size))]).to(device)
    return batches


def _headlines(recipe: Recipe, scores: Mapping[str, Any]) -> list[Card]:
    """The first number of every task that was scored."""
    return [section.cards[0] for section in sections(scores, recipe.data)] if scores else []


def _cameras(step: Step, streams: Streams) -> list[LearnedCamera]:
    photometric = photometric_of(step)
    factors = [] if photometric is None else photometric.focal_factors()
    cameras = []
    for (name, began), factor in zip(learned(streams.intrinsics), factors, strict=False):
        found = replace(began, fx=began.fx * factor, fy=began.fy * factor)
        size = f"{began.height} x {began.width}"
        cameras.append(LearnedCamera(name, size, began.fx, found.fx, field_of_view(found)))
    return cameras
