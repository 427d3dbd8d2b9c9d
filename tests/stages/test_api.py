"""The verbs as functions: the same files as the command line, with results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

import fathomseg
from fathomseg.config import load
from fathomseg.errors import ConfigError, FathomError
from fathomseg.stages.api import overrides
from fathomseg.stages.recipe import Recipe
from tests.fakes import make_camvid
from tests.stages import tiny


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_camvid(tmp_path_factory.mktemp("camvid"), train=4, val=2)


@pytest.fixture(scope="module")
def recipe(camvid: Path) -> Path:
    path = camvid.parent / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny.settings(camvid)))
    return path


def test_settings_are_those_of_the_command_line(recipe: Path, camvid: Path) -> None:
    given = {
        "data": {"root": camvid, "frame_step": 30},
        "size": (64, 96),
        "train.steps": 3,
        "init_from": None,
        "evaluation": {"report": True, "split": "no"},
        "streams": {"labelled": {"labels": {"count": 2}}},
    }
    texts = overrides(given)
    assert "data.frame_step=30" in texts
    loaded = load(Recipe, recipe, texts)
    assert (loaded.size, loaded.train.steps, loaded.evaluation.split) == ((64, 96), 3, "no")
    assert loaded.init_from is None
    assert loaded.evaluation.report
    assert loaded.streams["labelled"].labels.count == 2
    with pytest.raises(ConfigError, match="stepz: unknown key; did you mean 'steps'"):
        fathomseg.train(recipe, train={"stepz": 1})


LABELS = "streams.labelled.labels.count=1"


@pytest.mark.slow
def test_from_training_to_predicted_files(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = fathomseg.train(recipe, train={"steps": 2, "save_every": 2})
    assert run.folder == Path("runs/recipe")
    assert run.scores is not None
    stored = json.loads((run.folder / "evaluation/val/scores.json").read_text())["scores"]
    assert run.scores.by_weights == stored
    assert run.scores["segmentation"] == stored["ema"]["segmentation"]
    miou = stored["ema"]["segmentation"]["miou"]
    assert run.scores.headlines["segmentation"]["miou"] == miou
    assert f"segmentation miou {miou:.4f}" in repr(run)
    again = fathomseg.evaluate(run.folder, weights="last", limit=1, report=False)
    assert again.folder == run.folder / "evaluation/val-first1"
    assert list(again.by_weights) == ["last"]
    assert fathomseg.pretrain(resume=run.folder).scores == run.scores
    image = np.zeros((24, 32, 3), np.uint8)
    assert run.load(device="cpu").predict(image).label.shape == (24, 32)
    photo = next((Path(tiny.settings(recipe.parent)["data"]["root"])).rglob("*.png"))
    assert fathomseg.predict(run.folder, photo, "seen", device="cpu") == Path("seen")
    assert (tmp_path / "seen" / "ids" / photo.name).is_file()
    taught = fathomseg.distill(run.folder, recipe, "taught", task="segmentation", overrides=[LABELS], device="cpu")
    assert len(list((tmp_path / taught / "ids").rglob("*.png"))) == 3


def test_a_choice_of_images(camvid: Path, tmp_path: Path) -> None:
    tree = {
        "data": {"name": "camvid", "root": str(camvid)},
        "split": "train",
        "size": [24, 32],
        "criterion": {"name": "random"},
        "device": "cpu",
        "threads": 1,
        "report": False,
    }
    path = tmp_path / "select.yaml"
    path.write_text(yaml.safe_dump(tree))
    found = fathomseg.select(path, out=tmp_path / "chosen", budget=2, seed=3)
    assert len(found.ids) == 2
    assert (tmp_path / "chosen/selection.txt").read_text().split() == list(found.ids)
    assert found.selection.seed == 3
    assert repr(found).startswith("Choice(2 images: train/")
    with pytest.raises(FathomError, match="Give either a recipe"):
        fathomseg.select()


def test_recipes_are_found_by_name() -> None:
    with pytest.raises(ConfigError, match=r"No recipe at own-dta\. Did you mean own-data"):
        fathomseg.train("own-dta")


def test_the_package_offers_what_it_names() -> None:
    assert {name for name in fathomseg.__all__ if not hasattr(fathomseg, name)} == set()
