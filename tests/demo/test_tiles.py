"""What the page of a demo says of chosen and random images is what the criterion itself has measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fathomseg.config import validate
from fathomseg.data.datasets import Streets
from fathomseg.demo.folder import demo_folder
from fathomseg.stages.demo_tiles import tiles
from fathomseg.stages.select import select
from fathomseg.stages.select_recipe import SelectRecipe
from tests.stages.saved_joint_run import save_joint_run


def test_tiles_are_measured_as_the_choice_was_made(tmp_path: Path) -> None:
    data, folder = Streets(size=(32, 64), train_clips=3, val_clips=1, frames=4), demo_folder(tmp_path)
    save_joint_run(folder.run("depth"), data, ["depth"], pose=False)
    features = {"name": "depth", "run": str(folder.run("depth")), "grid": [2, 4]}
    recipe = {
        "data": data.model_dump(mode="json"),
        "size": [32, 64],
        "criterion": {"name": "diversity", "compare": "cells", "features": features},
        "budget": 4,
        "annotation": False,
        "copy_images": "none",
        "report": False,
        "device": "cpu",
    }
    selection = select(validate(SelectRecipe, recipe), folder.run("select"), resume=False)
    random = [id for id in data.ids("train") if id not in selection.ids][:4]
    chosen, others = tiles(folder, selection.ids, random)
    assert chosen.new[0] is None
    assert others.new[0] is None
    assert chosen.new[1:] == pytest.approx([one.distance for one in selection.chosen[1:]], rel=1e-4)
    assert list(np.diff(chosen.new[1:]) <= 0) == [True, True]  # farthest first
    assert 0 < chosen.left <= chosen.new[-1]
    assert others.left > 0
