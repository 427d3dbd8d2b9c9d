"""The recipes for own RGB-D data train two steps through the real command line, and never on what is held out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fathomseg.config import load
from fathomseg.data.datasets.folder import Folder
from fathomseg.named_recipes import find
from fathomseg.stages.check import check
from fathomseg.training.recipe import Recipe
from fathomseg.training.stream_ids import stream_ids
from tests import fakes
from tests.command import fathom
from tests.small_recipes import ENCODER, SMALL


def store_depth(root: Path) -> None:
    """Random depth of nine images."""
    for i in range(9):
        stored = np.random.default_rng(i).integers(0, 5000, (24, 32), np.uint16)
        fakes.save(root / "depth" / f"{i:03d}.png", stored)


def trained(recipe: str, root: Path, run: Path) -> str:
    """What it prints."""
    settings = [f"data.root={root}", *SMALL, *ENCODER, "train.steps=2", "evaluation.report=false"]
    return fathom("train", str(find(f"own-data/{recipe}")), *settings, "--out", str(run))


@pytest.mark.slow
def test_it_trains_two_steps(tmp_path: Path) -> None:
    root, run = fakes.make_folder(tmp_path / "mydata", images=9, labelled=4), tmp_path / "run"
    with (root / "dataset.yaml").open("a") as file:
        file.write("depth_scale: 0.001\n")
    store_depth(root)
    trained("sensor-depth", root, run)
    scores = json.loads((run / "evaluation" / "val" / "scores.json").read_text())["scores"]["ema"]
    assert set(scores) == {"segmentation", "depth"}
    images = json.loads((run / "data.json").read_text())["streams"]
    train, val = (len(Folder(root=root).ids(split)) for split in ("train", "val"))
    assert (train + val, val > 0) == (9, True)
    assert images["measured"]["count"] == train


def test_video_with_depth_is_learned_from(tmp_path: Path) -> None:
    root = fakes.make_folder(tmp_path, images=0, labels=None, clips=3)
    (root / "dataset.yaml").write_text("depth_scale: 0.001\n")
    for frame in sorted((root / "clips").rglob("*.jpg")):
        fakes.save(root / "depth" / frame.relative_to(root).with_suffix(".png"), np.ones((24, 32), np.uint16))
    recipe = load(Recipe, find("own-data/depth-supervised"), [f"data.root={root}"])
    val, learned = recipe.data.ids("val"), stream_ids(recipe, "measured", {})
    assert (len(val) % 5, len(val) + len(learned)) == (0, 15)
    assert {id.split("/")[1] for id in val}.isdisjoint(id.split("/")[1] for id in learned)


@pytest.mark.slow
def test_depth_alone_needs_neither_labels_nor_classes(tmp_path: Path) -> None:
    root, run = fakes.make_folder(tmp_path / "mydata", images=9, labels=None, clips=0), tmp_path / "run"
    (root / "dataset.yaml").write_text("depth_scale: 0.001\n")
    store_depth(root)
    assert not check(Folder(root=root)).problems
    trained("depth-supervised", root, run)
    scores = json.loads((run / "evaluation" / "val" / "scores.json").read_text())["scores"]["ema"]
    assert set(scores) == {"depth"}
    images = json.loads((run / "data.json").read_text())["streams"]
    assert images["measured"]["count"] == len(Folder(root=root, val_by="depth").ids("train")) < 9
    (root / "dataset.yaml").write_text("depth_scale: 0.001\nval: []\n")
    said = trained("depth-supervised", root, tmp_path / "all")
    assert "Hold some images out: `val: [...]` in dataset.yaml, or data.val=[...]." in said
