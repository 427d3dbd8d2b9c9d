"""Predictions as COCO and YOLO, read back by import-labels and by the datasets; patterns, sizes and cameras."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from fathomseg.data.datasets.coco import CocoFolder
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.datasets.yolo import YoloFolder
from fathomseg.errors import FathomError
from fathomseg.inference.camera import goals_of, predict_camera
from fathomseg.inference.predictor import Predictor, load
from fathomseg.io import video
from fathomseg.io.coco import read_coco
from fathomseg.io.label_images import read_values
from fathomseg.selection.annotation import export, import_labels
from fathomseg.stages.predict import predicted
from fathomseg.tasks import Segmentation
from fathomseg.types import ClassList
from tests.fakes import make_folder, make_video, save, scene
from tests.selection.annotation.tasks import selection
from tests.stages.saved_run import save_depth_run, save_run

CLASSES = ClassList(("road", "car", "sky"), ((128, 64, 128), (0, 0, 142), (70, 130, 180)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that segments."""
    return save_run(tmp_path_factory.mktemp("run"), CLASSES, {"name": "folder", "root": "/nowhere"})


def predict(saved: Path, source: object, out: Path, **changes: object) -> int:
    """How many files and frames could not be used."""
    return len(predicted(str(saved), str(source), str(out), **{"device": "cpu", "overlay": False, **changes}).problems)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_predictions_of_an_export_come_back_as_labels(saved: Path, tmp_path: Path, form: str) -> None:
    pool = Folder(root=make_folder(tmp_path / "mydata", labels=None, clips=0, images=3))
    task = export(selection(["images/002", "images/000"]), pool, tmp_path / "exported")
    out = tmp_path / "out"
    assert predict(saved, tmp_path / "exported/images", out, format=form) == 0
    back = out / "coco.json" if form == "coco" else out / "yolo"
    done = import_labels(back, tmp_path / "exported", pool.root)
    assert done.labelled == ("images/002", "images/000")
    for image in task.images:
        expected = read_values(out / "ids" / f"{image.stem}.png")
        assert len(np.unique(expected)) > 1
        np.testing.assert_array_equal(Folder(root=pool.root).label(image.id), expected)


def test_the_datasets_read_what_was_predicted(saved: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    for seed in range(3):
        save(photos / "deep" / f"{seed}.0.png", scene(seed, (24 + seed, 32), 3)[0])
    make_video(photos / "drive.mp4", [scene(seed, (24, 32), 3)[0] for seed in range(2)])
    assert predict(saved, photos, out, format="coco,yolo,ids") == 0
    images = {image.file_name for image in read_coco(out / "coco.json").images}
    assert images == {"drive/000000.png", "drive/000001.png", *(f"deep/{seed}.0.png" for seed in range(3))}
    assert (out / "yolo/labels/drive/000001.txt").read_text()
    shutil.copytree(photos, out / "yolo" / "images")
    shutil.copytree(photos, tmp_path / "coco" / "images")
    shutil.copy(out / "coco.json", tmp_path / "coco")
    for data in (YoloFolder(root=out / "yolo"), CocoFolder(root=tmp_path / "coco")):
        assert data.classes.names == CLASSES.names
        ids = data.every_id()
        assert len(ids) == 3
        for id in ids:
            expected = read_values(out / "ids" / f"{id.partition('/')[2]}.png")
            np.testing.assert_array_equal(data.label(id), expected)


def test_formats_are_written_anew_and_strange_files_are_left(saved: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    save(photos / "a.png", scene(0, (24, 32), 3)[0])
    assert predict(saved, photos, out) == 0
    assert not (out / "coco.json").exists()
    save(photos / "b.png", scene(1, (24, 32), 3)[0])
    assert predict(saved, photos, out, format="coco") == 0
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 2
    assert predict(saved, photos, out, format="coco") == 0
    make_video(tmp_path / "drive.mp4", [scene(2, (24, 32), 3)[0]] * 2)
    assert predict(saved, tmp_path / "drive.mp4", out, format="coco") == 0
    names = ["a.png", "b.png", "drive/000000.png", "drive/000001.png"]
    assert [image.file_name for image in read_coco(out / "coco.json").images] == names, "what was there stays"
    (out / "ids/a.png").unlink()
    assert predict(saved, tmp_path / "drive.mp4", out, format="coco") == 0
    assert [image.file_name for image in read_coco(out / "coco.json").images] == names[1:]
    other = tmp_path / "other"
    save(other / "c.png", np.zeros((2, 2), np.uint8))
    (other / "coco.json").write_text("mine")
    with pytest.raises(FathomError, match=r"coco.json is there, and the record of"):
        predict(saved, photos, other, format="coco")
    assert (other / "coco.json").read_text() == "mine"


def test_formats_that_cannot_be(saved: Path, tmp_path: Path) -> None:
    save(tmp_path / "a.png", scene(0, (24, 32), 3)[0])
    with pytest.raises(FathomError, match="'cocoa' is none of ids, coco, yolo"):
        predict(saved, tmp_path / "a.png", tmp_path / "out", format="ids,cocoa")
    depth = save_depth_run(tmp_path / "depth", {})
    with pytest.raises(FathomError, match="--format coco is for predicted classes, but here is predicted: depth"):
        predict(depth, tmp_path / "a.png", tmp_path / "out", format="coco")


def test_a_pattern_keeps_the_paths_behind_its_fixed_part(saved: Path, tmp_path: Path) -> None:
    for name in ("a/left/0.png", "a/right/0.png", "b/left/1.png", "b/left/1.txt"):
        save(tmp_path / "in" / name, scene(0, (24, 32), 3)[0]) if name.endswith("png") else None
    (tmp_path / "in/b/left/1.txt").write_text("")
    assert predict(saved, f"{tmp_path}/in/*/left/*", tmp_path / "out") == 0
    found = {path.relative_to(tmp_path / "out/ids").as_posix() for path in (tmp_path / "out/ids").rglob("*.png")}
    assert found == {"a/left/0.png", "b/left/1.png"}
    assert predict(saved, f"{tmp_path}/in/**/0.png", tmp_path / "all") == 0
    assert len(list((tmp_path / "all/ids").rglob("*.png"))) == 2
    with pytest.raises(FathomError, match=r"matches no image and no video, but 1 \.txt"):
        predict(saved, f"{tmp_path}/in/*/left/*.txt", tmp_path / "out")
    with pytest.raises(FathomError, match=r"matches no image and no video; capitals count\. Known endings"):
        predict(saved, f"{tmp_path}/in/*/left/*.PNG", tmp_path / "out")
    with pytest.raises(FathomError, match=r"a pattern in quotes such as 'drive/\*\.png', or the number of a camera"):
        predict(saved, tmp_path / "nothing", tmp_path / "out")


def test_images_of_one_size_go_through_the_network_together(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        save(tmp_path / "in" / f"{number}.png", scene(number, (24, 32) if number % 2 else (40, 20), 3)[0])
    seen: list[set[tuple[int, ...]]] = []
    whole: Callable[..., object] = Predictor.predict_batch

    def spy(self: Predictor, images: list[np.ndarray]) -> object:
        seen.append({image.shape[:2] for image in images})
        return whole(self, images)

    monkeypatch.setattr(Predictor, "predict_batch", spy)
    assert predict(saved, tmp_path / "in", tmp_path / "out", batch=3) == 0
    assert seen == [{(24, 32)}, {(40, 20)}]
    assert len(list((tmp_path / "out/ids").glob("*.png"))) == 6


class FakeCapture:
    """A camera of four pictures, in OpenCV's order of colours."""

    def __init__(self, number: int) -> None:
        self.number, self.left, self.released = number, 4, False

    def isOpened(self) -> bool:
        return self.number == 0

    def set(self, key: int, value: float) -> bool:
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, scene(self.left, (24, 32), 3)[0][..., ::-1]) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


def test_a_camera(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    assert predict(saved, 0, out, overlay=True, frames=3) == 0
    assert "segmentation of 3 frames written into" in capsys.readouterr().err
    (folder,) = (out / "ids").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["000000.png", "000001.png", "000002.png"]
    expected = load(saved, device="cpu").predict(scene(3, (24, 32), 3)[0]).label
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "000000.png")), expected)
    assert (out / "overlays" / f"{folder.name}.mp4").stat().st_size > 0
    with pytest.raises(FathomError, match="There is no camera 7"):
        predict(saved, 7, tmp_path / "other")
    with pytest.raises(FathomError, match="--format and --workers are not for cameras"):
        predict(saved, 0, tmp_path / "other", format="coco")


@pytest.mark.parametrize("count", [5, 12])
def test_a_camera_s_video_runs_at_the_pace_of_a_network_that_is_warm(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    predictor, slept = load(saved, device="cpu"), iter([0.3])
    (prediction,) = predictor.predict_batch([np.zeros((24, 32, 3), np.uint8)])
    monkeypatch.setattr(predictor, "predict_batch", lambda _: time.sleep(next(slept, 0.02)) or [prediction])
    goals = goals_of(0, tmp_path, predictor.tasks, True, datetime(2026, 1, 1, tzinfo=UTC))
    pictures = iter([scene(number, (24, 32), 3)[0] for number in range(count)])
    assert predict_camera(predictor, pictures, goals, None, 0.0)[0] == count
    (film,) = (tmp_path / "overlays").glob("*.mp4")
    assert 10 < video.frame_rate(film) < 51
    assert video.video_index(film).frames == count


def test_a_camera_is_read_while_results_are_written(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, further = load(saved, device="cpu"), threading.Event()
    goals = goals_of(0, tmp_path, predictor.tasks, False, datetime(2026, 1, 1, tzinfo=UTC))
    write = Segmentation.write

    def waiting(*given: Any) -> None:
        assert further.wait(20), "the second picture waits for the first to be written"
        write(*given)

    def pictures() -> Iterator[np.ndarray]:
        yield scene(0, (24, 32), 3)[0]
        further.set()
        yield scene(1, (24, 32), 3)[0]

    monkeypatch.setattr(Segmentation, "write", waiting)
    assert predict_camera(predictor, pictures(), goals, None, 0.0)[0] == 2
    assert [path.name for path in sorted(goals[0].values.iterdir())] == ["000000.png", "000001.png"]


def test_ctrl_c_keeps_what_a_camera_has_shown(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> Iterator[np.ndarray]:
        yield scene(0, (24, 32), 3)[0]
        raise KeyboardInterrupt

    @contextmanager
    def pictures(number: int) -> Iterator[Iterator[np.ndarray]]:
        yield interrupted(number)

    monkeypatch.setattr("fathomseg.stages.predict.pictures", pictures)
    monkeypatch.chdir(tmp_path)
    assert predict(saved, 0, tmp_path / "out", overlay=True) == 0
    assert len(list((tmp_path / "out/ids").rglob("*.png"))) == 1
    assert len(list((tmp_path / "out/overlays").glob("*.mp4"))) == 1
