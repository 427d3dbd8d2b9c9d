"""Which images without labels a stream is advised to take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fathomseg.config import load, validate
from fathomseg.data.held_out import HeldOut
from fathomseg.named_recipes import find
from fathomseg.training.recipe import Recipe
from fathomseg.training.stream_ids import more_images, split_ids
from tests import fakes
from tests.stages import tiny_semi


def advice(data: dict[str, Any]) -> str:
    recipe = validate(Recipe, tiny_semi.settings(data=data, evaluation={"split": None}))
    return more_images(recipe, "unlabelled", HeldOut.of(recipe.data, None), frozenset())


@pytest.mark.parametrize(("clips", "where"), [(0, None), (1, "clips")])
def test_no_split_to_score_on_and_none_whose_images_all_have_labels(
    tmp_path: Path, clips: int, where: str | None
) -> None:
    none = "Add images without labels, or give others as streams.unlabelled.data."
    assert advice(tiny_semi.STREETS) == none  # train, val and test are there, all with labels
    own = fakes.make_folder(tmp_path / "mydata", images=4, clips=clips)
    (own / "splits").mkdir()
    (own / "splits/val.txt").write_text("images/000\n")
    (own / "labels/000.png").unlink()
    wanted = (
        none if where is None else "Images without labels are in clips and all: set streams.unlabelled.split=clips."
    )
    assert advice({"name": "folder", "root": str(own)}) == wanted


@pytest.mark.parametrize("name", ["adapt-streets", "joint", "semi-supervised", "unimatch-v2"])
def test_recipes_for_own_data_use_photographs_and_frames(name: str, tmp_path: Path) -> None:
    own = fakes.make_folder(tmp_path / "mydata", images=4, labelled=3, clips=2, frames=3)
    recipe = load(Recipe, find(f"own-data/{name}"), [f"data.root={own}", "data.val=[images/000,clips/drive1/*]"])
    expected = [f"clips/drive0/{number:06d}" for number in range(3)] + ["images/001", "images/002", "images/003"]
    assert split_ids(recipe, "unlabelled") == expected
