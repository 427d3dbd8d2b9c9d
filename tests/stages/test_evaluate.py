"""Runs of any tasks scored through the command's stage: files, options, stored predictions, what is missing said."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.kitti import Kitti
from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import ConfigError, DataError, FathomError
from fathomseg.evaluation.motion import motion_scores, predict_drives
from fathomseg.inference.card import load_pose
from fathomseg.inference.predictor import load
from fathomseg.inference.settings import Inference, Window
from fathomseg.io import draw, outcome
from fathomseg.io.depth_maps import write_disparity, write_scale
from fathomseg.metrics.depth import DepthProtocol
from fathomseg.stages import evaluate
from fathomseg.stages.evaluate import Scoring, evaluate_run, scored
from fathomseg.stages.score_folders import of_baseline
from tests.fakes import make_camvid, make_folder, make_kitti
from tests.stages.saved_joint_run import BOTH, RANGE, save_joint_run
from tests.typecheck import unchecked

STREETS = Streets(size=(40, 72), frames=6, val_clips=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CamVid:
    return CamVid(root=make_camvid(tmp_path_factory.mktemp("data"), train=2, val=5, size=(37, 50)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, data: CamVid) -> Path:
    """A run that segments."""
    folder = tmp_path_factory.mktemp("runs") / "a <b>run"
    return save_joint_run(folder, data, ["segmentation"], (24, 32), pose=False)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of depth and camera motion."""
    return save_joint_run(tmp_path_factory.mktemp("runs") / "depth", STREETS, ["depth"])


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of everything."""
    return save_joint_run(tmp_path_factory.mktemp("runs") / "joint", STREETS)


def arguments(**changes: Any) -> dict[str, Any]:
    weights = "both" if "against" in changes else "ema"  # of predictions there is one kind
    defaults = {"data": None, "overrides": [], "split": "val", "weights": weights, "mode": None}
    return {**defaults, "against": None, "json": True, "report": False, "limit": None, **changes}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("root=x", "'root=x' is not used.*did you mean 'data.root=x'"),
        ("dta.root=x", "did you mean 'data.root=x'"),
        ("data.roott=x", "roott: unknown key; did you mean 'root'"),
        ("evaluation.split=test", "not used by `fathom evaluate`; of a run's settings evaluation.inference"),
        ("evaluation.inference.flp=true", "flp: unknown key; did you mean 'flip'"),
        ("evaluation.infernce.mode=slide", "not used"),
        ("train.steps=3", "is not used"),
    ],
)
def test_a_setting_that_means_nothing_here_is_refused(saved: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scored(str(saved), **arguments(overrides=[override]))


def oracle(predictions: list[np.ndarray], truths: list[np.ndarray], classes: int) -> float:
    """mIoU over the classes present in the truth, by masks."""
    values = []
    for c in range(classes):
        pairs = [((p == c) & (t != 255), t == c) for p, t in zip(predictions, truths, strict=True)]
        if any(t.any() for _, t in pairs):
            values.append(sum((p & t).sum() for p, t in pairs) / sum((p | t).sum() for p, t in pairs))
    return float(np.mean(values))


def test_scores_equal_an_oracle_over_the_predictor(
    saved: Path, data: CamVid, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome.forget()
    scored(str(saved), **arguments(weights="both"))
    captured = capsys.readouterr()
    result = json.loads(captured.out)  # nothing but JSON on standard output
    ids = data.ids("val")
    truths = [data.label(id) for id in ids]
    values = {}
    for weights in ("ema", "last"):
        predictor = load(saved, weights, "cpu")
        predictions = [predictor.predict(data.image(id)).label for id in ids]
        values[weights] = oracle(predictions, truths, len(data.classes))
        assert result["scores"][weights]["segmentation"]["miou"] == pytest.approx(values[weights], rel=1e-12)
    assert values["ema"] != values["last"]
    assert outcome.last_line() == f"{saved} on val: mIoU {100 * values['ema']:.1f} %"
    assert result["scores"]["ema"]["segmentation"]["images"] == 5
    assert result["scores"]["ema"]["segmentation"]["pixels"] == sum(int((t != 255).sum()) for t in truths)


def test_files_hold_what_was_printed(saved: Path, data: CamVid, capsys: pytest.CaptureFixture[str]) -> None:
    scored(str(saved), **arguments(report=True))
    printed = json.loads(capsys.readouterr().out)
    folder = saved / "evaluation" / "val"
    assert json.loads((folder / "scores.json").read_text()) == printed
    rows = list(csv.DictReader((folder / "images.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == list(data.ids("val"))
    predictor = load(saved, "ema", "cpu")
    for row in rows:
        own = oracle([predictor.predict(data.image(row["id"])).label], [data.label(row["id"])], len(data.classes))
        assert float(row["miou_ema"]) == pytest.approx(own, rel=1e-12)
    assert (folder / "report.html").stat().st_size > 10_000
    assert not list(folder.glob(".*"))


def test_a_page_never_lies_beside_other_scores_than_it_shows(saved: Path, tmp_path: Path) -> None:
    run = shutil.copytree(saved, tmp_path / "run")
    page = run / "evaluation" / "val" / "report.html"
    scored(str(run), **arguments(report=True))
    scored(str(run), **arguments())
    assert page.is_file(), "the scores are the same"
    scored(str(run), **arguments(weights="last"))
    assert not page.exists()


def test_a_table_is_printed_without_json(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scored(str(saved), **arguments(json=False, weights="both", limit=2))
    out = capsys.readouterr().out
    assert "mIoU is the mean over the" in out
    assert "of the 2 images" in out
    assert "averaged weights (EMA)" in out
    assert "building" in out


def test_a_limit_does_not_replace_the_scores_of_the_whole_split(saved: Path) -> None:
    evaluate_run(saved, report=False, as_json=True)
    result = evaluate_run(saved, Scoring(limit=3), report=False, as_json=True)
    assert result["scores"]["ema"]["segmentation"]["images"] == result["limit"] == 3
    folder = saved / "evaluation"
    stored = [json.loads((folder / name / "scores.json").read_text()) for name in ("val", "val-first3")]
    assert [one["scores"]["ema"]["segmentation"]["images"] for one in stored] == [5, 3]
    with pytest.raises(FathomError, match="at least 1"):
        evaluate_run(saved, Scoring(limit=0))


def test_mode_and_overrides_reach_the_network(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = []
    flipped = "evaluation.inference.flip=true"
    for changes in ({}, {"mode": "slide"}, {"mode": "slide", "overrides": [flipped]}, {"mode": "slide", "flip": True}):
        scored(str(saved), **arguments(**changes))
        results.append(json.loads(capsys.readouterr().out))
    assert [one["inference"]["mode"] for one in results] == ["whole", "slide", "slide", "slide"]
    assert [one["inference"]["flip"] for one in results] == [False, False, True, True]
    assert len({one["scores"]["ema"]["segmentation"]["miou"] for one in results}) == 3
    assert results[2]["scores"] == results[3]["scores"]
    names = ("val", "val-slide", "val-slide-flip")  # what is scored in another way does not replace the run's own
    stored = [json.loads((saved / "evaluation" / name / "scores.json").read_text()) for name in names]
    assert stored == [results[0], results[1], results[3]]


def test_every_other_way_to_score_has_a_folder_of_its_own(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = Inference()
    changes = ({"size": (60, 96)}, {"window": Window(size=(32, 48), stride=0.5)}, {"mode": "slide", "flip": True})
    for change in changes:
        evaluate_run(saved, Scoring(weights="ema", limit=1, inference=usual.model_copy(update=change)), report=False)
    folders = {path.name for path in (saved / "evaluation").glob("val-first1*")}
    wanted = {"val-first1-60x96", "val-first1-window-32x48-stride-0.5", "val-first1-slide-flip"}
    assert wanted <= folders
    assert capsys.readouterr().err.count("60 x 96 is no multiple of 8") == 1


def test_stored_predictions_cannot_be_flipped(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="leave out --flip"):
        scored(str(saved), **arguments(against=tmp_path, flip=True))


def test_classes_must_be_those_of_the_data(saved: Path, tmp_path: Path) -> None:
    other = make_folder(tmp_path)
    with pytest.raises(
        FathomError,
        match=r"(?s)11 classes that are not the 3 .*class 0: 'sky' in the run, 'road' in the data.*class 3: .* only",
    ):
        scored(str(saved), **arguments(data=str(other)))


def test_a_split_without_labels_says_so(saved: Path, tmp_path: Path) -> None:
    unlabelled = make_folder(tmp_path, labels=None)
    with pytest.raises(
        FathomError,
        match=r"split 'train' of folder can be measured: none of its \d+ images has a label\. Label some images of it, "
        r"or give other --data\.$",
    ):
        scored(str(saved), **arguments(data=str(unlabelled), split="train"))
    with pytest.raises(FathomError, match="test2"):
        scored(str(saved), **arguments(split="test2"))


def test_splits_to_score_instead_have_a_truth(saved: Path, tmp_path: Path) -> None:
    root = make_folder(tmp_path, labelled=4)
    with pytest.raises(
        FathomError, match=r"has a label\. Give another --split \(train, val, labelled, all\) or --data"
    ):
        scored(str(saved), **arguments(data=str(root), split="clips"))


def test_depth_is_not_labelled_by_hand(deep: Path, tmp_path: Path) -> None:
    root = make_folder(tmp_path, clips=0)
    with pytest.raises(FathomError, match=r"has depth.*\. Give other --data\.$"):
        scored(str(deep), **arguments(data=str(root), split="val", tasks="depth"))


def test_wrong_names_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="no weights 'best'; choose from ema, last, both"):
        scored(str(saved), **arguments(weights="best"))
    with pytest.raises(FathomError, match=r"holds no config\.yaml .* Give the folder of a run, or --data"):
        scored(str(tmp_path), **arguments())


def test_a_corrupt_image_is_named_after_all_others_were_tried(saved: Path, tmp_path: Path) -> None:
    copy = CamVid(root=make_camvid(tmp_path, train=1, val=3, size=(37, 50)))
    first, _, third = copy.ids("val")
    for id in (first, third):
        (tmp_path / f"{id}.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        evaluate_run(saved, Scoring(dataset=copy), report=False)
    assert [Path(problem.where).stem for problem in caught.value.problems] == [Path(id).name for id in (first, third)]


# --- --against ------------------------------------------------------------------------------------------------------


def store(folder: Path, data: CamVid, name: str = "{id}.png", shift: int = 1) -> Path:
    """The labels moved by `shift` pixels as predictions, ignored pixels filled with class 0."""
    for id in data.ids("val"):
        label = np.roll(data.label(id), shift, axis=1)
        path = folder / name.format(id=id, stem=id.rsplit("/", 1)[-1])
        draw.write(path, np.where(label == 255, 0, label).astype(np.uint8))
    return folder


@pytest.mark.parametrize("name", ["{id}.png", "{stem}.png", "deep/er/{id}.png"])
def test_stored_predictions_flat_or_nested_score_as_the_oracle_says(
    saved: Path, data: CamVid, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = store(tmp_path / "theirs", data, name)
    scored(str(saved), **arguments(against=folder, report=True))
    result = json.loads(capsys.readouterr().out)
    truths = [data.label(id) for id in data.ids("val")]
    predictions = [np.where(np.roll(t, 1, 1) == 255, 0, np.roll(t, 1, 1)) for t in truths]
    expected = oracle(predictions, truths, len(data.classes))
    assert result["scores"]["predictions"]["segmentation"]["miou"] == pytest.approx(expected, rel=1e-12)
    assert 0.1 < expected < 1
    assert result["scores"]["predictions"]["segmentation"]["ece"] is None
    assert (saved / "evaluation" / "val-theirs" / "report.html").is_file()


def test_stored_predictions_of_the_network_score_as_the_network(
    saved: Path, data: CamVid, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for id in data.ids("val"):
        draw.write(tmp_path / f"{id}.png", load(saved, device="cpu").predict(data.image(id)).label)
    hows = [Scoring(against=against, weights="ema") for against in (None, tmp_path)]
    results = [evaluate_run(saved, how, report=False) for how in hows]
    ours, theirs = (next(iter(result["scores"].values()))["segmentation"] for result in results)
    assert {**ours, "ece": None, "calibration": None} == theirs


def test_everything_wrong_with_stored_predictions_is_listed_at_once(saved: Path, data: CamVid, tmp_path: Path) -> None:
    store(tmp_path, data)
    missing, small, foreign, colour, _ = (tmp_path / f"{id}.png" for id in data.ids("val"))
    missing.unlink()
    draw.write(small, np.zeros((10, 20), np.uint8))
    draw.write(foreign, np.full((37, 50), 77, np.uint8))
    draw.write(colour, np.random.default_rng(0).integers(0, 255, (37, 50, 3), dtype=np.uint8))
    with pytest.raises(DataError) as caught:
        evaluate_run(saved, Scoring(against=tmp_path), report=False)
    reasons = [problem.reason for problem in caught.value.problems]
    assert len(reasons) == 4
    for expected, reason in zip(
        ("has no file", "10 x 20 but its label is 37 x 50", "holds 77", "colour image"), reasons, strict=True
    ):
        assert expected in reason


def test_a_missing_folder_is_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=r"no folder .*nowhere"):
        evaluate_run(saved, Scoring(against=tmp_path / "nowhere"), report=False)


# --- depth and camera motion ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_scores_equal_an_oracle_over_the_public_predictor(deep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scored(str(deep), **arguments(weights="both", report=True))
    result = json.loads(capsys.readouterr().out)  # nothing but JSON on standard output
    folder = deep / "evaluation" / "val"
    assert json.loads((folder / "scores.json").read_text()) == result
    assert (folder / "report.html").stat().st_size > 50_000
    rows = list(csv.DictReader((folder / "images.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == STREETS.ids("val")
    for weights in ("ema", "last"):
        predictor = load(deep, weights, "cpu")
        errors = []
        for id, row in zip(STREETS.ids("val"), rows, strict=True):
            truth = STREETS.depth(id).astype(np.float64)
            valid = (truth > 1e-3) & (truth < 80)
            guess = np.clip(predictor.predict(STREETS.image(id)).depth.astype(np.float64), 1e-3, 80)
            errors.append(np.mean(np.abs(guess - truth)[valid] / truth[valid]))
            assert float(row[f"abs_rel_none_{weights}"]) == pytest.approx(errors[-1], rel=1e-9)
        assert result["scores"][weights]["depth"]["none"]["abs_rel"] == pytest.approx(np.mean(errors), rel=1e-9)
    assert result["scores"]["ema"] != result["scores"]["last"]
    motion = motion_scores(predict_drives(load_pose(deep), STREETS, STREETS.ids("val"), (32, 64)))
    assert result["motion"]["all"]["ate_m"] == pytest.approx(motion["all"]["ate_m"])
    assert result["motion"]["all"]["clips"] == 2


def test_motion_is_predicted_at_the_size_it_was_learned_at(
    deep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is not that of the images, where clips have a size of their own."""
    run = shutil.copytree(deep, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation"))
    card = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**card, "pose_size": [24, 40]}))
    sizes = []

    def predicted(pose: Any, dataset: Any, ids: Any, size: Any, *more: Any, **known: Any) -> list[Any]:
        sizes.append(size)
        return predict_drives(pose, dataset, ids, size, *more, **known)

    monkeypatch.setattr(evaluate, "predict_drives", predicted)
    evaluate_run(run, Scoring(tasks=["motion"]), report=False)
    assert sizes == [(24, 40)]


def test_flip_reaches_the_network_and_is_written_down(deep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = []
    for flip in (False, True):
        scored(str(deep), **arguments(flip=flip, limit=2))
        results.append(json.loads(capsys.readouterr().out))
    assert [one["inference"]["flip"] for one in results] == [False, True]
    folders = [deep / "evaluation" / name for name in ("val-first2", "val-first2-flip")]
    assert [json.loads((folder / "scores.json").read_text()) for folder in folders] == results
    assert results[0]["scores"]["ema"]["depth"]["median"] != results[1]["scores"]["ema"]["depth"]["median"]


def test_tables_are_printed_without_json(deep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scored(str(deep), **arguments(json=False))
    out = capsys.readouterr().out
    assert "Means over 12 images" in out
    assert "unscaled" in out
    assert "Camera motion over 2 clips, 12 frames" in out


def test_the_options_of_the_protocol_count(deep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = []
    for options in ({}, {"max_depth": 12.0}, {"crop": "garg"}):
        scored(str(deep), **arguments(limit=2, **options))
        results.append(json.loads(capsys.readouterr().out)["scores"]["ema"]["depth"])
    assert [one["settings"]["max_depth"] for one in results] == [80.0, 12.0, 80.0]
    assert [one["settings"]["crop"] for one in results] == ["none", "none", "garg"]
    assert len({one["pixels"] for one in results}) == 3
    names = ("val-first2", "val-first2-max12", "val-first2-garg")
    stored = [json.loads((deep / "evaluation" / name / "scores.json").read_text()) for name in names]
    assert [one["scores"]["ema"]["depth"] for one in stored] == results
    with unchecked(), pytest.raises(FathomError, match="no crop 'gorg'"):
        scored(str(deep), **arguments(crop="gorg"))


def test_a_limit_has_a_folder_of_its_own_and_takes_images_with_depth(tmp_path: Path) -> None:
    kitti = Kitti(root=make_kitti(tmp_path / "kitti", layout="raw", frames=4))  # a drive's first frame has no depth
    folder = save_joint_run(tmp_path / "run", kitti, ["depth"], pose=False)
    whole = evaluate_run(folder, Scoring(weights="last"), report=False)
    result = evaluate_run(folder, Scoring(weights="last", limit=2), report=False)
    assert whole["scores"]["last"]["depth"]["images"] == 3
    assert result["scores"]["last"]["depth"]["images"] == 2
    assert {path.name for path in (folder / "evaluation").iterdir()} == {"val", "val-first2"}
    assert result["motion"] is None


def test_poses_alone_give_the_trajectory_alone(tmp_path: Path) -> None:
    kitti = Kitti(root=make_kitti(tmp_path / "kitti", layout="odometry", frames=6))
    folder = save_joint_run(tmp_path / "run", kitti)
    result = evaluate_run(folder)
    assert result["scores"] == {}
    assert result["motion"]["all"]["frames"] == 6
    assert list(result["meaning"]) == ["motion"]
    assert (folder / "evaluation" / "val" / "images.csv").read_text() == "id\n"


def test_what_is_missing_is_said(deep: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "own", labels=None)
    nothing = r"split 'train' of folder .* images has depth, and no clip of it has poses of 5 frames or more"
    with pytest.raises(FathomError, match=nothing):
        scored(str(deep), **arguments(data=str(folder), split="train"))
    short = Kitti(root=make_kitti(tmp_path / "kitti", layout="odometry", frames=4))
    with pytest.raises(FathomError, match="no clip of it has poses of 5 frames"):
        evaluate_run(deep, Scoring(dataset=short))
    with pytest.raises(FathomError, match="stored predictions tell nothing of camera motion"):
        evaluate_run(deep, Scoring(dataset=short, against=tmp_path))
    alone = save_joint_run(tmp_path / "alone", short, pose=False)
    with pytest.raises(FathomError, match=r"has a label or depth, and .*alone has no network for camera motion"):
        evaluate_run(alone)
    assert evaluate_run(alone, optional=True) == evaluate_run(alone, Scoring(split="test"), optional=True) == {}
    assert not (alone / "evaluation").exists()


def test_options_of_tasks_that_are_not_scored_are_refused(saved: Path, deep: Path, joint: Path) -> None:
    for folder, options, message in (
        (deep, {"mode": "slide"}, "leave out --mode"),
        (joint, {"mode": "slide", "tasks": "depth,motion"}, "leave out --mode"),
        (
            saved,
            {"crop": "garg"},
            "No depth of .*; --max-depth, --crop and --alignment are for runs with the task depth",
        ),
        (joint, {"max_depth": 8.0, "tasks": "segmentation"}, "--max-depth, --crop and --alignment"),
        (saved, {"tasks": "depth"}, "cannot be scored on 'depth'; --tasks may name segmentation"),
        (joint, {"tasks": "depth, normals"}, "'normals'; --tasks may name segmentation, depth, motion"),
        (joint, {"against": joint, "mode": "slide"}, "leave out --flip, --mode, --links"),
    ):
        with pytest.raises(FathomError, match=message):
            scored(str(folder), **arguments(**options))


@pytest.mark.slow
def test_stored_maps_of_the_network_score_as_the_network(deep: Path, tmp_path: Path) -> None:
    predictor = load(deep, device="cpu")
    for id in STREETS.ids("val"):
        path = tmp_path / "maps" / f"{id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, predictor.predict(STREETS.image(id)).depth)
    ours, theirs = (
        next(iter(evaluate_run(deep, Scoring(against=against, weights="ema"))["scores"].values()))["depth"]
        for against in (None, tmp_path / "maps")
    )
    for how in ("none", "median", "scale_shift"):
        assert theirs[how] == pytest.approx(ours[how], rel=1e-5)
    assert (deep / "evaluation" / "val-maps" / "report.html").is_file()


def test_the_protocol_is_part_of_the_result(deep: Path) -> None:
    result = evaluate_run(deep, Scoring(weights="ema", protocol=DepthProtocol(max_depth=20.0), limit=1), report=False)
    assert result["scores"]["ema"]["depth"]["settings"] == {
        "min_depth": 1e-3,
        "max_depth": 20.0,
        "crop": "none",
        "alignment": None,
    }
    aligned = DepthProtocol(alignment="scale_shift")
    chosen = evaluate_run(deep, Scoring(weights="ema", protocol=aligned, limit=1), report=False)
    assert chosen["scores"]["ema"]["depth"]["settings"]["alignment"] == "scale_shift"
    assert result["scores"]["ema"]["depth"]["scale_shift"]["abs_rel"] is not None
    meaning = evaluate_run(deep, Scoring(weights="ema"), report=False)["meaning"]
    assert {"abs_rel", "median"} <= set(meaning["depth"])
    assert "ate_m" in meaning["motion"]


# --- several tasks at once ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_joint_run_is_scored_on_everything_at_once(joint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(joint)])
    assert done.exit_code == 0, done.output
    for words in ("mIoU is the mean over the", "Means over 12 images", "Camera motion over 2 clips"):
        assert words in done.output
    folder = joint / "evaluation" / "val"
    assert {path.name for path in folder.iterdir()} == {"scores.json", "images.csv", "report.html"}
    result = json.loads((folder / "scores.json").read_text())
    assert set(result["scores"]) == {"ema", "last"}
    assert list(result["meaning"]) == [*BOTH, "motion"]
    page = (folder / "report.html").read_text()
    assert [page.count(f"<h2>{title}</h2>") for title in ("Segmentation", "Depth", "Camera motion")] == [1, 1, 1]
    assert page.count("<img") == 2 * 8 * 4 + 2
    rows = list(csv.DictReader((folder / "images.csv").read_text().splitlines()))
    assert len(rows) == 12
    for task in BOTH:  # each alone gives the same
        alone = evaluate_run(joint, Scoring(tasks=[task]), report=False)
        assert alone["motion"] is None
        for weights in ("ema", "last"):
            assert alone["scores"][weights] == {task: result["scores"][weights][task]}
        named = list(csv.DictReader((joint / "evaluation" / f"val-{task}" / "images.csv").read_text().splitlines()))
        assert all(own.items() <= row.items() for own, row in zip(named, rows, strict=True))
    alone = evaluate_run(joint, Scoring(tasks=["motion"]), report=False)
    assert (alone["scores"], alone["motion"]) == ({}, result["motion"])


def test_a_joint_run_on_data_with_labels_alone(joint: Path, tmp_path: Path, data: CamVid) -> None:
    with pytest.raises(FathomError, match="15 classes that are not the 11 classes of camvid"):
        evaluate_run(joint, Scoring(dataset=data))
    both = save_joint_run(tmp_path, data, pose=False)
    assert list(evaluate_run(both)["scores"]["ema"]) == ["segmentation"]


@pytest.mark.slow
def test_stored_predictions_of_a_joint_run_say_by_their_kind_of_which_task_they_are(
    joint: Path, tmp_path: Path
) -> None:
    predictor = load(joint, device="cpu")
    for id in STREETS.ids("val"):
        prediction = predictor.predict(STREETS.image(id))
        draw.write(tmp_path / "ids" / f"{id}.png", prediction.label)
        write_disparity(tmp_path / "disparity" / f"{id}.png", prediction.disparity)
    write_scale(tmp_path, RANGE)
    ours = evaluate_run(joint, Scoring(weights="ema"), report=False)["scores"]["ema"]
    for name, task in (("ids", "segmentation"), ("disparity", "depth")):
        theirs = evaluate_run(joint, Scoring(against=tmp_path / name))["scores"]["predictions"]
        assert list(theirs) == [task]
        if task == "depth":
            assert theirs[task]["median"] == pytest.approx(ours[task]["median"], rel=1e-2)
        else:
            assert theirs[task]["miou"] == ours[task]["miou"]
        assert (joint / "evaluation" / f"val-{name}" / "report.html").is_file()
    with pytest.raises(FathomError, match="Say with --tasks which of segmentation, depth"):
        evaluate_run(joint, Scoring(against=tmp_path))
    evaluate_run(joint, Scoring(against=tmp_path / "ids", tasks=["segmentation"]), report=False)
    assert (joint / "evaluation" / "val-ids-segmentation").is_dir()


@pytest.fixture(scope="module")
def singles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A scored run for each task."""
    folder = tmp_path_factory.mktemp("singles")
    found = {task: save_joint_run(folder / task, STREETS, [task], pose=False, seed=5) for task in BOTH}
    for one in found.values():
        evaluate_run(one, report=False, as_json=True)
    return found


class TestBaselines:
    """Delta_m against runs of one task each."""

    @pytest.mark.slow
    def test_delta_m_is_the_mean_of_signed_relative_changes(
        self, joint: Path, singles: dict[str, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = [f"{task}={run}" for task, run in singles.items()]
        capsys.readouterr()
        scored(str(joint), **arguments(baseline=given, report=True))
        found = json.loads((joint / "evaluation/val/scores.json").read_text())
        base = {t: json.loads((r / "evaluation/val/scores.json").read_text())["scores"] for t, r in singles.items()}
        own = found["scores"]["ema"]
        iou, before = own["segmentation"]["miou"], base["segmentation"]["ema"]["segmentation"]["miou"]
        rmse, rmse_before = own["depth"]["median"]["rmse"], base["depth"]["ema"]["depth"]["median"]["rmse"]
        parts = found["delta_m"]["ema"]["tasks"]
        assert parts["segmentation"]["change"] == pytest.approx(iou / before - 1)
        assert parts["depth"]["change"] == pytest.approx(1 - rmse / rmse_before)
        assert found["delta_m"]["ema"]["delta_m"] == pytest.approx((iou / before - rmse / rmse_before) / 2)
        assert parts["depth"]["run"] == str(singles["depth"])
        page = (joint / "evaluation/val/report.html").read_text()
        assert "Several tasks at once" in page
        assert f"{100 * parts['depth']['change']:+.2f}" in page

    @pytest.mark.slow
    def test_against_itself_it_is_0(self, joint: Path) -> None:
        evaluate_run(joint, report=False, as_json=True)
        result = evaluate_run(joint, Scoring(baselines=dict.fromkeys(BOTH, joint)), report=False)
        assert {weights: one["delta_m"] for weights, one in result["delta_m"].items()} == {"ema": 0, "last": 0}

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (["depth={segmentation}"], r"has no task 'depth'; it has segmentation"),
            (["normals={depth}"], r"give one run, or TASK=RUN for each of the tasks segmentation, depth"),
            (["{depth}"], r"has no task 'segmentation'"),
        ],
    )
    def test_what_is_no_baseline(self, joint: Path, singles: dict[str, Path], given: list[str], message: str) -> None:
        with pytest.raises(FathomError, match=message):
            scored(str(joint), **arguments(limit=1, baseline=[one.format(**singles) for one in given]))

    def test_a_baseline_must_be_scored_in_the_same_way(self, joint: Path, singles: dict[str, Path]) -> None:
        with pytest.raises(FathomError, match=r"val-first1/scores\.json: score it first, by `fathom evaluate"):
            evaluate_run(joint, Scoring(limit=1, baselines=singles), report=False)

    def test_a_baseline_of_other_data_is_compared_on_the_same_images(self, joint: Path, tmp_path: Path) -> None:
        """It was trained in another city, and its own scores are of that."""
        away = STREETS.model_copy(update={"seed": 1})
        other = save_joint_run(tmp_path / "other", away, ["segmentation"], pose=False)
        how = Scoring(limit=1, weights="ema")
        asked = replace(how, tasks=["segmentation"], baselines={"segmentation": other})
        evaluate_run(other, how, report=False)
        with pytest.raises(FathomError, match=r"no evaluation/val-on-streets-\w{6}-first1/.*and the same data"):
            evaluate_run(joint, asked, report=False)
        evaluate_run(other, replace(how, dataset=STREETS), report=False)
        assert evaluate_run(joint, asked, report=False)["delta_m"]["ema"]["delta_m"] is not None
        (file,) = (other / "evaluation").glob("val-on-streets-*-first1/scores.json")
        known = json.loads(file.read_text())
        for key, value, words in (("images", 7, "images is 7, not 1"), ("pixels", 5, "pixels is 5, not")):
            scores = {"ema": {"segmentation": {**known["scores"]["ema"]["segmentation"], key: value}}}
            file.write_text(json.dumps({**known, "scores": scores}))
            with pytest.raises(FathomError, match=f"scored in another way: {words}"):
                evaluate_run(joint, asked, report=False)
        file.write_text(json.dumps({**known, "inference": {**known["inference"], "flip": True}}))
        with pytest.raises(FathomError, match="flip is True, not False"):
            evaluate_run(joint, asked, report=False)

    def test_what_concerns_a_baseline(self, tmp_path: Path) -> None:
        """A mirror all; windows and the range of depths only some; its links are its own."""
        given = (STREETS, [], Inference(flip=True, mode="slide", links=False), DepthProtocol(max_depth=10))
        places = {}
        for task in BOTH:
            single = save_joint_run(tmp_path / task, STREETS, [task], pose=False)
            places[task] = of_baseline(single, "val", *given)
        assert places == {"segmentation": "val-slide-flip", "depth": "val-flip-max10"}
        config = tmp_path / "depth" / "config.yaml"
        config.write_text(f"{config.read_text()}evaluation: {{inference: {{flip: true}}}}\n")
        assert of_baseline(tmp_path / "depth", "val", *given) == "val-max10"
        assert of_baseline(tmp_path / "depth", "val", STREETS, ["first3"], Inference(), DepthProtocol()) == (
            "val-first3-no-flip"
        )
