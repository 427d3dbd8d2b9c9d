"""The recipe for own RGB-D data trains two steps through the real command line, and never on what is held out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.data.datasets.folder import Folder
from fathomseg.named_recipes import find
from tests import fakes
from tests.small_recipes import ENCODER, SMALL


@pytest.mark.slow
def test_it_trains_two_steps(tmp_path: Path) -> None:
    root, run = fakes.make_folder(tmp_path / "mydata", images=9, labelled=4), tmp_path / "run"
    with (root / "dataset.yaml").open("a") as file:
        file.write("depth_scale: 0.001\n")
    for i in range(9):
        stored = np.random.default_rng(i).integers(0, 5000, (24, 32), np.uint16)
        fakes.save(root / "depth" / f"{i:03d}.png", stored)
    settings = [f"data.root={root}", *SMALL, *ENCODER, "train.steps=2", "evaluation.report=false"]
    done = CliRunner().invoke(app, ["train", str(find("own-data/sensor-depth")), *settings, "--out", str(run)])
    assert done.exit_code == 0, (done.output, done.exception)
    scores = json.loads((run / "evaluation" / "val" / "scores.json").read_text())["scores"]["ema"]
    assert set(scores) == {"segmentation", "depth"}
    images = json.loads((run / "data.json").read_text())["streams"]
    train, val = (len(Folder(root=root).ids(split)) for split in ("train", "val"))
    assert (train + val, val > 0) == (9, True)
    assert images["measured"]["count"] == train
