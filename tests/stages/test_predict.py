"""Segmenting images, folders and videos through the real stage."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fathomseg.errors import FathomError
from fathomseg.inference.predictor import load
from fathomseg.io import draw, video
from fathomseg.io.video_writer import VideoWriter
from fathomseg.stages.predict import run
from fathomseg.types import ClassList
from tests.fakes import make_video, save, scene
from tests.stages.saved_run import save_run

CLASSES = ClassList(("road", "car", "été"), ((128, 64, 128), (0, 0, 142), (255, 255, 0)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("run"), CLASSES, {"name": "folder", "root": "/nowhere"})


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    save(folder / "a.png", scene(0, (31, 45), 3)[0])
    save(folder / "deep" / "frame.0001.jpg", scene(1, (20, 24), 3)[0])
    save(folder / "deep" / "b.JPG", scene(2, (64, 40), 3)[0])
    (folder / "notes.txt").write_text("no image")
    return folder


def predict(saved: Path, source: Path, out: Path, **changes: object) -> int:
    options = {"weights": "ema", "mode": None, "overlay": True, "overwrite": False, "device": "cpu", **changes}
    return run(str(saved), str(source), str(out), **options)  # type: ignore[arg-type]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def stored(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


def test_a_folder_keeps_its_structure_and_the_pngs_hold_the_prediction(
    saved: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert predict(saved, photos, out) == 0
    assert files(out) == {
        "classes.json",
        *("ids/a.png", "ids/deep/frame.0001.png", "ids/deep/b.png"),
        *("overlays/a.jpg", "overlays/deep/frame.0001.jpg", "overlays/deep/b.jpg"),
    }
    image = scene(0, (31, 45), 3)[0]
    expected = load(saved, device="cpu").predict(image).label
    np.testing.assert_array_equal(stored(out / "ids" / "a.png"), expected)
    assert stored(out / "ids" / "deep" / "b.png").shape == (64, 40)
    seen = np.asarray(Image.open(out / "overlays" / "a.jpg")).astype(float)
    assert np.abs(seen - draw.overlay(image, expected, CLASSES)).mean() < 12
    classes = json.loads((out / "classes.json").read_text(encoding="utf-8"))["classes"]
    assert classes[2] == {"index": 2, "name": "été", "colour": [255, 255, 0]}


def test_one_image_without_overlay(saved: Path, photos: Path, tmp_path: Path) -> None:
    assert predict(saved, photos / "a.png", tmp_path / "out", overlay=False) == 0
    assert files(tmp_path / "out") == {"classes.json", "ids/a.png"}


def test_weights_and_mode_change_the_prediction(saved: Path, photos: Path, tmp_path: Path) -> None:
    results = []
    for i, changes in enumerate(({}, {"weights": "last"}, {"mode": "slide"}, {"flip": True})):
        predict(saved, photos / "a.png", tmp_path / str(i), **changes)
        results.append(stored(tmp_path / str(i) / "ids" / "a.png"))
    assert not any(np.array_equal(results[0], other) for other in results[1:])


def test_corrupt_files_are_reported_at_the_end_and_stop_nothing(
    saved: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "0_first.png").write_bytes((photos / "a.png").read_bytes()[:300])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "film.mp4").write_bytes(b"no video")
    assert predict(saved, photos, tmp_path / "out") == 1
    ids = {name for name in files(tmp_path / "out") if name.startswith("ids/")}
    assert ids == {"ids/a.png", "ids/deep/frame.0001.png", "ids/deep/b.png"}
    said = capsys.readouterr().err
    assert "3 could not be used" in said
    for name in ("0_first.png: cannot be decoded", "empty.jpg: is empty", "film.mp4: cannot be read as a video"):
        assert name in said
    assert not [name for name in files(tmp_path / "out") if ".tmp" in name]


def test_existing_results_are_kept_unless_overwritten(saved: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(saved, photos, out)
    (out / "ids" / "a.png").write_bytes(b"mine")
    (out / "overlays" / "deep" / "b.jpg").unlink()
    before = (out / "ids" / "deep" / "frame.0001.png").stat().st_mtime_ns
    assert predict(saved, photos, out) == 0
    assert (out / "ids" / "a.png").read_bytes() == b"mine"
    assert (out / "ids" / "deep" / "frame.0001.png").stat().st_mtime_ns == before
    assert (out / "overlays" / "deep" / "b.jpg").is_file()  # an incomplete result is made anew
    predict(saved, photos, out, overwrite=True)
    assert stored(out / "ids" / "a.png").shape == (31, 45)


def test_results_inside_the_source_are_not_segmented_again(saved: Path, photos: Path) -> None:
    predict(saved, photos, photos / "out")
    before = files(photos)
    assert predict(saved, photos, photos / "out", overwrite=True) == 0
    assert files(photos) == before


def test_two_files_with_the_same_results_are_a_problem(
    saved: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(photos / "a.jpg", scene(5, (8, 8), 3)[0])
    assert predict(saved, photos, tmp_path / "out") == 1
    assert "a.png: has the same results as" in capsys.readouterr().err.replace("\n", "")
    assert stored(tmp_path / "out" / "ids" / "a.png").shape == (8, 8)


@pytest.mark.parametrize("size", [(32, 48), (31, 45)])
def test_a_video_gives_a_png_a_frame_and_a_video_of_overlays(
    saved: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    pictures = [scene(7, size, 3, shift=i)[0] for i in range(6)]
    with VideoWriter(tmp_path / "drive.mp4", Fraction(10)) as writer:
        for picture in pictures:
            writer.add(picture)
    assert predict(saved, tmp_path / "drive.mp4", tmp_path / "out") == 0
    frames = {f"ids/drive/{i:06d}.png" for i in range(6)}
    assert files(tmp_path / "out") == {"classes.json", "overlays/drive.mp4", *frames}
    overlays = tmp_path / "out" / "overlays" / "drive.mp4"
    assert video.video_index(overlays).frames == 6
    assert video.frame_rate(overlays) == 10
    source = video.read_frame(tmp_path / "drive.mp4", 3)
    expected = load(saved, device="cpu").predict(source).label
    np.testing.assert_array_equal(stored(tmp_path / "out" / "ids" / "drive" / "000003.png"), expected)
    shown = video.read_frame(overlays, 3).astype(float)
    assert np.abs(shown - draw.overlay(source, expected, CLASSES)).mean() < 15
    before = overlays.stat().st_mtime_ns
    assert predict(saved, tmp_path / "drive.mp4", tmp_path / "out") == 0
    assert overlays.stat().st_mtime_ns == before


def test_frames_of_an_interrupted_video_are_continued(saved: Path, tmp_path: Path) -> None:
    source = make_video(tmp_path / "drive.mp4", [scene(7, (32, 48), 3, shift=i)[0] for i in range(4)])
    kept = tmp_path / "out" / "ids" / "drive" / "000001.png"
    draw.write(kept, np.full((32, 48), 2, np.uint8))
    assert predict(saved, source, tmp_path / "out", overlay=False) == 0
    assert (stored(kept) == 2).all()
    assert files(tmp_path / "out") == {"classes.json", *(f"ids/drive/{i:06d}.png" for i in range(4))}


def test_a_video_that_fails_or_has_no_picture_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> None:
        with VideoWriter(tmp_path / "a.mp4") as writer:
            writer.add(np.zeros((16, 16, 3), np.uint8))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        broken()
    with VideoWriter(tmp_path / "b.mp4"):
        pass
    assert not files(tmp_path)


def test_frame_rate_is_read_from_the_file(tmp_path: Path) -> None:
    assert video.frame_rate(make_video(tmp_path / "a.mp4", [np.zeros((16, 16, 3), np.uint8)] * 5)) == 10
    with VideoWriter(tmp_path / "b.mp4", Fraction(30000, 1001)) as writer:
        for _ in range(5):
            writer.add(np.zeros((16, 16, 3), np.uint8))
    assert video.frame_rate(tmp_path / "b.mp4") == Fraction(30000, 1001)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].frames == 5


def test_wrong_arguments_are_explained(saved: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="no file or folder"):
        predict(saved, photos / "none", tmp_path / "out")
    with pytest.raises(FathomError, match=r"notes\.txt has the ending '\.txt'"):
        predict(saved, photos / "notes.txt", tmp_path / "out")
    with pytest.raises(FathomError, match="holds no image and no video"):
        predict(saved, saved, tmp_path / "out")
    with pytest.raises(FathomError, match="choose from ema, last"):
        predict(saved, photos, tmp_path / "out", weights="both")
    assert not (tmp_path / "out").exists()
