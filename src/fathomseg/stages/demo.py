"""`fathom demo`: a short supervised run on the generated world that ends in pictures. Needs no data and no internet."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fathomseg.config import validate
from fathomseg.data.base import Dataset
from fathomseg.draw import beside, captioned, colourise, error_map, legend, write
from fathomseg.engine.logging import say
from fathomseg.errors import FathomError
from fathomseg.learners.supervised import Supervised, SupervisedLearner
from fathomseg.models.network import NetworkConfig
from fathomseg.predictor import Predictor, load
from fathomseg.stages.recipe import Recipe
from fathomseg.stages.train import train
from fathomseg.types import Batch

SETTINGS = {
    "data": {"name": "streets", "frames": 8},
    "labels": {"count": 12},
    "size": [128, 256],
    "learner": {"balance": 0.5},
    "optimiser": {"lr": 5e-3, "encoder_lr": 0.25},
    "train": {"batch": 4, "threads": 1, "log_every": 10},
    "evaluation": {"split": "val"},
}
"""The run of the demo: 12 labelled images. One thread: on small images more of them mostly wait for each other."""

SHOWN = 6


def run(out: Path, minutes: float) -> int:
    """Train for about `minutes`, score on unseen clips, and write pictures into `out`. Returns the exit code."""
    if not minutes > 0:  # which refuses NaN as well
        raise FathomError(f"--minutes is {minutes:g}; give a positive number of minutes.")
    began = time.monotonic()
    recipe = validate(Recipe, SETTINGS)
    steps = max(20, int(60 * minutes / seconds_per_step(recipe)))
    loop = recipe.train.model_copy(update={"steps": steps})
    recipe = recipe.model_copy(update={"train": loop})
    say(f"Training on {recipe.labels.count} labelled images of a generated city for {steps} steps ...")
    folder = out / "run"
    train(recipe, folder, resume=False)
    picture = out / "predictions.jpg"
    write(picture, panel(load(folder), recipe.data, spread(recipe.data.ids("val"), SHOWN)))
    scores = json.loads((folder / "evaluation" / "val" / "scores.json").read_text(encoding="utf-8"))
    say(
        f"\nDone in {time.monotonic() - began:.0f} s with {recipe.labels.count} labelled images:"
        f" mIoU {100 * scores['scores']['ema']['miou']:.1f} % on unseen clips.\n"
        f"  pictures  {picture}\n  report    {folder / 'evaluation' / 'val' / 'report.html'}\n"
        f"  use it    fathom predict {folder} IMAGE_OR_FOLDER --out predictions"
    )
    return 0


def seconds_per_step(recipe: Recipe, tries: int = 4) -> float:
    """Wall-clock seconds of one training step on this machine, right now: the fastest of a few on random pixels."""
    import torch

    if recipe.train.threads is not None:
        torch.set_num_threads(recipe.train.threads)
    classes = len(recipe.data.classes)
    assert isinstance(recipe.learner, Supervised)
    learner: SupervisedLearner = recipe.learner.build(
        validate(NetworkConfig, recipe.network.model_dump()).build(classes, pretrained=False),
        torch.ones(classes, dtype=torch.int64),
    )
    learner.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shape = (recipe.train.batch, *recipe.size)
    image = torch.randint(0, 256, (shape[0], 3, *recipe.size), dtype=torch.uint8)
    batch = Batch(("",) * shape[0], tuple(range(shape[0])), image, torch.zeros(shape, dtype=torch.uint8))
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        term = learner({"labelled": batch}).terms["segmentation"]
        (term.sum / term.count).backward()
        learner.after_step(0)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def spread(ids: Sequence[str], count: int) -> list[str]:
    """`count` ids evenly spread over a list, which for a listing of clips means different clips."""
    return [ids[i] for i in np.linspace(0, len(ids) - 1, count).round().astype(int)]


def panel(predictor: Predictor, dataset: Dataset, ids: Sequence[str]) -> np.ndarray:
    """One row an image: the image, the truth, the prediction and where it is wrong; the legend below."""
    rows = []
    for id in ids:
        image, truth = dataset.image(id), dataset.label(id)
        assert truth is not None
        label = predictor.predict(image).label
        colours = [colourise(shown, dataset.classes) for shown in (truth, label)]
        rows.append(beside([image, *colours, error_map(label, truth)]))
    names = ("image", "truth", "prediction", "wrong pixels")
    width = rows[0].shape[1]
    cells = [captioned(np.full((1, width // 4, 3), 255, np.uint8), name) for name in names]
    key = legend(dataset.classes, columns=max(1, width // 180), width=180)
    return np.concatenate([_fit(part, width) for part in (np.concatenate(cells, axis=1), *rows, key)])


def _fit(picture: np.ndarray, width: int) -> np.ndarray:
    """White to the right, or cut, so that the picture is `width` pixels wide."""
    missing = max(0, width - picture.shape[1])
    return np.pad(picture, ((0, 4), (0, missing), (0, 0)), constant_values=255)[:, :width]
