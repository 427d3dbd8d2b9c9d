"""Label budgets of recipes: another seed labels other images, and a list of images may stand in for the choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import yaml

from fathomseg.config import load
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.cityscapes import CLASSES
from fathomseg.training.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent


def budget(path: Path) -> int | None:
    """The labels of the stream `labelled`, if the recipe says a number; none are no choice."""
    streams: dict[str, Any] = yaml.safe_load(path.read_text()).get("streams", {})
    return cast(int | None, ((streams.get("labelled") or {}).get("labels") or {}).get("count"))


RECIPES = sorted(path for path in (ROOT / "recipes").rglob("*.yaml") if budget(path))


class Thousands(Dataset):
    """A dataset of which nothing is known but that it has labels."""

    name: str = "thousands"
    classes: ClassVar = CLASSES
    splits: ClassVar = ("train",)

    def image(self, id: str) -> np.ndarray:
        raise AssertionError("no image is opened")

    def ids(self, split: str) -> list[str]:
        return [f"{split}/{number:04d}" for number in range(4000)]

    def has_label(self, id: str) -> bool:
        return True


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_seeds_label_other_images_and_a_list_may_say_which(path: Path) -> None:
    chosen = []
    for seed in (0, 1):
        recipe = load(Recipe, path, [f"seed={seed}"])
        labels = recipe.streams["labelled"].labels
        assert labels is not None
        chosen.append(labels.choose(Thousands(), "train", recipe.seed))
    assert len(chosen[0]) == len(chosen[1]) == budget(path)
    assert chosen[0] != chosen[1]
    listed = load(Recipe, path, ["streams.labelled.labels.file=x"]).streams["labelled"].labels
    assert listed is not None
    assert listed.file == Path("x")
