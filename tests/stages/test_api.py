"""The verbs as functions: the same files as the command line, with results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import fathomseg
from fathomseg.config import load
from fathomseg.distillation.provenance import read_provenance
from fathomseg.errors import ConfigError, FathomError
from fathomseg.inference.predicted import RECORD
from fathomseg.stages.api import _taken, overrides
from fathomseg.training.recipe import Recipe
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


LABELS = "streams.labelled.labels.count"


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
    way = {"inference": {"flip": True}}
    again = fathomseg.evaluate(run.folder, weights="last", limit=1, report=False, evaluation=way)
    assert again.folder == run.folder / "evaluation/val-first1-flip"
    assert list(again.by_weights) == ["last"]
    assert fathomseg.pretrain(resume=run.folder).scores == run.scores
    image = np.zeros((24, 32, 3), np.uint8)
    assert run.load(device="cpu").predict(image).label.shape == (24, 32)
    photo = next((Path(tiny.settings(recipe.parent)["data"]["root"])).rglob("*.png"))
    (tmp_path / "photos").mkdir()
    shutil.copy(photo, tmp_path / "photos")
    (tmp_path / "photos" / "bad.png").write_bytes(b"no picture")
    slide = {"inference": {"mode": "slide"}}
    seen = fathomseg.predict(run.folder, "photos", "seen", device="cpu", evaluation=slide)
    assert (seen.folder, seen.files, seen.pictures) == (Path("seen"), 1, 1)
    assert [Path(problem.where).name for problem in seen.problems] == ["bad.png"]
    assert repr(seen) == "Predicted(1 files, 1 pictures now, 1 could not be used; seen)"
    assert (tmp_path / "seen" / "ids" / photo.name).is_file()
    assert '"mode":"slide"' in (tmp_path / "seen" / RECORD).read_text().replace("\\", "")
    taught = fathomseg.distill(
        run.folder, recipe, "taught", task="segmentation", device="cpu", evaluation=slide, **{LABELS: 1}
    )
    assert read_provenance(taught).teacher.settings["mode"] == "slide"
    assert len(list((tmp_path / taught / "ids").rglob("*.png"))) == 3


def test_options_and_settings_of_a_finished_run_are_told_apart() -> None:
    from fathomseg.stages.evaluate import scored
    from fathomseg.stages.export import run as export

    given = {"flip": True, "data": {"root": "there"}, "evaluation.inference.mode": "slide", "overrides": ["data.a=b"]}
    wanted = ["data.a=b", "data.root=there", "evaluation.inference.mode=slide"]
    assert _taken("evaluate", scored, given) == {"flip": True, "overrides": wanted}
    assert _taken("export", export, {"data": "x"}) == {"data": "x", "overrides": []}
    with pytest.raises(FathomError, match="evaluate takes no 'flipp'; did you mean 'flip'"):
        fathomseg.evaluate("run", flipp=True)
    with pytest.raises(FathomError, match=r"predict takes no 'train'\. Its options are tasks, .*; settings begin with"):
        fathomseg.predict("run", "photo", "out", train={"steps": 3})


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
