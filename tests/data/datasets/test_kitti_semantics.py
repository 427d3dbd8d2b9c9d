"""The KITTI semantic benchmark: splits by blocks, six classes, and depth from maps or disparity."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fathomseg.data.datasets.cityscapes import CLASSES
from fathomseg.data.datasets.kitti_semantics import GROUPS, SIX, KittiSemantics
from fathomseg.stages.check import check
from fathomseg.types import IGNORE
from tests.fakes import make_kitti2015, make_kitti_semantics, save

ID = "training/000012_10"


def test_scenes_are_held_out_in_blocks_of_ten(tmp_path: Path) -> None:
    numbers = range(0, 200, 3)
    data = KittiSemantics(root=make_kitti_semantics(tmp_path, numbers, depth=None, size=(6, 20)))
    assert data.splits == ("train", "val", "testing", "all")
    blocks = [{int(id[9:15]) // 10 for id in data.ids(split)} for split in ("train", "val")]
    assert not blocks[0] & blocks[1]
    assert len(blocks[0] | blocks[1]) == 20
    assert 2 <= len(blocks[1]) <= 7
    assert data.ids("testing") == ("testing/000000_10",)
    assert data.neighbour(ID, 1) == "training/000012_11"


def test_six_classes_merge_the_nineteen(tmp_path: Path) -> None:
    make_kitti_semantics(tmp_path)
    all_, six = KittiSemantics(root=tmp_path), KittiSemantics(root=tmp_path, class_count=6)
    assert six.classes == SIX
    assert SIX.names == ("flat", "construction", "object", "nature", "sky", "road user")
    assert SIX.colours[0] == CLASSES.colours[0]
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(CLASSES.names)
    expected = {IGNORE: IGNORE}  # by hand, from the names
    for index, name in enumerate(CLASSES.names):
        expected[index] = next(place for place, group in enumerate(GROUPS.values()) if name in group)
    for id in all_.ids("train"):
        label = all_.label(id)
        assert label is not None
        np.testing.assert_array_equal(six.label(id), np.vectorize(expected.get)(label))
        assert all_.fingerprint(id, "label") != six.fingerprint(id, "label")
    assert check(six).problems == ()


def test_depth_comes_from_maps_beside_or_elsewhere(tmp_path: Path) -> None:
    make_kitti_semantics(tmp_path / "a", size=(12, 40), map_size=(36, 120))
    data = KittiSemantics(root=tmp_path / "a")
    depth, label = data.depth(ID), data.label(ID)
    assert depth is not None
    assert label is not None
    assert depth.shape == label.shape == (12, 40)
    assert not depth[:6].any()
    np.testing.assert_allclose(depth[6:], 2.12, atol=1 / 512)
    assert data.depth("training/000012_11") is None
    (tmp_path / "a/training/depth").rename(tmp_path / "maps")
    assert KittiSemantics(root=tmp_path / "a").depth(ID) is None
    moved = KittiSemantics(root=tmp_path / "a", depth_root=tmp_path / "maps")
    np.testing.assert_array_equal(moved.depth(ID), depth)
    assert "6 have a depth map" in moved.notes()[1]


def test_disparity_of_kitti_2015_gives_depth_where_there_is_no_map(tmp_path: Path) -> None:
    make_kitti2015(tmp_path, scenes=2)
    data = KittiSemantics(root=tmp_path, calibration="kitti")
    disparity = data.depth("training/000001_10")
    assert disparity is not None
    save(tmp_path / "training/depth/000000_10.png", np.full((24, 80), 512, np.uint16))
    shutil.rmtree(tmp_path / "training/calib_cam_to_cam")
    without = KittiSemantics(root=tmp_path)
    np.testing.assert_array_equal(without.depth("training/000000_10"), np.full((24, 80), 2, np.float32))
    problems = check(without).problems
    assert [Path(p.where).name for p in problems] == ["calib_cam_to_cam"]
    assert "calibration=kitti" in problems[0].reason


def test_check_names_bad_files(tmp_path: Path) -> None:
    make_kitti_semantics(tmp_path)
    save(tmp_path / "training/depth/000001_10.png", np.zeros((24, 80), np.uint8))
    save(tmp_path / "training/semantic/000012_10.png", np.full((24, 80), 99, np.uint8))
    (tmp_path / "training/image_2/000025_10.png").write_bytes(b"")
    report = check(KittiSemantics(root=tmp_path))
    found = {str(Path(p.where).relative_to(tmp_path / "training")): p.reason for p in report.problems}
    assert "expected 16-bit depth in 1/256 m" in found["depth/000001_10.png"]
    assert "id 99 (1920 pixels) not in the class list" in found["semantic/000012_10.png"]
    assert "is empty" in found["image_2/000025_10.png"]
    assert len(found) == 3


@pytest.mark.parametrize("name", ["kitti2015", "kitti_semantics"])
def test_either_says_what_to_unpack(tmp_path: Path, name: str) -> None:
    from fathomseg.data.datasets.resolve import dataset_kinds

    with pytest.raises(ValueError, match=r"data_(scene_flow|semantics).zip"):
        dataset_kinds()[name].model_validate({"root": tmp_path}).splits  # noqa: B018
