"""`fathom export` from a run folder to a file that predicts and scores like the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from PIL import Image

import fathomseg
from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.folder import Folder
from fathomseg.errors import FathomError
from fathomseg.inference import export as exporting
from fathomseg.inference.card import load_card
from fathomseg.inference.onnx import read_metadata
from fathomseg.inference.settings import Inference
from fathomseg.io.depth_maps import read_disparity
from fathomseg.stages import export, predict
from fathomseg.stages.evaluate import Scoring, evaluate_run, scored
from tests.fakes import make_camvid, make_folder, make_video, save, scene, write_yaml
from tests.inference.tiny_onnx import known_model, save_known
from tests.stages.saved_joint_run import BOTH, RANGE, save_joint_run
from tests.typecheck import unchecked


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both tasks, with links."""
    folder = tmp_path_factory.mktemp("joint")
    make_camvid(folder / "data", train=5, val=3, size=(72, 100))
    return save_joint_run(folder / "run", CamVid(root=folder / "data"), size=(64, 96))


@pytest.fixture(scope="module")
def exported(joint: Path) -> Path:
    file = joint.parent / "joint.onnx"
    with unchecked():  # symbolic sizes are no ints
        assert export.exported(joint, file) == file
    return file


@pytest.fixture
def at_once(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The minute that PyTorch takes is not spent again: the network has been exported."""

    def known(*_: Any) -> Any:
        model = onnx.load(exported)
        del model.metadata_props[:]
        return model

    monkeypatch.setattr(export, "to_onnx", known)


@pytest.mark.slow
def test_the_file_predicts_like_the_run(joint: Path, exported: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for i, size in enumerate([(64, 96), (71, 120)]):
        save(photos / f"{i}.png", scene(i, size, 6)[0])
    for source, out in ((joint, "run"), (exported, "onnx")):
        assert not predict.predicted(str(source), str(photos), str(tmp_path / out), device="cpu").problems
    for name in ("0.png", "1.png"):
        labels = [np.asarray(Image.open(tmp_path / out / "ids" / name)) for out in ("run", "onnx")]
        assert (labels[0] == labels[1]).mean() > 0.999
        disparities = [read_disparity(tmp_path / out / "disparity" / name) for out in ("run", "onnx")]
        np.testing.assert_allclose(*disparities, atol=1e-3)
        assert disparities[0].std() > 0.01
    image = scene(5, (80, 100), 6)[0]
    mine, theirs = (fathomseg.load(source, device="cpu").predict(image) for source in (exported, joint))
    np.testing.assert_allclose(mine.depth, theirs.depth, rtol=1e-3)
    np.testing.assert_allclose(mine.confidence, theirs.confidence, atol=1e-3)


@pytest.mark.slow
def test_the_file_scores_like_the_run(joint: Path, exported: Path) -> None:
    theirs = evaluate_run(joint, Scoring(weights="ema"), report=False)["scores"]["ema"]["segmentation"]
    found = evaluate_run(exported)
    mine = found["scores"]["onnx"]["segmentation"]
    assert mine["miou"] == pytest.approx(theirs["miou"], abs=1e-3)
    assert mine["pixel_accuracy"] == pytest.approx(theirs["pixel_accuracy"], abs=1e-3)
    written = exported.with_suffix(".evaluation") / "val"
    assert json.loads((written / "scores.json").read_text())["scores"]["onnx"]["segmentation"]["miou"] == mine["miou"]
    assert "exported network" in (written / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_metadata_of_an_export(joint: Path, exported: Path) -> None:
    known = read_metadata(exported)
    assert (known["tasks"], known["size"], known["precision"]) == (list(BOTH), [64, 96], "fp32")
    assert known["classes"] == list(CamVid(root=joint.parent / "data").classes.names)
    assert (known["depth"]["nearest"], known["depth"]["farthest"]) == RANGE
    assert (known["origin"]["run"], known["origin"]["weights"]) == (str(joint), "ema")
    assert "date" in known["origin"]


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_int8_says_what_it_costs(joint: Path, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = joint.parent / "small.onnx"
    assert export.exported(joint, small, precision="int8", limit=2) == small
    said = capsys.readouterr().err
    assert "segmentation: miou 0." in said
    assert "[camvid val, 2 images]" in said
    assert small.stat().st_size < 0.45 * exported.stat().st_size
    known = read_metadata(small)
    assert known["precision"] == "int8"
    assert known["measured"]["images"] == 2
    full = evaluate_run(joint, Scoring(weights="ema", limit=2), report=False)["scores"]["ema"]["segmentation"]
    assert known["measured"]["fp32"]["segmentation"]["miou"] == pytest.approx(full["miou"], abs=1e-6)
    quantised = evaluate_run(small, Scoring(limit=2), report=False)["scores"]["onnx"]["segmentation"]
    assert known["measured"]["int8"]["segmentation"]["miou"] == pytest.approx(quantised["miou"], abs=1e-6)


def test_int8_is_calibrated_on_nothing_that_is_held_out(tmp_path: Path) -> None:
    """A folder of video that has no labels yet has splits val and clips."""
    data = make_folder(tmp_path / "data", images=0, labels=None, clips=2, frames=3)
    path = data / "dataset.yaml"
    write_yaml(path, yaml.safe_load(path.read_text()) | {"val": ["clips/drive1/*"]})
    dataset = Folder(root=data)
    assert dataset.splits[0] == "val"
    found = export._calibration(tmp_path, None, str(data), [], lambda _: (24, 32))
    assert len(found) == 3
    for image, id in zip(found, (f"clips/drive0/{i:06d}" for i in range(3)), strict=True):
        np.testing.assert_array_equal(image, dataset.image(id))


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_int8_without_the_data(joint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    for name in ("model.json", "model.safetensors"):
        (tmp_path / "run" / name).write_bytes((joint / name).read_bytes())
    with pytest.raises(FathomError, match=r"int8 needs images: give the data \(--data\)"):
        export.exported(tmp_path / "run", tmp_path / "small.onnx", int8=True)
    photos = tmp_path / "photos"
    with pytest.raises(FathomError, match="holds no images to calibrate with"):
        export.exported(tmp_path / "run", tmp_path / "small.onnx", int8=True, calibration=photos)
    for i in range(3):
        save(photos / f"{i}.png", scene(i, (30, 40), 6)[0])
    export.exported(tmp_path / "run", tmp_path / "small.onnx", int8=True, calibration=photos)
    assert "the loss of int8 was not measured" in capsys.readouterr().err
    assert "measured" not in read_metadata(tmp_path / "small.onnx")


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_nothing_is_half_written(joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", 0.0)
    with pytest.raises(FathomError, match=r"not PyTorch's: segmentation differs by .*Nothing was written"):
        export.exported(joint, tmp_path / "kept.onnx")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "kept.onnx").write_bytes(b"of somebody else")
    with pytest.raises(FathomError, match="is no export that could be replaced"):
        export.exported(joint, tmp_path / "kept.onnx")
    assert (tmp_path / "kept.onnx").read_bytes() == b"of somebody else"


@pytest.mark.parametrize("fixed", [False, True])
def test_int8_is_calibrated_and_measured_at_the_size_of_use(
    joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fixed: bool
) -> None:
    """Images of 2:3 and of 1:1; the network was trained at 64 x 96."""
    seen: list[Any] = []
    monkeypatch.setattr(export, "to_onnx", lambda *_: known_model())
    monkeypatch.setattr(export, "check", lambda *_: 0.0)
    monkeypatch.setattr(export, "to_int8", lambda model, images, _: seen.extend(x.shape[:2] for x in images) or model)
    monkeypatch.setattr(export, "_measured", lambda exact, small, *_: seen.append(small.inference.size) or {"fp32": {}})
    monkeypatch.setattr(export, "_said", lambda *_: [])
    for number, size in enumerate([(80, 120), (70, 70)]):
        save(tmp_path / f"photos/{number}.png", scene(number, size, 6)[0])
    file = tmp_path / "small.onnx"
    export.exported(joint, file, int8=True, calibration=tmp_path / "photos", fixed_size=fixed)
    square = Inference().size_for((64, 96), (70, 70))
    assert square[0] == square[1]
    assert seen == [(64, 96), (64, 96) if fixed else square, (64, 96) if fixed else None]
    assert read_metadata(file)["inference"]["size"] == ([64, 96] if fixed else None)


LINKS_OFF = ["evaluation.inference.links=false"]


@pytest.mark.parametrize("tasks", [None, "segmentation"])
def test_a_file_without_links_is_exported_checked_and_measured_so(
    joint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tasks: str | None,
) -> None:
    on: list[bool] = []

    def note(network: Any, *_: Any) -> float:
        on.append(network.links.on)
        return 0.0

    def measured(exact: Any, small: Any, *_: Any) -> dict[str, Any]:
        on.append(exact.network.links.on)
        assert exact.inference == small.inference == Inference()
        return {"fp32": {}}

    monkeypatch.setattr(export, "to_onnx", lambda *given: note(*given) or known_model())
    monkeypatch.setattr(export, "check", lambda model, network, *_: note(network))
    monkeypatch.setattr(export, "to_half", lambda model: model)
    monkeypatch.setattr(export, "_measured", measured)
    monkeypatch.setattr(export, "_said", lambda *_: [])
    for number, overrides in enumerate((LINKS_OFF, [])):
        file = tmp_path / f"{number}.onnx"
        assert export.exported(joint, file, tasks=tasks, precision="fp16", overrides=overrides) == file
        assert read_metadata(file)["inference"]["links"] is True
        assert (load_card(file).network.links.name == "none") == (bool(overrides) or tasks is not None)
        assert fathomseg.load(file).inference == Inference()
    assert on == [False] * 3 + [True] * 3
    waits = f"exporting {tasks or 'segmentation, depth'} ...\ncomparing with PyTorch ...\nrounding to fp16 ...\n"
    assert waits in capsys.readouterr().err


@pytest.mark.long
def test_a_file_without_links_predicts_like_the_run_without_them(joint: Path, tmp_path: Path) -> None:
    file = tmp_path / "apart.onnx"
    with unchecked():
        assert export.exported(joint, file, tasks="segmentation", fixed_size=True, overrides=LINKS_OFF) == file
    image = scene(5, (64, 96), 6)[0]
    mine = fathomseg.load(file, device="cpu").predict(image)
    apart, linked = (
        fathomseg.load(joint, device="cpu", inference=Inference(links=on), tasks=["segmentation"]).predict(image)
        for on in (False, True)
    )
    np.testing.assert_allclose(mine.confidence, apart.confidence, atol=1e-3)
    assert np.abs(mine.confidence - linked.confidence).max() > 0.01


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"out": Path("model.pt")}, r"model\.pt must end in \.onnx"),
        ({"precision": "bf16"}, "no precision 'bf16'; choose from fp32, fp16, int8"),
        ({"precision": "fp16", "int8": True}, "--int8 and --precision fp16 exclude each other"),
        ({"calibration": Path("photos")}, "--calibration is for --precision int8"),
        ({"limit": 0}, "--limit is 0"),
        ({"tasks": "normals"}, "has no task 'normals'; it predicts segmentation, depth"),
        ({"weights": "best"}, "no weights 'best'"),
        ({"overrides": ["data.root=photos"]}, "settings of the data are for --precision fp16 and int8"),
        (
            {"fixed_size": True, "overrides": ["evaluation.inference.mode=slide"]},
            "cannot be shown windows.*evaluation.inference.mode=whole",
        ),
    ],
)
def test_what_cannot_be_asked_for(joint: Path, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(FathomError, match=said):
        export.exported(joint, **{"out": tmp_path / "model.onnx", **change})
    assert not list(tmp_path.iterdir())


def test_a_file_knows_the_data_of_its_run_where_that_is(tmp_path: Path) -> None:
    """With a network that is known: red is class 0."""
    data = make_folder(tmp_path / "data", images=4, size=(24, 32))
    text = (data / "dataset.yaml").read_text().replace("road", "red").replace("car", "green").replace("sky", "blue")
    (data / "dataset.yaml").write_text(text)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(json.dumps({"data": {"name": "folder", "root": str(data)}}))
    here = save_known(tmp_path / "here.onnx", run=str(run))
    found = evaluate_run(here, report=False)
    assert found["scores"]["onnx"]["segmentation"]["miou"] >= 0
    gone = save_known(tmp_path / "gone.onnx", run="runs/gone")
    with pytest.raises(FathomError, match=r"exported from the run runs/gone, which is not here: say which data"):
        evaluate_run(gone)
    arguments: dict[str, Any] = {
        **dict.fromkeys(("mode", "against", "limit", "tasks", "max_depth", "crop")),
        **{"overrides": [], "split": "val", "weights": "both", "json": True, "report": False},
    }
    scored(str(gone), data=str(data), **arguments)


def test_frames_per_second_of_a_video_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = save_known(tmp_path / "known.onnx")
    source = make_video(tmp_path / "drive.mp4", [scene(7, (32, 48), 3, shift=i)[0] for i in range(4)])
    assert not predict.predicted(str(file), str(source), str(tmp_path / "out")).problems
    said = capsys.readouterr().err
    assert "(4 frames, " in said
    assert "frames/s)" in said
    assert (tmp_path / "out" / "together" / "drive.mp4").is_file()
