"""The verbs as functions: the same files as the command line, with results."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml

import fathomseg
from fathomseg.cli import app
from fathomseg.config import load
from fathomseg.data.datasets import CamVid
from fathomseg.distillation.provenance import read_provenance
from fathomseg.errors import ConfigError, FathomError
from fathomseg.evaluation.baselines import parse_baselines
from fathomseg.inference.predicted import RECORD
from fathomseg.inference.settings import trained_inference
from fathomseg.stages.api import _taken, overrides
from fathomseg.stages.distill import distilled
from fathomseg.stages.evaluate import scored
from fathomseg.stages.export import exported
from fathomseg.stages.predict import predicted
from fathomseg.training.recipe import Recipe
from tests.fakes import make_camvid
from tests.stages import tiny
from tests.stages.saved_run import save_run


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
    made = fathomseg.distill(
        run.folder, recipe, "distilled", task="segmentation", device="cpu", evaluation=slide, **{LABELS: 1}
    )
    assert (made.images, made.problems) == (3, ())
    assert read_provenance(made.folder).teacher.settings["mode"] == "slide"
    assert len(list((tmp_path / made / "ids").rglob("*.png"))) == 3


def test_options_and_settings_of_a_finished_run_are_told_apart() -> None:
    given = {"flip": True, "data": {"root": "there"}, "evaluation.inference.mode": "slide", "overrides": ["data.a=b"]}
    wanted = ["data.a=b", "data.root=there", "evaluation.inference.mode=slide"]
    assert _taken("evaluate", scored, given) == {"flip": True, "overrides": wanted}
    assert _taken("export", exported, {"data": "x"}) == {"data": "x", "overrides": []}
    with pytest.raises(FathomError, match="evaluate takes no 'flipp'; did you mean 'flip'"):
        fathomseg.evaluate("run", flipp=True)
    with pytest.raises(FathomError, match=r"predict takes no 'train'\. Its options are tasks, .*; settings begin with"):
        fathomseg.predict("run", "photo", "out", train={"steps": 3})


@pytest.fixture(scope="module")
def classes(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of segmentation, without a training."""
    data = CamVid(root=camvid)
    return save_run(tmp_path_factory.mktemp("classes"), data.classes, data.model_dump(mode="json"), (24, 32))


VERBS = {
    "load": lambda run, tasks: fathomseg.load(run, device="cpu", tasks=tasks),
    "predict": lambda run, tasks: fathomseg.predict(run, "photo.jpg", run / "seen", tasks=tasks),
    "evaluate": lambda run, tasks: fathomseg.evaluate(run, tasks=tasks),
    "export": lambda run, tasks: fathomseg.export(run, run / "out.onnx", tasks=tasks),
}


@pytest.mark.parametrize("tasks", ["segmentation, depth", ["segmentation", "depth"], ("depth",), "depth"], ids=repr)
@pytest.mark.parametrize("verb", VERBS)
def test_tasks_are_a_text_or_a_collection(verb: str, tasks: Any, classes: Path) -> None:
    """All of them, and nothing else, are looked for: the run has no depth."""
    with pytest.raises(FathomError, match=r"(has no task|cannot be scored on) 'depth'"):
        VERBS[verb](classes, tasks)


@pytest.mark.parametrize("tasks", ["segmentation", ["segmentation"], {"segmentation": None}])
def test_tasks_that_are_there_are_loaded(tasks: Any, classes: Path) -> None:
    assert list(fathomseg.load(classes, device="cpu", tasks=tasks).tasks) == ["segmentation"]


@pytest.mark.parametrize("given", ["coco, voc", ["coco", "voc"]])
def test_formats_are_a_text_or_a_collection(given: Any, classes: Path) -> None:
    with pytest.raises(FathomError, match="'voc' is none of ids, coco, yolo"):
        fathomseg.predict(classes, "photo.jpg", classes / "seen", device="cpu", format=given)


@pytest.mark.parametrize(
    ("given", "links"), [(True, True), ("on", True), (False, False), ("off", False), (None, True)], ids=repr
)
def test_links_are_a_word_or_a_truth_value(given: Any, links: bool, tmp_path: Path) -> None:
    assert trained_inference(tmp_path, links=given).links is links


def test_other_words_about_links_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="--links is 'no'; give on or off"):
        trained_inference(tmp_path, links="no")


@pytest.mark.parametrize("given", [{"depth": "runs/a"}, {"depth": Path("runs/a")}, ["depth=runs/a"], "depth=runs/a"])
def test_a_baseline_of_one_task(given: Any) -> None:
    assert parse_baselines(given, ["segmentation", "depth"]) == {"depth": Path("runs/a")}


@pytest.mark.parametrize("given", ["runs/a", Path("runs/a"), ["runs/a"]], ids=repr)
def test_one_baseline_of_all_tasks(given: Any) -> None:
    assert parse_baselines(given, ["segmentation", "depth"]) == dict.fromkeys(("segmentation", "depth"), Path("runs/a"))


def test_a_mapping_of_baselines_is_no_setting(classes: Path) -> None:
    with pytest.raises(FathomError, match=r"nowhere"):
        fathomseg.evaluate(classes, limit=1, report=False, baseline={"segmentation": "nowhere"})


def test_stored_predictions_are_a_text_or_a_path(classes: Path) -> None:
    with pytest.raises(FathomError, match=r"There is no folder nowhere with predictions"):
        fathomseg.evaluate(classes, against="nowhere")


VERB_OPTIONS = [
    (verb.replace("-", "_"), option, function)
    for verb, function in {
        "check": fathomseg.check,
        "train": fathomseg.train,
        "select": fathomseg.select,
        "import-labels": fathomseg.import_labels,
        "evaluate": scored,
        "predict": predicted,
        "export": exported,
        "distill": distilled,
    }.items()
    for option in typer.main.get_command(app).commands[verb].params
    if option.param_type_name == "option" and option.name != "help"
]


@pytest.mark.parametrize(("verb", "option", "function"), VERB_OPTIONS, ids=lambda x: getattr(x, "name", None))
def test_options_of_the_command_line_are_those_of_python(verb: str, option: Any, function: Any) -> None:
    """By name and default; verbs of Python with `**options` hand them on."""
    own = inspect.signature(getattr(fathomseg, verb)).parameters
    handed_on = inspect.signature(function).parameters if "options" in own else {}
    assert "--" + option.name.replace("_", "-") in option.opts
    known = {**handed_on, **own}[option.name]
    empty = {(), None, inspect.Parameter.empty}
    assert known.default == option.default or {known.default, option.default} <= empty


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
    assert repr(found).startswith("Chosen(2 images: train/")
    with pytest.raises(FathomError, match="Give either a recipe"):
        fathomseg.select()


def test_recipes_are_found_by_name() -> None:
    with pytest.raises(ConfigError, match=r"No recipe at own-dta\. Did you mean own-data"):
        fathomseg.train("own-dta")


def test_the_package_offers_what_it_names() -> None:
    assert {name for name in fathomseg.__all__ if not hasattr(fathomseg, name)} == set()


def test_what_verbs_return_can_be_named() -> None:
    verbs = [one for one in (getattr(fathomseg, name) for name in fathomseg.__all__) if inspect.isfunction(one)]
    returned = {str(verb.__annotations__["return"]) for verb in verbs if verb.__module__ == "fathomseg.stages.api"}
    assert returned - {"Path"} <= set(fathomseg.__all__)
    assert {"Run", "Scores", "Chosen", "Predicted", "Distilled", "CheckReport", "Imported"} <= returned


def test_a_check_returns_what_it_prints(camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(camvid, "data")
    broken = next(Path("data/train").iterdir())
    broken.write_bytes(b"no picture")
    found = fathomseg.check("camvid", report=False, **{"data.root": "data"})
    assert (found.dataset, found.splits["train"].images) == ("camvid", 4)
    assert [Path(problem.where).name for problem in found.problems] == [broken.name]
    assert not Path("runs").exists()


def test_labels_are_imported_from_a_selection(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=r"There is no .*job\.zip\. Give the file that CVAT"):
        fathomseg.import_labels(tmp_path / "job.zip", selection=str(tmp_path), out=str(tmp_path / "mine"))
