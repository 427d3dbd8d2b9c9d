"""The complete recipes of docs/training.md train."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fathomseg.config import load
from fathomseg.stages.train import train
from fathomseg.training.recipe import Recipe
from tests.docs.markdown import DOCS, Block, blocks

RECIPES = blocks((DOCS / "training.md").read_text(encoding="utf-8"), "yaml")
SMALL = ["data.size=[64,96]", "data.train_clips=4", "data.val_clips=1", "data.frames=4", "size=[64,96]"]
SMALL += [
    "train.steps=2",
    "train.batch=2",
    "train.device=cpu",
    "train.threads=1",
    "network.encoder.model=test_efficientnet",
]
SMALL += ["network.encoder.pretrained=none", "evaluation.report=false"]


@pytest.mark.slow
@pytest.mark.parametrize("block", RECIPES, ids=lambda block: f"line {block.line}")
def test_the_recipe_trains(block: Block, tmp_path: Path) -> None:
    recipe = load(Recipe, yaml.safe_load(block.text), SMALL)
    train(recipe, tmp_path / "run", resume=False)
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_there_are_three() -> None:
    assert len(RECIPES) == 3
