"""Scores through the whole stage, against numpy; predictions stored by others."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fathomseg.data.datasets.camvid import CamVid
from fathomseg.errors import DataError, FathomError
from fathomseg.evaluation.scoring import FromNetwork, score
from fathomseg.evaluation.stored import FromFolder
from fathomseg.inference.predictor import Inference, Window, load
from fathomseg.io import draw
from fathomseg.stages.evaluate import evaluate_network, evaluate_run, run
from tests.fakes import make_camvid, make_folder
from tests.stages.saved_run import save_run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CamVid:
    return CamVid(root=make_camvid(tmp_path_factory.mktemp("data"), train=2, val=5, size=(37, 50)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, data: CamVid) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "a <b>run"
    return save_run(folder, data.classes, data.model_dump(mode="json"))


def arguments(**changes: Any) -> dict[str, Any]:
    defaults = {"data": None, "overrides": [], "split": "val", "weights": "ema", "mode": None}
    return {**defaults, "against": None, "as_json": True, "report": False, "limit": None, **changes}


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
    assert run(str(saved), **arguments(weights="both")) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)  # nothing but JSON on standard output
    ids = data.ids("val")
    truths = [data.label(id) for id in ids]
    values = {}
    for weights in ("ema", "last"):
        predictor = load(saved, weights, "cpu")
        predictions = [predictor.predict(data.image(id)).label for id in ids]
        values[weights] = oracle(predictions, truths, len(data.classes))
        assert result["scores"][weights]["miou"] == pytest.approx(values[weights], rel=1e-12)
    assert values["ema"] != values["last"]
    assert result["scores"]["ema"]["images"] == 5
    assert result["scores"]["ema"]["pixels"] == sum(int((t != 255).sum()) for t in truths)


def test_files_hold_what_was_printed(saved: Path, data: CamVid, capsys: pytest.CaptureFixture[str]) -> None:
    run(str(saved), **arguments(report=True))
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


def test_a_table_is_printed_without_json(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(str(saved), **arguments(as_json=False, weights="both", limit=2))
    out = capsys.readouterr().out
    assert "mIoU is the mean over the" in out
    assert "of the 2 images" in out
    assert "averaged weights (EMA)" in out
    assert "building" in out


def test_a_limit_does_not_replace_the_scores_of_the_whole_split(saved: Path) -> None:
    evaluate_run(saved, report=False, as_json=True)
    result = evaluate_run(saved, report=False, as_json=True, limit=3)
    assert result["scores"]["ema"]["images"] == result["limit"] == 3
    folder = saved / "evaluation"
    stored = [json.loads((folder / name / "scores.json").read_text()) for name in ("val", "val-first3")]
    assert [one["scores"]["ema"]["images"] for one in stored] == [5, 3]
    with pytest.raises(FathomError, match="at least 1"):
        evaluate_run(saved, limit=0)


def test_mode_and_overrides_reach_the_network(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = []
    flipped = "evaluation.inference.flip=true"
    for changes in ({}, {"mode": "slide"}, {"mode": "slide", "overrides": [flipped]}, {"mode": "slide", "flip": True}):
        run(str(saved), **arguments(**changes))
        results.append(json.loads(capsys.readouterr().out))
    assert [one["inference"]["mode"] for one in results] == ["whole", "slide", "slide", "slide"]
    assert [one["inference"]["flip"] for one in results] == [False, False, True, True]
    assert len({one["scores"]["ema"]["miou"] for one in results}) == 3
    assert results[2]["scores"] == results[3]["scores"]
    names = ("val", "val-slide", "val-slide-flip")  # what is scored in another way does not replace the run's own
    stored = [json.loads((saved / "evaluation" / name / "scores.json").read_text()) for name in names]
    assert stored == [results[0], results[1], results[3]]


def test_every_other_way_to_score_has_a_folder_of_its_own(saved: Path) -> None:
    usual = Inference()
    changes = ({"size": (64, 96)}, {"window": Window(size=(32, 48), stride=0.5)}, {"mode": "slide", "flip": True})
    for change in changes:
        evaluate_run(saved, weights="ema", limit=1, report=False, inference=usual.model_copy(update=change))
    folders = {path.name for path in (saved / "evaluation").glob("val-first1*")}
    wanted = {"val-first1-64x96", "val-first1-window-32x48-stride-0.5", "val-first1-slide-flip"}
    assert wanted <= folders


def test_stored_predictions_cannot_be_flipped(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="leave out --flip"):
        run(str(saved), **arguments(against=tmp_path, flip=True))


class Pointwise(nn.Module):
    """Every pixel is the class of its brightest channel."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"segmentation": 20 * image}


class Three(CamVid):
    """A data set of one 3x3 image and label, worked by hand in tests/test_metrics.py."""

    def ids(self, split: str) -> tuple[str, ...]:
        return ("one",)

    def image(self, id: str) -> np.ndarray:
        guess = np.array([[0, 1, 1], [0, 1, 1], [2, 0, 0]])
        return (np.eye(3)[guess] * 255).astype(np.uint8)

    def label(self, id: str) -> np.ndarray:
        return np.array([[0, 0, 1], [0, 1, 1], [2, 2, 255]], np.uint8)


def test_evaluate_network_by_hand_leaves_the_network_in_training(tmp_path: Path) -> None:
    network = Pointwise().train()
    dataset = Three(root=tmp_path)
    scores = evaluate_network(network, dataset, ["one"], Inference(), (3, 3), "cpu")
    assert scores["miou"] == pytest.approx((2 / 4 + 3 / 4 + 1 / 2) / 3)
    assert (scores["pixel_accuracy"], scores["classes_present"]) == (6 / 8, 3)
    assert scores["ece"] == pytest.approx(abs(6 / 8 - 1), abs=1e-6)
    assert network.training
    assert not any(tmp_path.iterdir())


def test_classes_must_be_those_of_the_data(saved: Path, tmp_path: Path) -> None:
    other = make_folder(tmp_path)
    with pytest.raises(
        FathomError,
        match=r"(?s)11 classes that are not the 3 .*class 0: 'sky' in the run, 'road' in the data.*class 3: .* only",
    ):
        run(str(saved), **arguments(data=str(other)))


def test_a_split_without_labels_says_so(saved: Path, tmp_path: Path) -> None:
    unlabelled = make_folder(tmp_path, labels=None)
    with pytest.raises(FathomError, match=r"None of the \d+ images of split 'train' of folder has a label"):
        run(str(saved), **arguments(data=str(unlabelled), split="train"))
    with pytest.raises(FathomError, match="test2"):
        run(str(saved), **arguments(split="test2"))


def test_wrong_names_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="no weights 'best'; choose from ema, last, both"):
        run(str(saved), **arguments(weights="best"))
    with pytest.raises(FathomError, match=r"holds no config\.yaml .* Give the folder of a run, or --data"):
        run(str(tmp_path), **arguments())


def test_a_corrupt_image_is_named_after_all_others_were_tried(data: CamVid, saved: Path, tmp_path: Path) -> None:
    copy = CamVid(root=make_camvid(tmp_path, train=1, val=3, size=(37, 50)))
    first, _, third = copy.ids("val")
    for id in (first, third):
        (tmp_path / f"{id}.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        score(FromNetwork(load(saved, device="cpu"), copy), copy, copy.ids("val"))
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
    run(str(saved), **arguments(against=folder, report=True))
    result = json.loads(capsys.readouterr().out)
    truths = [data.label(id) for id in data.ids("val")]
    predictions = [np.where(np.roll(t, 1, 1) == 255, 0, np.roll(t, 1, 1)) for t in truths]
    expected = oracle(predictions, truths, len(data.classes))
    assert result["scores"]["predictions"]["miou"] == pytest.approx(expected, rel=1e-12)
    assert 0.1 < expected < 1
    assert result["scores"]["predictions"]["ece"] is None
    assert (saved / "evaluation" / "val-theirs" / "report.html").is_file()


def test_stored_predictions_of_the_network_score_as_the_network(
    saved: Path, data: CamVid, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for id in data.ids("val"):
        draw.write(tmp_path / f"{id}.png", load(saved, device="cpu").predict(data.image(id)).label)
    results = [evaluate_run(saved, against=against, weights="ema", report=False) for against in (None, tmp_path)]
    ours, theirs = (next(iter(result["scores"].values())) for result in results)
    assert {**ours, "ece": None, "calibration": None} == theirs


def test_everything_wrong_with_stored_predictions_is_listed_at_once(saved: Path, data: CamVid, tmp_path: Path) -> None:
    store(tmp_path, data)
    missing, small, foreign, colour, _ = (tmp_path / f"{id}.png" for id in data.ids("val"))
    missing.unlink()
    draw.write(small, np.zeros((10, 20), np.uint8))
    draw.write(foreign, np.full((37, 50), 77, np.uint8))
    draw.write(colour, np.random.default_rng(0).integers(0, 255, (37, 50, 3), dtype=np.uint8))
    with pytest.raises(DataError) as caught:
        evaluate_run(saved, against=tmp_path, report=False)
    reasons = [problem.reason for problem in caught.value.problems]
    assert len(reasons) == 4
    for expected, reason in zip(
        ("no prediction", "10 x 20 but its label is 37 x 50", "holds 77", "colour image"), reasons, strict=True
    ):
        assert expected in reason


def test_a_missing_folder_is_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=r"no folder .*nowhere"):
        evaluate_run(saved, against=tmp_path / "nowhere", report=False)


def test_a_flat_file_never_serves_two_samples(tmp_path: Path) -> None:
    draw.write(tmp_path / "000.png", np.zeros((2, 2), np.uint8))
    draw.write(tmp_path / "b" / "001.png", np.zeros((2, 2), np.uint8))
    draw.write(tmp_path / "c" / "b" / "002.png", np.zeros((2, 2), np.uint8))
    draw.write(tmp_path / "d" / "b" / "002.png", np.zeros((2, 2), np.uint8))
    source = FromFolder(tmp_path, 2, ("val/a/000", "val/b/000", "val/a/001", "val/b/001", "b/002"))
    assert source.path("val/b/001") == tmp_path / "b" / "001.png"
    for id, reason in (
        ("val/a/000", "might be the prediction of val/b/000 too"),
        ("val/a/001", "has no prediction"),  # b/001.png is not its own
        ("b/002", "has 2 predictions"),
    ):
        with pytest.raises(DataError, match=reason):
            source.path(id)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_scores_are_close_to_those_of_the_cpu(saved: Path, data: CamVid) -> None:
    mious = [
        score(FromNetwork(load(saved, "ema", device), data), data, data.ids("val"), device)[0]["miou"]
        for device in ("cpu", "cuda")
    ]
    assert mious[0] == pytest.approx(mious[1], abs=0.02)
