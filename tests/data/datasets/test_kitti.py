"""KITTI in its three layouts: ids, splits, cameras, poses, depth, and what is reported about broken copies."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fathomseg.data.datasets.kitti import Kitti
from fathomseg.errors import DataError, FathomError
from fathomseg.geometry.trajectory import read_poses
from tests.fakes import make_kitti, save, scene

RAW = "2011_09_26_drive_0001_sync/0000000002"


def reasons(data: Kitti) -> list[str]:
    return [f"{Path(problem.where).name}: {problem.reason}" for problem in data.problems(data.ids("all"))]


@pytest.mark.parametrize(
    ("layout", "id", "suffix"),
    [("raw", RAW, ".png"), ("odometry", "01/000002", ".png"), ("clips", "drive1/000002", ".jpg")],
)
def test_each_layout_is_told_from_the_folder(tmp_path: Path, layout: str, id: str, suffix: str) -> None:
    data = Kitti(root=make_kitti(tmp_path, layout))
    assert len(data.ids("all")) == 12
    assert data.files(id).image.suffix == suffix
    clip = id.rpartition("/")[0]
    neighbours = [data.neighbour(id, offset) for offset in (-3, -2, -1, 1, 2)]
    assert [n and n.removeprefix(clip).lstrip("/0") for n in neighbours] == [None, "", "1", "3", None]
    assert data.neighbour(id, -2) == f"{clip}/{id.rpartition('/')[2].replace('2', '0')}"
    if layout != "clips":
        np.testing.assert_array_equal(data.image(id), scene(1, (24, 80), 4, shift=2)[0])
    camera = data.camera(id)
    assert camera is not None
    assert camera.fx == pytest.approx(721.5377 * 80 / 1242)
    assert camera.fy == pytest.approx(721.5377 * 24 / 375)
    assert camera.cx == pytest.approx((609.5593 + 0.5) * 80 / 1242 - 0.5)
    assert camera.cy == pytest.approx((172.854 + 0.5) * 24 / 375 - 0.5)
    assert list(data.problems(data.ids("all"))) == []


def test_root_may_be_one_date_or_the_folder_above_dataset(tmp_path: Path) -> None:
    raw = make_kitti(tmp_path / "raw", "raw")
    assert Kitti(root=raw / "2011_09_26").ids("all") == Kitti(root=raw).ids("all")
    inner = make_kitti(tmp_path / "odometry" / "dataset", "odometry")
    outer = Kitti(root=inner.parent)
    assert outer.ids("all") == Kitti(root=inner).ids("all")
    assert outer.world_T_cam("01/000002") is not None


def test_the_right_camera_is_a_clip_of_the_same_drive(tmp_path: Path) -> None:
    root = make_kitti(tmp_path, "odometry", right=True)
    assert len(Kitti(root=root).ids("all")) == 12
    both = Kitti(root=root, right=True)
    assert len(both.ids("all")) == 24
    assert both.neighbour("00/image_3/000001", 1) == "00/image_3/000002"
    np.testing.assert_array_equal(both.image("00/image_3/000001"), scene(0, (24, 80), 4, shift=3)[0])
    left, right = both.world_T_cam("00/000001"), both.world_T_cam("00/image_3/000001")
    assert left is not None
    assert right is not None
    # x_cam = x_cam0 + t with t = 0.06 m for camera 2 and -0.48 m for camera 3: the right one is 0.54 m to the right.
    expected = np.eye(4)
    expected[0, 3] = 0.54
    np.testing.assert_allclose(np.linalg.inv(left) @ right, expected, atol=1e-12)
    for split in ("train", "val"):
        assert {id.replace("/image_3", "") for id in both.ids(split)} == set(Kitti(root=root).ids(split))


def test_a_clip_is_a_drive_seen_by_whichever_camera(tmp_path: Path) -> None:
    data = Kitti(root=make_kitti(tmp_path, "odometry", right=True), right=True)
    assert data.clip("00/000001") == data.clip("00/image_3/000001") == "00"
    assert {data.clip(id) for id in data.ids("val")}.isdisjoint(data.clip(id) for id in data.ids("train"))


def test_grayscale_frames_have_three_equal_channels_and_the_camera_of_number_0(tmp_path: Path) -> None:
    data = Kitti(root=make_kitti(tmp_path, "odometry", grey=True))
    image = data.image("02/000003")
    np.testing.assert_array_equal(image, np.repeat(scene(2, (24, 80), 4, shift=3)[0][..., :1], 3, axis=2))
    np.testing.assert_allclose(data.world_T_cam("02/000003"), read_poses(tmp_path / "poses/02.txt")[3])


def test_poses_are_of_camera_0_and_moved_to_the_one_read(tmp_path: Path) -> None:
    data = Kitti(root=make_kitti(tmp_path, "odometry"))
    angle = 0.02 * 3  # drive 1, frame 3: on an arc of 10 m radius, turned by 0.06 rad
    pose = data.world_T_cam("01/000003")
    assert pose is not None
    expected = [
        [math.cos(angle), 0, math.sin(angle), 10 * (1 - math.cos(angle)) - 0.06 * math.cos(angle)],
        [0, 1, 0, 0],
        [-math.sin(angle), 0, math.cos(angle), 10 * math.sin(angle) + 0.06 * math.sin(angle)],
        [0, 0, 0, 1],
    ]
    np.testing.assert_allclose(pose, expected, atol=1e-6)
    assert Kitti(root=make_kitti(tmp_path / "raw", "raw")).world_T_cam(RAW) is None


def test_poses_may_be_for_the_stored_frames_or_for_all_numbers(tmp_path: Path) -> None:
    make_kitti(tmp_path, "clips", drives=1, frames=6)
    for number in (0, 3):
        (tmp_path / f"drive0/{number:06d}.jpg").unlink()
    lines = read_poses(tmp_path / "drive0/poses.txt")
    np.testing.assert_array_equal(Kitti(root=tmp_path).world_T_cam("drive0/000004"), lines[4])  # 6 lines, numbers to 5
    text = (tmp_path / "drive0/poses.txt").read_text().splitlines()
    (tmp_path / "drive0/poses.txt").write_text("\n".join(text[1:5]) + "\n")
    np.testing.assert_array_equal(Kitti(root=tmp_path).world_T_cam("drive0/000004"), lines[3])  # 4 lines, 4 frames
    (tmp_path / "drive0/poses.txt").write_text("\n".join(text[:5]) + "\n")
    with pytest.raises(DataError, match=r"poses.txt: holds 5 poses for 4 frames; expected 4 or 6, one a line"):
        Kitti(root=tmp_path).world_T_cam("drive0/000004")


def test_depth_is_metres_in_the_size_of_the_image(tmp_path: Path) -> None:
    data = Kitti(root=make_kitti(tmp_path, "raw"))
    depth = data.depth(RAW)
    assert depth is not None
    assert depth.dtype == np.float32
    expected = np.zeros((24, 80))
    expected[2::3, 1::4] = 5 + 2 + 1 / 4
    np.testing.assert_array_equal(depth, expected)
    assert data.depth(f"{RAW[:-1]}0") is None
    image = data.files(RAW).image
    Image.open(image).resize((40, 12)).save(image)
    smaller = data.depth(RAW)
    assert smaller is not None
    np.testing.assert_array_equal(smaller, expected[1::2, 1::2])
    before = data.fingerprint(RAW, "depth")
    Image.open(image).resize((20, 6)).save(image)
    assert data.fingerprint(RAW, "depth") != before
    assert data.fingerprint(f"{RAW[:-1]}0", "depth") is None


def test_depth_beside_the_dates_is_found(tmp_path: Path) -> None:
    make_kitti(tmp_path, "raw")
    drive = tmp_path / "2011_09_26/2011_09_26_drive_0001_sync"
    expected = Kitti(root=tmp_path).depth(RAW)
    shutil.move(drive / "proj_depth", tmp_path / "val" / drive.name / "proj_depth")
    found = Kitti(root=tmp_path).depth(RAW)
    assert found is not None
    np.testing.assert_array_equal(found, expected)


def test_depth_of_8_bits_is_refused(tmp_path: Path) -> None:
    make_kitti(tmp_path, "raw")
    path = tmp_path / f"2011_09_26/{RAW.split('/')[0]}/proj_depth/groundtruth/image_02/0000000002.png"
    save(path, np.ones((24, 80), np.uint8))
    with pytest.raises(DataError, match=r"0000000002.png: has pixels of type uint8; expected 16-bit depth in 1/256 m"):
        Kitti(root=tmp_path).depth(RAW)


def test_whole_drives_are_held_out_by_their_name_or_by_choice(tmp_path: Path) -> None:
    root = make_kitti(tmp_path, "clips", drives=12, frames=1)
    data = Kitti(root=root, val_percent=30)
    val = {id.split("/")[0] for id in data.ids("val")}
    assert 1 <= len(val) <= 7
    assert sorted([*data.ids("train"), *data.ids("val")]) == list(data.ids("all"))
    shutil.rmtree(root / min({f"drive{i}" for i in range(12)} - val))  # other drives stay on their side
    assert Kitti(root=root, val_percent=30).ids("val") == data.ids("val")
    chosen = Kitti(root=root, val_drives=("drive3", "drive7"))
    assert chosen.ids("val") == ("drive3/000000", "drive7/000000")
    with pytest.raises(FathomError, match=r"val_drives names drive77, but .* has no such drive; there is: drive"):
        Kitti(root=root, val_drives=("drive77",)).ids("val")
    assert len(Kitti(root=make_kitti(tmp_path / "few", "clips", drives=3, frames=1), val_percent=1).ids("val")) == 1
    assert Kitti(root=make_kitti(tmp_path / "one", "clips", drives=1)).splits == ("train", "all")


def test_a_gap_has_no_neighbours_and_is_a_problem(tmp_path: Path) -> None:
    make_kitti(tmp_path, "odometry", frames=6)
    (tmp_path / "sequences/01/image_2/000003.png").unlink()
    data = Kitti(root=tmp_path)
    assert data.neighbour("01/000002", 1) is None
    assert data.neighbour("01/000002", 2) == "01/000004"
    assert reasons(data) == [
        "000002.png: missing neighbour: the next frame is 000004; add the frames between, or make two clips"
    ]
    np.testing.assert_allclose(data.world_T_cam("01/000004")[:3, :3], read_poses(tmp_path / "poses/01.txt")[4][:3, :3])


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    make_kitti(tmp_path, "odometry")
    (tmp_path / "sequences/00/image_2/000001.png").write_bytes(b"")
    (tmp_path / "sequences/01/calib.txt").unlink()
    (tmp_path / "poses/02.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    data = Kitti(root=tmp_path)
    assert reasons(data) == [
        "000001.png: is empty (0 bytes); replace or remove it",
        "calib.txt: there is no such file, so the camera of 01 is not known; add it",
        "02.txt: holds 1 poses for 4 frames; expected 4, one a line",
    ]
    assert data.camera("01/000000") is None
    with pytest.raises(DataError, match="holds 1 poses for 4 frames"):
        data.world_T_cam("02/000000")
    assert data.world_T_cam("01/000000") is not None


@pytest.mark.parametrize(
    ("layout", "path", "text", "expected"),
    [
        ("raw", "2011_09_26/calib_cam_to_cam.txt", "S_rect_02: 1242 375\n", "a line 'P_rect_02' with 12 numbers"),
        ("odometry", "sequences/00/calib.txt", "P2: 1 2 3\n", "a line 'P2' with 12 numbers"),
        ("clips", "drive0/camera.yaml", "{width: 10, height: 4, fx: 3, fy: -3, cx: 2, cy: 1}", "fy: input should be"),
    ],
)
def test_a_bad_calibration_is_a_problem(tmp_path: Path, layout: str, path: str, text: str, expected: str) -> None:
    make_kitti(tmp_path, layout, drives=1)
    (tmp_path / path).write_text(text)
    told = reasons(Kitti(root=tmp_path))
    assert told
    assert expected in told[0]


def test_odometry_of_another_recording_day_has_its_own_size(tmp_path: Path) -> None:
    make_kitti(tmp_path, "odometry", drives=1)
    (tmp_path / "sequences/00/calib.txt").write_text("P2: 707.0912 0 601.8873 0 0 707.0912 183.1104 0 0 0 1 0\n")
    camera = Kitti(root=tmp_path).camera("00/000000")
    assert camera is not None
    assert (camera.fx, camera.fy) == (pytest.approx(707.0912 * 80 / 1226), pytest.approx(707.0912 * 24 / 370))
    (tmp_path / "sequences/00/calib.txt").write_text("P2: 50 0 39.5 0 0 50 11.5 0 0 0 1 0\n")
    camera = Kitti(root=tmp_path).camera("00/000000")  # not KITTI's own: it is of the stored image
    assert camera is not None
    assert (camera.fx, camera.cx, camera.height) == (50, 39.5, 24)


def test_notes_say_how_val_came_about_and_what_there_is(tmp_path: Path) -> None:
    notes = Kitti(root=make_kitti(tmp_path, "raw"), val_drives=("2011_09_26_drive_0001_sync",)).notes()
    assert notes == (
        "val is 1 of 3 drives: 2011_09_26_drive_0001_sync.",
        "Of 3 clips, 0 have poses and 3 have depth.",
    )
    assert "chosen by a hash" in Kitti(root=tmp_path).notes()[0]


@pytest.mark.realdata
def test_the_real_clips(real_data: Path) -> None:
    data = Kitti(root=real_data / "kitti_clips")
    counts = {name: sum(id.startswith(f"{name}/") for id in data.ids("all")) for name in ("city", "odometry_gray")}
    assert counts == {"city": 91, "odometry_gray": 801}
    image, camera = data.image("odometry_gray/000400"), data.camera("odometry_gray/000400")
    assert image.shape == (192, 640, 3)
    assert (image[..., :1] == image).all()
    assert camera is not None
    assert camera.fx == 371.8069
    poses = read_poses(real_data / "kitti_clips/odometry_gray/poses.txt")
    np.testing.assert_array_equal(data.world_T_cam("odometry_gray/000400"), poses[400])
    assert data.world_T_cam("city/000000") is None
    assert list(data.layout_problems(data.ids("all"))) == []
    assert len(data.ids("train")) + len(data.ids("val")) == 1160
