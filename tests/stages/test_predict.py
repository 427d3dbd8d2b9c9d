"""Predicting images, folders and videos through the real stage: all tasks, in files that hold the predictions."""

from __future__ import annotations

import json
import re
import typing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from torch.nn.modules.module import register_module_forward_hook
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.inference.point_cloud import ImageCamera
from fathomseg.inference.predict_folder import find_jobs
from fathomseg.inference.predicted import RECORD, Maker, Record
from fathomseg.inference.predictor import load
from fathomseg.inference.sources import find_files
from fathomseg.io import draw, outcome, video
from fathomseg.io.depth_maps import read_disparity, read_scale
from fathomseg.io.video_writer import VideoWriter
from fathomseg.models.encoders import FeatureEncoder
from fathomseg.stages.predict import predicted
from fathomseg.tasks import AnyTask, Normals
from fathomseg.types import ClassList
from tests.fakes import make_video, save, scene
from tests.stages.saved_run import RANGE, save_depth_run, save_run

CLASSES = ClassList(("road", "car", "été"), ((128, 64, 128), (0, 0, 142), (255, 255, 0)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that segments."""
    return save_run(tmp_path_factory.mktemp("run"), CLASSES, {"name": "folder", "root": "/nowhere"})


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that segments and gives depth."""
    return save_run(tmp_path_factory.mktemp("both"), CLASSES, {}, tasks=("segmentation", "depth"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    save(folder / "a.png", scene(0, (31, 45), 3)[0])
    save(folder / "deep" / "frame.0001.jpg", scene(1, (20, 24), 3)[0])
    save(folder / "deep" / "b.JPG", scene(2, (64, 40), 3)[0])
    (folder / "notes.txt").write_text("no image")
    return folder


def predict(saved: Path, source: Path, out: Path, **changes: object) -> int:
    """How many files and frames could not be used."""
    return len(predicted(str(saved), str(source), str(out), **{"device": "cpu", **changes}).problems)  # type: ignore[arg-type]


def files(folder: Path) -> set[str]:
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return found - {RECORD}


def times(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in files(folder) if not name.endswith(".json")}


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
    assert classes[2] == {"id": 2, "name": "été", "colour": [255, 255, 0]}


def test_all_tasks_of_a_run_are_written_from_one_pass(
    both: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    passes: list[int] = []
    hook = register_module_forward_hook(
        lambda module, given, _: passes.append(len(given[0])) if isinstance(module, FeatureEncoder) else None
    )
    try:
        assert predict(both, photos, out, batch=2) == 0
    finally:
        hook.remove()
    assert passes == [2, 1], "two images have a working size, and the third one of its own"
    names = ("a", "deep/frame.0001", "deep/b")
    assert files(out) == {
        *("classes.json", "depth.json"),
        *(f"{folder}/{name}.png" for folder in ("ids", "disparity") for name in names),
        *(f"{folder}/{name}.jpg" for folder in ("overlays", "views") for name in names),
    }
    said = capsys.readouterr().err
    assert "segmentation, depth of 3 files written into" in said
    assert "(3 images, " in said
    (rate,) = re.findall(r"\(3 images, (\d+\.\d images/s)\)", said)
    assert outcome.last_line() == f"segmentation, depth of 3 files in {out}, {rate}"
    image = scene(0, (31, 45), 3)[0]
    expected = load(both, device="cpu").predict(image)
    np.testing.assert_array_equal(stored(out / "ids" / "a.png"), expected.label)
    np.testing.assert_allclose(read_disparity(out / "disparity" / "a.png"), expected.disparity, atol=1e-5)
    for task in ("segmentation", "depth"):
        assert predict(both, photos, tmp_path / task, tasks=task, batch=2) == 0
    alone = files(tmp_path / "segmentation"), files(tmp_path / "depth")
    assert alone[0] | alone[1] == files(out)
    assert not alone[0] & alone[1]
    for task, name in (("segmentation", "ids/deep/b.png"), ("depth", "disparity/deep/b.png")):
        assert (tmp_path / task / name).read_bytes() == (out / name).read_bytes()


def test_no_two_tasks_share_a_folder() -> None:
    kinds = typing.get_args(typing.get_args(AnyTask)[0])
    folders = [folder for kind in kinds for folder in (kind.places.values, kind.places.views)]
    assert len(folders) == len(set(folders)) == 2 * len(kinds)


def test_the_depth_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = save_depth_run(tmp_path / "run", {})
    photos, out = tmp_path / "photos", tmp_path / "out"
    image = scene(0, (31, 45), 3)[0]
    save(photos / "a.png", image)
    save(photos / "deep" / "frame.0001.jpg", scene(1, (20, 24), 3)[0])
    (photos / "bad.png").write_bytes(b"")
    assert predict(saved, photos, out) == 1
    assert "bad.png: is empty" in capsys.readouterr().err
    assert files(out) == {
        "depth.json",
        *("disparity/a.png", "disparity/deep/frame.0001.png"),
        *("views/a.jpg", "views/deep/frame.0001.jpg"),
    }
    expected = load(saved, device="cpu").predict(image)
    disparity = read_disparity(out / "disparity" / "a.png")
    np.testing.assert_allclose(disparity, expected.disparity, atol=1e-5)
    assert disparity.std() > 0.01
    predict(saved, photos / "a.png", tmp_path / "flipped", flip=True)
    assert not np.array_equal(read_disparity(tmp_path / "flipped" / "disparity" / "a.png"), disparity)
    stated = json.loads((out / "depth.json").read_text())
    depth = 1 / (1 / stated["farthest"] + (1 / stated["nearest"] - 1 / stated["farthest"]) * disparity)
    np.testing.assert_allclose(depth, expected.depth, rtol=1e-3)
    assert (read_scale(out), stated["run"]) == (RANGE, str(saved))
    assert "relative" in stated["unit"]
    seen = np.asarray(Image.open(out / "views" / "a.jpg")).astype(float)
    assert np.abs(seen[:, :45] - image).mean() < 12
    assert np.abs(seen[:, 49:94] - draw.colour_map(disparity)).mean() < 12


def test_one_image_without_overlay(saved: Path, photos: Path, tmp_path: Path) -> None:
    assert predict(saved, photos / "a.png", tmp_path / "out", overlay=False) == 0
    assert files(tmp_path / "out") == {"classes.json", "ids/a.png"}


def test_weights_and_mode_change_the_prediction(saved: Path, photos: Path, tmp_path: Path) -> None:
    results = []
    for i, changes in enumerate(({}, {"weights": "last"}, {"mode": "slide"}, {"flip": True})):
        predict(saved, photos / "a.png", tmp_path / str(i), **changes)
        results.append(stored(tmp_path / str(i) / "ids" / "a.png"))
    assert not any(np.array_equal(results[0], other) for other in results[1:])


def test_corrupt_files_are_reported_at_the_end_and_stop_nothing(saved: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "0_first.png").write_bytes((photos / "a.png").read_bytes()[:300])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "clip.mp4").write_bytes(b"no video")
    done = CliRunner().invoke(
        app, ["predict", str(saved), str(photos), "--out", str(tmp_path / "out"), "--device", "cpu"]
    )
    assert done.exit_code == 1
    ids = {name for name in files(tmp_path / "out") if name.startswith("ids/")}
    assert ids == {"ids/a.png", "ids/deep/frame.0001.png", "ids/deep/b.png"}
    said = done.stderr
    assert "3 could not be used" in said
    for name in ("0_first.png: cannot be decoded", "empty.jpg: is empty", "clip.mp4: cannot be read as a video"):
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


def test_a_file_is_done_when_every_task_of_it_is(both: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(both, photos, out, tasks="segmentation")
    before = times(out)
    predict(both, photos, out)  # what is missing is added, and nothing else is written
    assert {name: time for name, time in times(out).items() if name in before} == before
    assert {name for name in files(out) if name.startswith("disparity/")} == {
        name.replace("ids/", "disparity/") for name in before if name.startswith("ids/")
    }
    (out / "views" / "a.jpg").unlink()
    before = times(out)
    predict(both, photos, out)
    after = times(out)
    assert {name for name in after if after[name] != before.get(name)} == {"views/a.jpg", "disparity/a.png"}


def test_a_failure_while_writing_stops_and_leaves_nothing_half_written(
    both: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, picture: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(draw, "write", full)
    with pytest.raises(OSError, match="No space left"):
        predict(both, photos, tmp_path / "out")
    assert files(tmp_path / "out") == {"classes.json", "depth.json"}


@pytest.mark.parametrize("batch", [1, 4])
def test_the_size_of_a_batch_changes_no_file(both: Path, photos: Path, tmp_path: Path, batch: int) -> None:
    make_video(photos / "drive.mp4", [scene(7, (32, 48), 3, shift=i)[0] for i in range(5)])
    (photos / "b_bad.png").write_bytes(b"")
    assert predict(both, photos, tmp_path / "3", batch=3) == 1
    assert predict(both, photos, tmp_path / "out", batch=batch) == 1
    assert files(tmp_path / "out") == files(tmp_path / "3")
    for name in files(tmp_path / "3"):
        if name.startswith("ids/"):
            np.testing.assert_array_equal(stored(tmp_path / "out" / name), stored(tmp_path / "3" / name))
        elif name.startswith("disparity/"):
            mine, other = (read_disparity(tmp_path / folder / name) for folder in ("out", "3"))
            np.testing.assert_allclose(mine, other, atol=3e-5)


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


def test_a_video_beside_a_folder_of_its_frames_is_a_problem(saved: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    image = scene(5, (8, 8), 3)[0]
    for name in ("drive/000001.png", "drive/other.png", "walk/first.png"):
        save(source / name, image)
    for name in ("drive.mp4", "walk.mp4"):
        (source / name).write_bytes(b"")
    jobs, problems = find_jobs(find_files(source, tmp_path / "out"), tmp_path / "out", load(saved).tasks, views=True)
    (problem,) = problems
    assert problem.where == str(source / "drive.mp4")
    assert problem.reason == f"has the same results as {source / 'drive' / '000001.png'}; rename one of them"
    assert {job.source.name for job in jobs} == {"000001.png", "other.png", "first.png", "walk.mp4"}


def test_a_pattern_passes_over_what_a_folder_does(photos: Path, tmp_path: Path) -> None:
    for name in ("._a.png", ".thumbnails/b.png", "deep/__MACOSX/c.png"):
        save(photos / name, scene(5, (8, 8), 3)[0])
    found = find_files(str(photos / "**" / "*.*"), tmp_path / "out")
    assert found.files == find_files(photos, tmp_path / "out").files
    assert len(found.files) == 3


def test_the_truth_of_a_dataset_is_not_predicted(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = tmp_path / "mydata"
    for folder in ("images", "labels", "depth", "normals", "depth-photos"):
        save(dataset / folder / "a.png", scene(5, (8, 8), 3)[0])
    assert len(find_files(dataset, tmp_path / "out").files) == 5  # without a dataset.yaml it is any folder
    (dataset / "dataset.yaml").write_text("classes: [road, car]\n")
    for beside in ("splits/val.txt", "clips/a/camera.yaml", "notes.yaml"):
        (dataset / beside).parent.mkdir(parents=True, exist_ok=True)
        (dataset / beside).touch()
    found = find_files(dataset, tmp_path / "out")
    assert found.others == "1 .yaml", "what describes the dataset is no file that was passed over"
    assert [file.parent.name for file in found.files] == ["depth-photos", "images"]
    assert predict(saved, dataset, tmp_path / "out") == 0
    assert "no photographs of the dataset: labels/, depth/, normals/." in capsys.readouterr().err
    assert len(find_files(dataset / "labels", tmp_path / "out").files) == 1, "named itself, it is predicted"


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


def test_the_colours_of_depth_follow_a_video_slowly(both: Path, tmp_path: Path) -> None:
    pictures = [scene(7 + i // 2, (32, 48), 3)[0] for i in range(4)]
    source = make_video(tmp_path / "drive.mp4", pictures)
    assert predict(both, source, tmp_path / "out", batch=3) == 0
    maps = [f"disparity/drive/{i:06d}.png" for i in range(4)]
    ids = [f"ids/drive/{i:06d}.png" for i in range(4)]
    assert files(tmp_path / "out") == {
        *("classes.json", "depth.json", "overlays/drive.mp4", "views/drive.mp4", "together/drive.mp4"),
        *maps,
        *ids,
    }
    found = [read_disparity(tmp_path / "out" / name) for name in maps]
    expected = load(both, device="cpu").predict(video.read_frame(source, 3))
    np.testing.assert_allclose(found[3], expected.disparity, atol=1e-4)
    ranges = [np.percentile(one, (2, 98)) for one in found]
    limits = ranges[0]
    for own in ranges[1:]:
        limits = limits + 0.1 * (own - limits)
    shown = video.read_frame(tmp_path / "out" / "views" / "drive.mp4", 3).astype(float)
    following = draw.colour_map(found[3], limits=(float(limits[0]), float(limits[1])))
    assert np.abs(shown[:, 52:100] - following).mean() < 12
    assert np.abs(shown[:, :48] - video.read_frame(source, 3)).mean() < 12


def test_the_views_of_all_tasks_of_a_video_side_by_side(both: Path, tmp_path: Path) -> None:
    source, out = (
        make_video(tmp_path / "drive.mp4", [scene(7, (32, 48), 3, shift=i)[0] for i in range(4)]),
        tmp_path / "out",
    )
    predict(both, source, out)
    together, wide = out / "together" / "drive.mp4", video.video_index(out / "views" / "drive.mp4").size[1]
    assert (video.video_index(together).frames, video.video_index(together).size) == (4, (32, 52 + wide))
    seen = video.read_frame(together, 2).astype(float)
    for part, name in ((seen[:, :48], "overlays"), (seen[:, 52 : 52 + wide], "views")):
        assert np.abs(part - video.read_frame(out / name / "drive.mp4", 2)).mean() < 8
    before = times(out)
    predict(both, source, out)
    assert times(out) == before
    together.unlink()
    predict(both, source, out)  # made anew, though every task is there
    assert together.is_file()
    predict(both, source, tmp_path / "one", tasks="depth")
    assert not (tmp_path / "one" / "together").exists()


def test_frames_of_an_interrupted_video_are_continued(saved: Path, tmp_path: Path) -> None:
    source = make_video(tmp_path / "drive.mp4", [scene(7, (32, 48), 3, shift=i)[0] for i in range(4)])
    kept = tmp_path / "out" / "ids" / "drive" / "000001.png"
    predict(saved, source, tmp_path / "out", overlay=False)
    draw.write(kept, np.full((32, 48), 2, np.uint8))
    kept.with_name("000002.png").unlink()
    assert predict(saved, source, tmp_path / "out", overlay=False) == 0
    assert (stored(kept) == 2).all()
    assert files(tmp_path / "out") == {"classes.json", *(f"ids/drive/{i:06d}.png" for i in range(4))}


def test_damaged_frames_are_left_out_and_named(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_video(tmp_path / "drive.mp4", [scene(7, (32, 48), 3, shift=i)[0] for i in range(4)])
    whole = video.read_frame

    def read(path: Path, frame: int) -> np.ndarray:
        if frame == 2:
            raise DataError([Problem(f"{path} frame {frame}", "cannot be decoded")])
        return whole(path, frame)

    monkeypatch.setattr(video, "read_frame", read)
    assert predict(both, source, tmp_path / "out", batch=3) == 1
    assert "drive.mp4 frame 2: cannot be decoded" in capsys.readouterr().err.replace("\n", "")
    for folder in ("ids", "disparity"):
        assert {path.stem for path in (tmp_path / "out" / folder / "drive").iterdir()} == {"000000", "000001", "000003"}
    assert video.video_index(tmp_path / "out" / "views" / "drive.mp4").frames == 3


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
    with pytest.raises(FathomError, match="has no task 'depth'; it predicts segmentation"):
        predict(saved, photos, tmp_path / "out", tasks="segmentation,depth")
    with pytest.raises(FathomError, match=r"\(depth\) always sees the whole image; leave out --mode"):
        predict(save_depth_run(tmp_path / "run", {}), photos, tmp_path / "out", mode="slide")
    with pytest.raises(FathomError, match="--batch is 0; give the number of images"):
        predict(saved, photos, tmp_path / "out", batch=0)
    assert not (tmp_path / "out").exists()


# --- whose results these are ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of other weights."""
    return save_run(tmp_path_factory.mktemp("other"), CLASSES, {"name": "folder", "root": "/nowhere"}, seed=50)


@pytest.mark.parametrize("change", [{}, {"weights": "last"}, {"flip": True}, {"mode": "slide"}])
def test_results_of_another_network_are_not_taken_for_its_own(
    saved: Path, other: Path, photos: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    out, now = tmp_path / "out", saved if change else other
    predict(saved, photos, out)
    before = times(out)
    with pytest.raises(FathomError, match=r"holds 6 results of another network or other.*or --overwrite") as refused:
        predict(now, photos, out, **change)
    for what in change or {"run": ""}:
        assert re.search(rf"{what} was [^;]*, now [^;]*\. Give another", str(refused.value)), "the one that differs"
    assert times(out) == before
    predict(now, photos, out, overwrite=True, **change)
    predict(now, photos, tmp_path / "fresh", **change)
    assert all((out / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes() for name in before)
    (photos / "a.png").unlink()
    with pytest.raises(FathomError, match=r"or remove the 2 .*in ids/, overlays/, and give --overwrite"):
        predict(saved, photos, out, overwrite=True)


def test_a_replaced_image_is_predicted_again(saved: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(saved, photos, out)
    before = times(out)
    save(photos / "a.png", scene(9, (20, 30), 3)[0])
    predict(saved, photos, out, overlay=False)
    assert stored(out / "ids" / "a.png").shape == (20, 30)
    predict(saved, photos, out)  # the picture of the old image is not taken for one of the new
    assert np.asarray(Image.open(out / "overlays" / "a.jpg")).shape == (20, 30, 3)
    after = times(out)
    assert {name for name in after if after[name] != before[name]} == {"ids/a.png", "overlays/a.jpg"}


def test_a_replaced_video_is_predicted_again(saved: Path, tmp_path: Path) -> None:
    source = make_video(tmp_path / "drive.mp4", [scene(7, (32, 48), 3, shift=i)[0] for i in range(4)])
    predict(saved, source, tmp_path / "out")
    make_video(source, [scene(8, (32, 64), 3, shift=i)[0] for i in range(2)])
    predict(saved, source, tmp_path / "out")
    frames = sorted((tmp_path / "out" / "ids" / "drive").iterdir())
    assert [path.name for path in frames] == ["000000.png", "000001.png"]
    assert all(stored(path).shape == (32, 64) for path in frames)


@pytest.mark.parametrize("name", ["ids/a.png", "overlays/deep/b.jpg", "classes.json"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_the_user_are_never_replaced(
    saved: Path, photos: Path, tmp_path: Path, name: str, overwrite: bool
) -> None:
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    with pytest.raises(FathomError, match=r"does not say that `fathom predict` wrote it"):
        predict(saved, photos, out, overwrite=overwrite)
    assert (out / name).read_text() == "mine"
    assert files(out) == {name}


def test_point_clouds_lie_beside_and_are_made_anew_by_another_camera(
    both: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, cloud = tmp_path / "out", tmp_path / "out" / "points" / "a.ply"
    assert predict(both, photos, out, overlay=False) == 0
    assert not cloud.exists()
    assert predict(both, photos, out, overlay=False, pointcloud=True, camera="60") == 0
    first = cloud.read_bytes()
    assert len(files(out / "points")) == 3
    assert b"property ushort class" in first
    assert predict(both, photos, out, overlay=False, pointcloud=True, camera="60") == 0
    assert "3 were there already" in capsys.readouterr().err
    assert predict(both, photos, out, overlay=False, pointcloud=True, camera="90") == 0
    assert cloud.read_bytes() != first
    assert predict(both, photos, out, overlay=False, pointcloud=True, camera="90", max_depth=1e-6) == 0
    assert b"element vertex 0" in cloud.read_bytes()
    with pytest.raises(FathomError, match="--camera is for --pointcloud"):
        predict(both, photos, out, camera="60")
    with pytest.raises(FathomError, match="--max-depth is for --pointcloud"):
        predict(both, photos, out, max_depth=5.0)
    with pytest.raises(FathomError, match="--max-depth is -1"):
        predict(both, photos, out, pointcloud=True, camera="60", max_depth=-1.0)


def test_what_shows_several_tasks_is_made_anew_for_others(both: Path, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", scene(0, (24, 32), 3)[0])
    (tmp_path / "in" / "drive.mp4").write_bytes(b"")
    out, tasks = tmp_path / "out", {**load(both).tasks, "normals": Normals()}
    maker = Maker("key", "words")

    def made(*names: str) -> set[str]:
        """What is to be made for these tasks, and then is."""
        chosen, found = {name: tasks[name] for name in names}, find_files(tmp_path / "in", out)
        jobs, _ = find_jobs(found, out, chosen, True, ImageCamera.of("60", both))
        todo = Record(out).begin(jobs, chosen, maker, overwrite=False)
        places = [place for job in todo for goal in job.goals for place in (goal.values, goal.view)]
        places += [place for job in todo for place in (job.together, job.points and job.points.path)]
        for place in filter(None, places):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.mkdir(exist_ok=True) if place.suffix == "" else place.write_bytes(b"")
        return {place.relative_to(out).parts[0] for place in filter(None, places)}

    assert made("depth") == {"disparity", "views", "points"}
    assert made("segmentation", "depth") == {"ids", "overlays", "points", "disparity", "views", "together"}
    assert made("segmentation", "depth") == set()
    assert made("depth") == {"points"}
    assert {"together", "points"} <= made("segmentation", "depth", "normals")


def test_a_video_is_smoothed_over_time(both: Path, tmp_path: Path) -> None:
    still = scene(7, (32, 48), 3)[0]
    dice = np.random.default_rng(0)
    frames = [(still.astype(int) + dice.integers(-6, 7, still.shape)).clip(0, 255).astype(np.uint8) for _ in range(6)]
    make_video(tmp_path / "still.mp4", frames)
    steps = {}
    for smooth in (0.0, 0.8):
        out = tmp_path / f"out{smooth}"
        assert predict(both, tmp_path / "still.mp4", out, tasks="depth", overlay=False, smooth=smooth) == 0
        maps = np.stack([read_disparity(path) for path in sorted((out / "disparity" / "still").iterdir())])
        steps[smooth] = np.abs(np.diff(maps, axis=0)).mean()
    assert 0 < steps[0.8] < 0.8 * steps[0.0]
    with pytest.raises(FathomError, match="Give another folder"):
        predict(both, tmp_path / "still.mp4", tmp_path / "out0.8", tasks="depth", overlay=False)
    with pytest.raises(FathomError, match="Depth alone is smoothed"):
        predict(both, tmp_path / "still.mp4", tmp_path / "c", tasks="segmentation", smooth=0.5)
    with pytest.raises(FathomError, match="--pointcloud is for images"):
        predict(both, tmp_path / "still.mp4", tmp_path / "d", pointcloud=True, camera="60")
    save(tmp_path / "frames" / "000001.png", scene(5, (8, 8), 3)[0])
    with pytest.raises(FathomError, match=r"--smooth is for videos, but .*frames holds none"):
        predict(both, tmp_path / "frames", tmp_path / "e", smooth=0.5)
    assert not (tmp_path / "e").exists()
