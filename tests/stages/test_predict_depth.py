"""Depth of images, folders and videos through the real stage; what it writes is scored as the network itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import FathomError
from fathomseg.inference.depth_predictor import load_depth
from fathomseg.io import draw, video
from fathomseg.io.depth_maps import read_disparity, read_scale
from fathomseg.stages.evaluate_depth import evaluate_depth_run
from fathomseg.stages.predict import run
from tests.fakes import make_video, save, scene
from tests.stages.saved_depth_run import RANGE, save_depth_run
from tests.stages.saved_run import save_run

DATA = Streets(size=(40, 72), frames=2, val_clips=2)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_depth_run(tmp_path_factory.mktemp("runs") / "depth", DATA.model_dump(mode="json"))


def predict(saved: Path, source: Path, out: Path, **changes: object) -> int:
    options = {"weights": "ema", "mode": None, "overlay": True, "overwrite": False, "device": "cpu", **changes}
    return run(str(saved), str(source), str(out), **options)  # type: ignore[arg-type]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_keeps_its_structure_and_the_pngs_hold_the_disparity(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    image = scene(0, (31, 45), 3)[0]
    save(photos / "a.png", image)
    save(photos / "deep" / "frame.0001.jpg", scene(1, (20, 24), 3)[0])
    (photos / "bad.png").write_bytes(b"")
    assert predict(saved, photos, out, depth=True) == 1
    assert "bad.png: is empty" in capsys.readouterr().err
    assert files(out) == {
        "depth.json",
        *("disparity/a.png", "disparity/deep/frame.0001.png"),
        *("views/a.jpg", "views/deep/frame.0001.jpg"),
    }
    expected = load_depth(saved, device="cpu").predict(image)
    disparity = read_disparity(out / "disparity" / "a.png")
    np.testing.assert_allclose(disparity, expected.disparity, atol=1e-5)
    assert disparity.std() > 0.01
    predict(saved, photos / "a.png", tmp_path / "flipped", flip=True)
    assert not np.array_equal(read_disparity(tmp_path / "flipped" / "disparity" / "a.png"), disparity)
    stated = json.loads((out / "depth.json").read_text())
    depth = 1 / (1 / stated["farthest"] + (1 / stated["nearest"] - 1 / stated["farthest"]) * disparity)
    np.testing.assert_allclose(depth, expected.depth, rtol=1e-3)
    assert read_scale(out) == RANGE
    seen = np.asarray(Image.open(out / "views" / "a.jpg")).astype(float)
    assert np.abs(seen - draw.colour_map(disparity, style="magma")).mean() < 12
    before = (out / "disparity" / "a.png").stat().st_mtime_ns
    predict(saved, photos, out)  # without being asked for, a depth run gives depth; what is there is kept
    assert (out / "disparity" / "a.png").stat().st_mtime_ns == before


def test_a_video_gives_a_map_a_frame_and_colours_that_follow_slowly(saved: Path, tmp_path: Path) -> None:
    pictures = [scene(7 + i // 2, (32, 48), 3)[0] for i in range(4)]
    source = make_video(tmp_path / "drive.mp4", pictures)
    assert predict(saved, source, tmp_path / "out") == 0
    maps = [f"disparity/drive/{i:06d}.png" for i in range(4)]
    assert files(tmp_path / "out") == {"depth.json", "views/drive.mp4", *maps}
    found = [read_disparity(tmp_path / "out" / name) for name in maps]
    expected = load_depth(saved, device="cpu").predict(video.read_frame(source, 3))
    np.testing.assert_allclose(found[3], expected.disparity, atol=1e-5)
    ranges = [np.percentile(one, (2, 98)) for one in found]
    limits = ranges[0]
    for own in ranges[1:]:
        limits = limits + 0.1 * (own - limits)
    shown = video.read_frame(tmp_path / "out" / "views" / "drive.mp4", 3).astype(float)
    following = draw.colour_map(found[3], limits=(float(limits[0]), float(limits[1])), style="magma")
    assert np.abs(shown - following).mean() < 12


def test_stored_predictions_score_as_the_network(saved: Path, tmp_path: Path) -> None:
    """predict, then evaluate --against: the rounding to 16 bits is all that differs."""
    for id in DATA.ids("val"):
        save(tmp_path / "images" / f"{id}.png", DATA.image(id))
    assert predict(saved, tmp_path / "images", tmp_path / "out", overlay=False) == 0
    ours = evaluate_depth_run(saved, weights="ema", report=False)["scores"]["ema"]
    theirs = evaluate_depth_run(saved, against=tmp_path / "out", report=False)["scores"]["predictions"]
    assert theirs["none"] == pytest.approx(ours["none"], rel=1e-3)
    assert theirs["none"]["rmse"] != ours["none"]["rmse"]


def test_a_run_without_depth_says_so_before_anything_is_written(saved: Path, tmp_path: Path) -> None:
    segmenting = save_run(tmp_path / "run", DATA.classes, DATA.model_dump(mode="json"))
    save(tmp_path / "a.png", scene(0, (31, 45), 3)[0])
    with pytest.raises(FathomError, match="gives no depth"):
        predict(segmenting, tmp_path / "a.png", tmp_path / "out", depth=True)
    with pytest.raises(FathomError, match="leave out --mode"):
        predict(saved, tmp_path / "a.png", tmp_path / "out", mode="slide")
    assert not (tmp_path / "out").exists()
