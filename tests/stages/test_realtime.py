"""The real-time joint network through the real command line: trained, scored and used for all three tasks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fathomseg.data.datasets.streets import Streets
from fathomseg.inference.predictor import load
from fathomseg.io.depth_maps import read_disparity
from fathomseg.io.normal_maps import read_normals
from tests.command import fathom

pytestmark = pytest.mark.slow

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "realtime-joint.yaml"
SMALL = [
    *("train.steps=2", "train.batch=2", "train.device=cpu", "size=[48,96]", "data.size=[48,96]"),
    *("data.train_clips=1", "data.val_clips=1", "data.frames=4", "streams.labelled.labels.count=2"),
    "network.encoder.pretrained=none",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("realtime") / "run"
    fathom("train", RECIPE, *SMALL, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    streets = Streets(size=(60, 100), train_clips=1, val_clips=1, frames=2)
    path = tmp_path_factory.mktemp("photos") / "a.png"
    Image.fromarray(streets.image(streets.ids("val")[0])).save(path)
    return path


def test_all_tasks_are_learned_and_scored(run: Path) -> None:
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    names = {key for line in logged for key in line}
    for task in ("segmentation", "depth", "normals"):
        assert any(name.endswith(f".{task}") for name in names)
    scores = json.loads((run / "evaluation" / "val" / "scores.json").read_text())
    assert set(scores["scores"]["ema"]) == {"segmentation", "depth", "normals"}
    assert 0 < scores["scores"]["ema"]["normals"]["mean"] < 180
    assert "Surface normals" in (run / "evaluation" / "val" / "report.html").read_text()
    card = json.loads((run / "model.json").read_text())
    assert card["depth_unit"] == "metres"
    names = load(run, device="cpu").network.state_dict()
    assert {name.split(".")[1] for name in names if name.startswith("decoders.")} == {"segmentation"}


def test_all_tasks_are_predicted(run: Path, photo: Path, tmp_path: Path) -> None:
    fathom("predict", run, photo.parent, "--out", tmp_path, "--flip", "--device", "cpu")
    prediction = load(run, device="cpu").predict(photo)
    assert prediction.normals.shape == (60, 100, 3)
    np.testing.assert_allclose(np.linalg.norm(prediction.normals, axis=2), 1, atol=1e-4)
    assert ((prediction.depth >= 1.0 - 1e-5) & (prediction.depth <= 80.0 + 1e-3)).all()
    assert json.loads((tmp_path / "depth.json").read_text())["unit"] == "metres"
    assert "towards the camera" in (tmp_path / "normals.json").read_text()
    assert read_normals(tmp_path / "normals" / "a.png").shape == (60, 100, 3)
    assert read_disparity(tmp_path / "disparity" / "a.png").shape == (60, 100)
    assert (tmp_path / "normal-views" / "a.jpg").is_file()


def test_stored_normals_score_as_the_network_does(run: Path, tmp_path: Path) -> None:
    streets = Streets(size=(48, 96), train_clips=1, val_clips=1, frames=4)
    for id in streets.ids("val"):
        path = tmp_path / "in" / f"{id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(streets.image(id)).save(path)
    fathom("predict", run, tmp_path / "in", "--out", tmp_path / "out", "--device", "cpu")
    fathom("evaluate", run, "--against", tmp_path / "out" / "normals", "--no-report")
    (folder,) = (run / "evaluation").glob("val-normals*")
    stored = json.loads((folder / "scores.json").read_text())["scores"]["predictions"]["normals"]
    own = json.loads((run / "evaluation" / "val" / "scores.json").read_text())["scores"]["ema"]["normals"]
    assert stored == pytest.approx(own, abs=0.011)


def test_a_run_begins_with_the_decoder_that_another_run_shares(run: Path, tmp_path: Path) -> None:
    again = ["train.steps=1", f"init_from.run={run}", "init_from.parts=[encoder,decoder,head]"]
    said = fathom("train", RECIPE, *SMALL, *again, "--out", tmp_path / "again")
    assert "tensors loaded" in said
    assert "begins anew" not in said
