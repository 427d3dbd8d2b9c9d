"""Virtual KITTI 2: splits by scene, depth with a far sky, colours, cameras and poses, and what bad copies are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fathomseg.data.datasets.vkitti2 import CLASSES, VKitti2
from fathomseg.errors import DataError, FathomError
from fathomseg.io.label_images import read_drawing
from fathomseg.stages.check import check
from fathomseg.types import IGNORE
from tests.fakes import make_vkitti2

ID = "Scene18/fog/Camera_0/00001"
TEXT = "vkitti_2.0.3_textgt/Scene18/fog"


def test_splits_are_whole_scenes(tmp_path: Path) -> None:
    root = make_vkitti2(tmp_path, scenes=("Scene01", "Scene02", "Scene18", "Scene20"), cameras=(0, 1), frames=2)

    def scenes(data: VKitti2, split: str) -> list[str]:
        return sorted({id.split("/")[0] for id in data.ids(split)})

    data = VKitti2(root=root)
    assert scenes(data, "train") == ["Scene01", "Scene02", "Scene20"]
    assert scenes(data, "val") == ["Scene18"]
    assert len(data.ids("val")) == 4
    few = VKitti2(
        root=root, train_scenes=("Scene01",), val_scenes=("Scene02", "Scene20"), variations=("fog",), cameras=(1,)
    )
    assert few.ids("train") == ("Scene01/fog/Camera_1/00000", "Scene01/fog/Camera_1/00001")
    assert scenes(few, "val") == ["Scene02", "Scene20"]
    with pytest.raises(FathomError, match=r"Scene02 is in train_scenes and in val_scenes.*one side"):
        VKitti2(root=root, train_scenes=("Scene01", "Scene02"), val_scenes=("Scene02",)).splits  # noqa: B018
    with pytest.raises(FathomError, match=r"val_scenes names Scene06.*there is: Scene01, Scene02, Scene18, Scene20"):
        VKitti2(root=root, val_scenes=("Scene06",)).splits  # noqa: B018
    with pytest.raises(FathomError, match=r"variations names snow.*there is: clone, fog"):
        VKitti2(root=root, variations=("snow",)).splits  # noqa: B018
    with pytest.raises(ValueError, match="at least one camera"):
        VKitti2(root=root, cameras=())


@pytest.mark.parametrize("archives", [True, False])
def test_depth_is_in_metres_and_the_sky_is_invalid(tmp_path: Path, archives: bool) -> None:
    data = VKitti2(root=make_vkitti2(tmp_path, archives=archives, size=(12, 40), map_size=(36, 120)))
    depth = data.depth(ID)
    assert depth is not None
    assert depth.dtype == np.float32
    assert depth.shape == data.image(ID).shape[:2] == (12, 40)
    assert not depth[:4].any()
    np.testing.assert_allclose(depth[4:], 6)
    assert list(data.problems(data.ids("train"))) == []


def test_usual_colours_are_those_of_version_2() -> None:
    published = """Terrain 210 0 200, Sky 90 200 255, Tree 0 199 0, Vegetation 90 240 0, Building 140 140 140,
        Road 100 60 100, GuardRail 250 100 255, TrafficSign 255 255 0, TrafficLight 200 200 0, Pole 255 130 0,
        Misc 80 80 80, Truck 160 60 60, Car 255 127 80, Van 0 139 139"""  # colors.txt of any scene of v2.0.3
    lines = [line.split() for line in published.split(",")]
    assert [(name, tuple(map(int, rgb))) for name, *rgb in lines] == [*zip(CLASSES.names, CLASSES.colours, strict=True)]


def test_labels_follow_the_colours_of_each_scene(tmp_path: Path) -> None:
    usual = VKitti2(root=make_vkitti2(tmp_path / "a"))
    path = tmp_path / "a/vkitti_2.0.3_classSegmentation/Scene18/fog/frames/classSegmentation/Camera_0/classgt_00001.png"
    index = {colour: place for place, colour in enumerate(CLASSES.colours)} | {(0, 0, 0): IGNORE}
    expected = np.array([[index[tuple(pixel)] for pixel in row] for row in read_drawing(path)[0].tolist()])
    np.testing.assert_array_equal(usual.label(ID), expected)
    other = make_vkitti2(tmp_path / "b", colours={"Car": (200, 200, 200), "Undefined": (1, 2, 3)})
    np.testing.assert_array_equal(VKitti2(root=other).label(ID), expected)
    for file in other.rglob("colors.txt"):
        file.unlink()
    with pytest.raises(DataError, match=r"put colors.txt of vkitti_2.0.3_textgt.tar.gz there"):
        [VKitti2(root=other).label(id) for id in usual.ids("val")]


def test_cameras_and_poses_come_from_textgt(tmp_path: Path) -> None:
    data = VKitti2(root=make_vkitti2(tmp_path, cameras=(0, 1)), cameras=(0, 1))
    camera = data.camera(ID)
    assert camera is not None
    assert camera.fx == pytest.approx(725.0087 * 80 / 1242)
    assert camera.cy == pytest.approx((187 + 0.5) * 24 / 375 - 0.5)
    pose, right = data.world_T_cam(ID), data.world_T_cam(ID.replace("Camera_0", "Camera_1"))
    assert pose is not None
    assert right is not None
    np.testing.assert_allclose(pose[:3, 3], [0, 0, 1], atol=1e-6)  # a metre a frame along z
    np.testing.assert_allclose(right[:3, 3], [0.53, 0, 1], atol=1e-6)
    np.testing.assert_allclose(pose[:3, 2], [np.sin(0.1), 0, np.cos(0.1)], atol=1e-6)  # looks a little to the right
    (tmp_path / TEXT / "extrinsic.txt").unlink()
    assert VKitti2(root=tmp_path).world_T_cam(ID) is None


def test_neighbours_stay_within_scene_variation_and_camera(tmp_path: Path) -> None:
    data = VKitti2(root=make_vkitti2(tmp_path))
    assert data.neighbour(ID, 1) == "Scene18/fog/Camera_0/00002"
    assert data.neighbour(ID, 2) is None
    assert data.neighbour(ID, -2) is None


def test_check_names_bad_files(tmp_path: Path) -> None:
    make_vkitti2(tmp_path)
    frames = Path("Scene18/fog/frames")
    (tmp_path / "vkitti_2.0.3_depth" / frames / "depth/Camera_0/depth_00000.png").write_bytes(b"no image")
    (tmp_path / "vkitti_2.0.3_depth" / frames / "depth/Camera_0/depth_00002.png").unlink()
    (tmp_path / "vkitti_2.0.3_classSegmentation" / frames / "classSegmentation/Camera_0/classgt_00001.png").unlink()
    (tmp_path / TEXT / "intrinsic.txt").write_text("frame cameraID\n0 0 725\n")
    lines = (tmp_path / TEXT / "extrinsic.txt").read_text().splitlines()
    (tmp_path / TEXT / "extrinsic.txt").write_text("\n".join(lines[:3]) + "\n")
    clone = tmp_path / "vkitti_2.0.3_textgt/Scene18/clone/colors.txt"
    clone.write_text("Category r g b\nCar 1 2 3\n")
    report = check(VKitti2(root=tmp_path, variations=("fog",)))
    found = {Path(p.where).name: p.reason for p in report.problems}
    assert "not an image" in found["depth_00000.png"]
    assert "expected a line of headings" in found["intrinsic.txt"]
    assert found["extrinsic.txt"] == "has no line for frame 2 of camera 0"
    assert len(report.problems) == 3  # an image may have a label or depth alone
    notes = [note for note in report.notes if "have no" in note]
    assert [note.split()[0] for note in notes] == ["1", "1"], notes
    with pytest.raises(DataError, match=r"colors.txt: has no line 'name r g b' for Terrain, .*Truck, Van;"):
        VKitti2(root=tmp_path).label("Scene18/clone/Camera_0/00000")
