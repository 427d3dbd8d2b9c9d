"""`fathom demo` through the command line, with a smaller network and smaller pictures."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import fathomseg
from fathomseg.cli import app
from fathomseg.config import validate
from fathomseg.draw import colourise
from fathomseg.errors import FathomError
from fathomseg.stages import demo
from fathomseg.stages.recipe import Recipe
from tests.stages import tiny

HEIGHT, WIDTH = 48, 96
SMALL = {
    **demo.SETTINGS,
    "data": {"name": "streets", "size": [HEIGHT, WIDTH], "train_clips": 12, "val_clips": 3, "frames": 2},
    "size": [HEIGHT, WIDTH],
    "network": tiny.settings(Path())["network"],
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SETTINGS", SMALL)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a demo of a second or two, and what it said."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "SETTINGS", SMALL)
        done = CliRunner().invoke(app, ["demo", "--minutes", "0.01", "--out", str(folder)])
    assert done.exit_code == 0, (done.output, done.exception)
    return folder, done.stderr


def place(part: np.ndarray, picture: np.ndarray) -> tuple[int, int]:
    """Row and column where `part` is found in `picture`, but for what JPEG changes."""
    _, likeness, _, (left, top) = cv2.minMaxLoc(cv2.matchTemplate(picture, part, cv2.TM_CCOEFF_NORMED))
    assert likeness > 0.9
    return top, left


def test_the_picture_shows_images_truth_predictions_and_errors(said: tuple[Path, str]) -> None:
    picture = np.asarray(Image.open(said[0] / "predictions.jpg"))
    assert picture.shape[1] == 4 * WIDTH + 3 * 4
    assert demo.SHOWN * HEIGHT < picture.shape[0] < 2 * demo.SHOWN * HEIGHT
    world = validate(Recipe, SMALL).data
    predictor = fathomseg.load(said[0] / "run", device="cpu")
    tops = []
    for id in demo.spread(world.ids("val"), demo.SHOWN):
        image, truth = world.image(id), world.label(id)
        assert truth is not None
        found = [place(part, picture) for part in (image, colourise(truth, world.classes))]
        assert [left for _, left in found] == [0, WIDTH + 4]
        assert found[0][0] == found[1][0]
        tops.append(found[0][0])
        prediction, wrong = (picture[tops[-1] : tops[-1] + HEIGHT, k * (WIDTH + 4) :][:, :WIDTH] for k in (2, 3))
        expected = predictor.predict(image).label
        assert np.abs(prediction - colourise(expected, world.classes).astype(int)).mean() < 8
        red = (wrong[..., 0].astype(int) - wrong[..., 1]) > 90
        assert (red == (expected != truth)).mean() > 0.95
    assert tops == sorted(set(tops))


def test_the_run_is_complete_and_what_was_said_is_true(said: tuple[Path, str]) -> None:
    out, text = said
    run = out / "run"
    report = run / "evaluation" / "val" / "report.html"
    for file in (report, *(run / name for name in ("config.yaml", "model.json", "model.safetensors", "metrics.jsonl"))):
        assert file.stat().st_size > 0
    assert len((run / "labelled.txt").read_text().split()) == 12
    for named in (out / "predictions.jpg", report, f"fathom predict {run} "):
        assert str(named) in text
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"12 labelled images of a generated city for {last['step']} steps" in text
    assert last["step"] >= 20
    miou = json.loads((report.parent / "scores.json").read_text())["scores"]["ema"]["miou"]
    assert f"mIoU {100 * miou:.1f} %" in text


def test_a_demo_never_overwrites_another(said: tuple[Path, str]) -> None:
    before = sorted(path for path in said[0].rglob("*"))
    done = CliRunner().invoke(app, ["demo", "--minutes", "0.01", "--out", str(said[0])])
    assert isinstance(done.exception, FathomError)
    assert "exists and is not empty" in str(done.exception)
    assert "give another folder (--out), or delete it" in str(done.exception)
    assert sorted(said[0].rglob("*")) == before


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_minutes_must_be_positive(minutes: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["demo", "--minutes", minutes, "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, FathomError)
    assert f"--minutes is {minutes}; give a positive number" in str(done.exception)
    assert not (tmp_path / "out").exists()
