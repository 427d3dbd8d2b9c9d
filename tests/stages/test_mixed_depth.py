"""Depth of several sources in one training: metres of a sensor, and relative maps of other images, in another unit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from fathomseg.config import validate
from fathomseg.stages.train import train
from fathomseg.training.recipe import Recipe
from tests import fakes
from tests.stages import tiny_depth

SIZE = (48, 96)


def test_two_steps_learn_from_both(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("metres", "relative"):
        fakes.make_folder(tmp_path / name, images=4, labels=None, clips=0, size=SIZE)
    (tmp_path / "metres/dataset.yaml").write_text("depth_scale: 0.001\n")
    (tmp_path / "relative/disparity").mkdir()
    for i in range(4):
        fakes.save(tmp_path / f"metres/depth/{i:03d}.png", rng.integers(0, 5000, SIZE, np.uint16))
        np.save(tmp_path / f"relative/disparity/{i:03d}.npy", 7 + 100 * rng.random(SIZE, np.float32))
    loss = {"error": "scale_shift_invariant"}
    maps = {"name": "maps", "folder": str(tmp_path / "relative/disparity"), "normalise": {"percentiles": [0, 100]}}
    other = {"name": "folder", "root": str(tmp_path / "relative")}
    tree = tiny_depth.settings(
        data={"name": "folder", "root": str(tmp_path / "metres")},
        streams={"sensor": {}, "stereo": {"data": other, "depth": maps}},
        objectives={
            "sensor": {"name": "supervised", "stream": "sensor", "losses": {"depth": loss}},
            "stereo": {"name": "supervised", "stream": "stereo", "losses": {"depth": {**loss, "target": "disparity"}}},
        },
        train={**tiny_depth.LOOP, "steps": 2, "log_every": 1},
    )
    train(validate(Recipe, tree), tmp_path / "run", resume=False)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    losses = {key: value for line in lines for key, value in line.items() if key in ("sensor.depth", "stereo.depth")}
    assert set(losses) == {"sensor.depth", "stereo.depth"}, lines
    assert all(math.isfinite(value) and value > 0 for value in losses.values())
    card = json.loads((tmp_path / "run/model.json").read_text())
    assert (card["depth_unit"], card["depth_alignment"]) == ("relative", "scale_shift")
