"""Settings of tiny semi-supervised runs on the generated city, as `tiny.py` has them for supervised ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fathomseg.config import validate
from fathomseg.engine.loop import Trainer
from fathomseg.stages.train import train
from fathomseg.training.recipe import Recipe

SIZE = (48, 64)
STREETS: dict[str, Any] = {"name": "streets", "size": list(SIZE), "train_clips": 2, "val_clips": 1, "frames": 4}
ENCODER = {"model": "test_resnet", "pretrained": "none"}
LOOP: dict[str, Any] = {"steps": 6, "batch": 2, "log_every": 2, "save_every": 2, "device": "cpu", "threads": 1}
DECODER: dict[str, Any] = {"name": "depth_unet", "channels": [4, 4, 8, 8, 8], "stride": 4, "norms": True}
JOINT: dict[str, Any] = {
    "encoder": ENCODER,
    "tasks": {"segmentation": {"decoder": DECODER}, "depth": {"decoder": DECODER}},
    "links": {"name": "padnet"},
}
CROP = {"geometry": {"crop": [32, 48]}}


def settings(**sections: Any) -> dict[str, Any]:
    """A recipe with everything on that has to survive an interruption; keyword arguments replace whole sections.

    Batch statistics, dropout, Adam's moments, colours, annealing, an averaged teacher.
    """
    return {
        "data": STREETS,
        "size": list(SIZE),
        "network": {
            "encoder": ENCODER,
            "tasks": {"segmentation": {"decoder": {"name": "fpn", "channels": 8}, "dropout": 0.2}},
        },
        "streams": streams(),
        "objectives": {
            "supervised": {"losses": {"segmentation": {"annealing": {"schedule": "linear"}}}},
            "pseudo_labels": {"mixing": {"name": "classmix"}, "weighting": {"name": "none"}, "views": 2},
        },
        "optimiser": {"lr": 1e-3, "warmup": 0},
        "train": LOOP,
        "evaluation": {"report": False},
        **sections,
    }


def joint(**sections: Any) -> dict[str, Any]:
    """The same with a joint network, clips and DepthMix by the network's own depth."""
    objectives = {
        "supervised": {},
        "pseudo_labels": {"mixing": {"name": "depthmix"}, "weighting": {"name": "none"}, "depth_scale": "image"},
        "photometric": {"pose": {"encoder": ENCODER}},
    }
    return settings(**{"network": JOINT, "objectives": objectives, "streams": streams(clips={}), **sections})


def streams(**more: Any) -> dict[str, Any]:
    """The streams of these recipes; keyword arguments add to one, or one more."""
    usual: dict[str, Any] = {"labelled": {"labels": {"count": 3}, **CROP}, "unlabelled": CROP}
    crop = {"geometry": {"crop": [32, 64], "scale": [1.0, 1.0]}}
    return {**usual, **{name: {**usual.get(name, crop), **settings} for name, settings in more.items()}}


def recipe(tree: dict[str, Any]) -> Recipe:
    return validate(Recipe, tree)


class Killed(BaseException):
    """What a process dies of in these tests: nothing catches it."""


def killed(made: Recipe, folder: Path, at: int) -> Path:
    """The folder of a run that died at the beginning of step `at`, counted from 0."""
    step: Callable[..., None] = Trainer._step

    def mortal(self: Trainer, number: int, batches: Any) -> None:
        if number == at:
            raise Killed
        step(self, number, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", mortal)
        with pytest.raises(Killed):
            train(made, folder, resume=False)
    return folder


def killed_and_resumed(tree: dict[str, Any], folder: Path, at: int) -> Path:
    """The folder of a run that died at the beginning of step `at`, and was resumed from its checkpoint."""
    killed(recipe(tree), folder, at)
    assert (folder / "checkpoint.pt").is_file()
    assert not (folder / "model.json").exists()
    train(recipe(tree), folder, resume=True)
    return folder
