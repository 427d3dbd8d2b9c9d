"""KITTI 2015: layout, depth from disparity at every stored size, and what is told where calibration is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fathomseg.data.datasets import files
from fathomseg.data.datasets.cityscapes import _IDS as CITYSCAPES_IDS
from fathomseg.data.datasets.kitti2015 import Kitti2015
from fathomseg.data.datasets.kitti_calibration import USUAL, Stereo
from fathomseg.errors import DataError, FathomError
from fathomseg.io.images import image_size, resize_nearest
from fathomseg.io.label_images import read_values
from fathomseg.stages.check import check
from fathomseg.types import Camera
from tests.fakes import make_kitti2015, save, write_yaml

ID = "training/000001_10"
FOCAL_PX = 710.0
"""Of scene 1 of the fake, at 1242 pixels of width; its baseline is 0.5 m."""
PAIR = {"width": 1242, "height": 375, "fx": 700.0, "fy": 690.0, "cx": 600.5, "cy": 180.5, "baseline": 0.25}


def depth(data: Kitti2015, id: str = ID) -> np.ndarray:
    found = data.depth(id)
    assert found is not None
    return found


def slow_depth(path: Path, focal_px: float, baseline: float) -> np.ndarray:
    """KITTI's own formula, pixel by pixel: `focal_px` at 1242 pixels of width, disparity in pixels of the map."""
    stored = np.asarray(Image.open(path))
    width = stored.shape[1]
    expected = np.zeros(stored.shape)
    for place, value in np.ndenumerate(stored):
        if value > 0:
            expected[place] = (focal_px / 1242 * width) * baseline / (float(value) / 256)
    return expected


def reasons(data: Kitti2015) -> list[str]:
    return [f"{Path(problem.where).name}: {problem.reason}" for problem in data.problems(data.ids("all"))]


def test_splits_hold_the_measured_frames_and_all_holds_their_successors(tmp_path: Path) -> None:
    data = Kitti2015(root=make_kitti2015(tmp_path, scenes=2, testing=1))
    assert data.splits == ("val", "testing", "all")
    assert data.ids("val") == ("training/000000_10", "training/000001_10")
    assert data.ids("testing") == ("testing/000000_10",)
    assert len(data.ids("all")) == 6
    assert data.neighbour(ID, 1) == "training/000001_11"
    assert data.neighbour("training/000001_11", -1) == ID
    assert (data.neighbour(ID, -1), data.neighbour(ID, 2), data.neighbour(ID, -11)) == (None, None, None)
    np.testing.assert_array_equal(data.image("training/000001_11"), np.roll(data.image(ID), -1, axis=1))
    assert "testing" not in Kitti2015(root=make_kitti2015(tmp_path / "b", testing=0)).splits


def test_depth_is_focal_length_times_baseline_over_disparity(tmp_path: Path) -> None:
    data = Kitti2015(root=make_kitti2015(tmp_path))
    expected = slow_depth(tmp_path / "training/disp_occ_0/000001_10.png", FOCAL_PX, 0.5)
    assert (expected[8:] > 0).all()
    assert not expected[:8].any()
    found = depth(data)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    scene_0 = slow_depth(tmp_path / "training/disp_occ_0/000000_10.png", 700, 0.5)
    np.testing.assert_allclose(depth(data, "training/000000_10"), scene_0, rtol=1e-6)
    for without in ("training/000001_11", "testing/000000_10"):
        assert data.depth(without) is None
        assert data.fingerprint(without, "depth") is None


def test_a_known_disparity_gives_a_known_depth() -> None:
    stored = np.array([[0, 256], [9792, 25600]], np.uint16)  # unknown, 1, 38.25 and 100 pixels
    expected = [[0, 384.36313], [10.048709, 3.8436313]]  # 721.5377 px x 0.5327 m = 384.36313 px m
    np.testing.assert_allclose(USUAL.depth(stored), expected, rtol=1e-6)
    half = USUAL.resized((180, 621)).depth(stored)  # in images half as wide the same disparity is half as far
    np.testing.assert_allclose(half, np.array(expected) / 2, rtol=1e-6)


@given(
    scale=st.integers(1, 6),
    values=st.lists(st.integers(0, 10_000), min_size=4, max_size=4),
)
def test_depth_does_not_depend_on_the_size_the_pair_is_stored_at(scale: int, values: list[int]) -> None:
    """Disparity is counted in pixels, so in images k times as wide it is k times as large, and depth is the same."""
    pair = Stereo(Camera(fx=50, fy=50, cx=0.5, cy=0.5, height=2, width=2), 0.3)
    small = np.array(values, np.uint16).reshape(2, 2)
    large = (scale * resize_nearest(small, (2 * scale, 2 * scale))).astype(np.uint16)
    np.testing.assert_allclose(
        pair.resized((2 * scale, 2 * scale)).depth(large),
        resize_nearest(pair.depth(small), (2 * scale, 2 * scale)),
        rtol=1e-6,
    )


def test_noc_is_the_part_of_occ_that_both_cameras_see(tmp_path: Path) -> None:
    make_kitti2015(tmp_path)
    occ, noc = (depth(Kitti2015(root=tmp_path, disparity=which)) for which in ("occ", "noc"))  # type: ignore[arg-type]
    assert not noc[:, :40].any()
    np.testing.assert_array_equal(noc[:, 40:], occ[:, 40:])
    assert occ[8:, :40].all()


def test_maps_keep_their_metres_when_images_are_stored_smaller_as_jpg(tmp_path: Path) -> None:
    make_kitti2015(tmp_path, size=(12, 40), map_size=(36, 120), suffix=".jpg")
    data = Kitti2015(root=tmp_path)
    assert data.image(ID).shape == (12, 40, 3)
    at_map = slow_depth(tmp_path / "training/disp_occ_0/000001_10.png", FOCAL_PX, 0.5)
    np.testing.assert_allclose(depth(data), at_map[1::3, 1::3], rtol=1e-6)  # the pixel under each centre
    label = data.label(ID)
    assert label is not None
    indices = np.full(34, 255)
    indices[list(CITYSCAPES_IDS)] = range(19)
    np.testing.assert_array_equal(label, indices[read_values(tmp_path / "training/semantic/000001_10.png")][1::3, 1::3])
    assert len(np.unique(label)) > 3
    camera = data.camera(ID)
    assert camera is not None
    assert (camera.height, camera.width) == (12, 40)
    assert camera.fx == pytest.approx(FOCAL_PX * 40 / 1242)
    assert camera.fy == pytest.approx(FOCAL_PX * 12 / 375)
    assert camera.cx == pytest.approx((609.5593 + 0.5) * 40 / 1242 - 0.5)
    assert list(data.problems(data.ids("all"))) == []


def test_the_size_of_an_image_is_looked_up_once_as_long_as_its_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Kitti2015(root=make_kitti2015(tmp_path))
    asked: list[Path] = []
    monkeypatch.setattr(files, "image_size", lambda path: (asked.append(path), image_size(path))[1])
    before = [data.fingerprint(ID, "depth") for _ in range(3)]
    assert len(asked) == len(set(before)) == 1
    path = data.files(ID).image
    save(path, np.zeros((12, 40, 3), np.uint8))
    assert data.size_of(ID) == (12, 40)
    path.unlink()
    with pytest.raises(DataError, match="there is no such file"):
        data.size_of(ID)


def test_what_depends_on_the_image_size_has_another_fingerprint_when_it_changes(tmp_path: Path) -> None:
    data = Kitti2015(root=make_kitti2015(tmp_path))
    before = [data.fingerprint(ID, kind) for kind in ("depth", "label")]  # type: ignore[arg-type]
    save(data.files(ID).image, np.zeros((12, 40, 3), np.uint8))
    after = [data.fingerprint(ID, kind) for kind in ("depth", "label")]  # type: ignore[arg-type]
    assert all(old != new for old, new in zip(before, after, strict=True))


def test_the_depth_fingerprint_changes_with_calibration_and_choice_of_map(tmp_path: Path) -> None:
    make_kitti2015(tmp_path)
    measured = Kitti2015(root=tmp_path).fingerprint(ID, "depth")
    assert Kitti2015(root=tmp_path, disparity="noc").fingerprint(ID, "depth") != measured
    path = tmp_path / "training/calib_cam_to_cam/000001.txt"
    path.write_text(path.read_text().replace("710", "711"))
    assert Kitti2015(root=tmp_path).fingerprint(ID, "depth") != measured


def test_labels_are_those_of_the_semantic_benchmark_and_belong_to_the_measured_frames(tmp_path: Path) -> None:
    data = Kitti2015(root=make_kitti2015(tmp_path))
    assert [data.has_label(id) for id in (ID, "training/000001_11", "testing/000000_10")] == [True, False, False]
    assert data.label("training/000001_11") is None
    assert not Kitti2015(root=make_kitti2015(tmp_path / "b", labels=False)).has_label(ID)


@pytest.mark.parametrize("part", ["training", ""])
def test_calibration_lies_in_training_or_beside_it(tmp_path: Path, part: str) -> None:
    data = Kitti2015(root=make_kitti2015(tmp_path, calibration=part))
    camera = data.camera(ID)
    assert camera is not None
    assert camera.fx == pytest.approx(FOCAL_PX * 80 / 1242)
    assert data.camera("testing/000000_10") is None  # scene 000000 of testing is another one


def test_without_calibration_there_is_no_depth_but_one_clear_error(tmp_path: Path) -> None:
    data = Kitti2015(root=make_kitti2015(tmp_path, calibration=None))
    assert data.camera(ID) is None
    with pytest.raises(DataError, match=r"calib_cam_to_cam: is missing.*baseline.*calibration=kitti") as caught:
        data.depth(ID)
    assert list(data.problems(data.ids("all"))) == list(caught.value.problems)
    assert check(data).problems == caught.value.problems


def test_one_scene_without_calibration_is_named(tmp_path: Path) -> None:
    data = Kitti2015(root=make_kitti2015(tmp_path))
    (tmp_path / "training/calib_cam_to_cam/000001.txt").unlink()
    assert [told.split(",")[0] for told in reasons(data)] == ["000001.txt: is missing"]
    with pytest.raises(DataError, match=r"000001.txt: is missing"):
        data.depth(ID)
    assert data.depth("training/000000_10") is not None


def test_the_semantic_benchmark_alone_needs_no_calibration(tmp_path: Path) -> None:
    make_kitti2015(tmp_path, calibration=None)
    for folder in ("disp_occ_0", "disp_noc_0"):
        shutil.rmtree(tmp_path / "training" / folder)
    data = Kitti2015(root=tmp_path)
    assert reasons(data) == []
    assert data.notes() == ("Of 3 frames of val, 0 have depth (disp_occ_0) and 3 a label (semantic).",)
    assert data.depth(ID) is None


def test_the_usual_calibration_is_used_only_when_asked_for_and_only_where_there_is_none(tmp_path: Path) -> None:
    make_kitti2015(tmp_path)
    (tmp_path / "training/calib_cam_to_cam/000001.txt").unlink()
    data = Kitti2015(root=tmp_path, calibration="kitti")
    expected = slow_depth(tmp_path / "training/disp_occ_0/000001_10.png", 721.5377, 0.5327)
    np.testing.assert_allclose(depth(data), expected, rtol=1e-6)
    measured = slow_depth(tmp_path / "training/disp_occ_0/000002_10.png", 720, 0.5)
    np.testing.assert_allclose(depth(data, "training/000002_10"), measured, rtol=1e-6)
    assert data.camera("testing/000000_10") is not None
    assert reasons(data) == []
    assert data.notes()[1].startswith("1 of them have no calibration file and take the usual numbers of KITTI")
    assert len(Kitti2015(root=make_kitti2015(tmp_path / "whole")).notes()) == 1


def test_a_camera_yaml_with_baseline_serves_scenes_without_calibration(tmp_path: Path) -> None:
    make_kitti2015(tmp_path, calibration=None)
    write_yaml(tmp_path / "camera.yaml", PAIR)
    for choice in ("measured", "kitti"):
        data = Kitti2015(root=tmp_path, calibration=choice)  # type: ignore[arg-type]
        expected = slow_depth(tmp_path / "training/disp_occ_0/000001_10.png", 700, 0.25)
        np.testing.assert_allclose(depth(data), expected, rtol=1e-6)
        camera = data.camera("testing/000000_10")
        assert camera is not None
        assert camera.fy == pytest.approx(690 * 24 / 375)
        assert len(data.notes()) == 1


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("camera.yaml", str({**PAIR, "baseline": -1}), "baseline: input should be greater than 0"),
        ("camera.yaml", str({key: PAIR[key] for key in PAIR if key != "baseline"}), "baseline: is required"),
        (
            "training/calib_cam_to_cam/000001.txt",
            "S_rect_02: 1242 375\n",
            "expected a line 'P_rect_02' with 12 numbers",
        ),
        (
            "training/calib_cam_to_cam/000001.txt",
            "S_rect_02: 1242 375\nP_rect_02: 7 0 6 0 0 7 1 0 0 0 1 0\nP_rect_03: 7 0 6 3.5 0 7 1 0 0 0 1 0\n",
            "has a baseline of -0.5 m from camera 2 to camera 3; it must be positive",
        ),
    ],
)
def test_bad_calibration_is_a_problem_told_once(tmp_path: Path, path: str, text: str, expected: str) -> None:
    make_kitti2015(tmp_path, scenes=2, calibration=None)
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(text)
    data = Kitti2015(root=tmp_path, calibration="kitti")
    told = reasons(data)
    assert len(told) == 1
    assert expected in told[0]
    with pytest.raises(DataError) as caught:
        data.depth(ID)
    assert expected in str(caught.value)
    assert expected in check(data).problems[0].reason


def test_a_map_of_8_bits_is_refused(tmp_path: Path) -> None:
    make_kitti2015(tmp_path)
    save(tmp_path / "training/disp_occ_0/000001_10.png", np.ones((24, 80), np.uint8))
    with pytest.raises(DataError, match=r"000001_10.png: has pixels of type uint8; expected 16-bit disparity in 1/256"):
        Kitti2015(root=tmp_path).depth(ID)


def test_files_that_are_no_frames_are_passed_over(tmp_path: Path) -> None:
    make_kitti2015(tmp_path)
    save(tmp_path / "training/image_2/cover.png", np.zeros((4, 4, 3), np.uint8))
    make_kitti2015(tmp_path / "training/image_2/nested")
    assert len(Kitti2015(root=tmp_path).ids("all")) == 8


def test_the_folder_training_itself_is_not_the_root(tmp_path: Path) -> None:
    make_kitti2015(tmp_path)
    with pytest.raises(FathomError, match=r"No KITTI 2015 at .*expected .*000000_10.png.*the one that holds training/"):
        Kitti2015(root=tmp_path / "training").ids("val")
