from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fathomseg.data.datasets.cityscapes import Cityscapes
from fathomseg.errors import DataError, FathomError
from fathomseg.types import IGNORE
from tests.fakes import make_cityscapes, save, scene

LABELLED = "train/aachen_000000_000019"


def test_splits_and_ids(tmp_path: Path) -> None:
    data = Cityscapes(root=make_cityscapes(tmp_path))
    assert data.ids("train") == (LABELLED, "train/aachen_000001_000019")
    assert data.ids("clips") == tuple(f"train/aachen_00000{c}_0000{f}" for c in (0, 1) for f in (17, 18, 19, 20, 21))
    assert data.has_label(LABELLED)
    assert not data.has_label("train/aachen_000000_000018")
    assert not data.has_label("test/bonn_000000_000019")  # its label files are dummies


def test_neighbours_of_a_labelled_image_are_frames_of_its_clip(tmp_path: Path) -> None:
    data = Cityscapes(root=make_cityscapes(tmp_path))
    assert data.neighbour(LABELLED, -1) == "train/aachen_000000_000018"
    assert data.neighbour(LABELLED, 2) == "train/aachen_000000_000021"
    assert data.neighbour(LABELLED, 3) is None
    assert data.neighbour("val/lindau_000001_000019", 1) == "val/lindau_000001_000020"
    np.testing.assert_array_equal(data.image("train/aachen_000000_000020"), scene(0, (32, 64), 20, shift=20)[0])


def test_label_ids_become_train_ids(tmp_path: Path) -> None:
    make_cityscapes(tmp_path, size=(32, 64))
    ids = np.zeros((32, 64), np.uint8)
    ids[0, :6] = [7, 8, 33, 26, 29, 30]  # road, sidewalk, bicycle, car; caravan and trailer are not evaluated
    save(tmp_path / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png", ids)
    label = Cityscapes(root=tmp_path).label(LABELLED)
    assert label is not None
    assert label[0, :6].tolist() == [0, 1, 18, 13, IGNORE, IGNORE]
    assert (label[1:] == IGNORE).all()


def test_labels_are_brought_to_the_size_of_resized_images(tmp_path: Path) -> None:
    data = Cityscapes(root=make_cityscapes(tmp_path, size=(16, 32), label_size=(32, 64), suffix=".jpg"))
    label = data.label(LABELLED)
    expected = scene(0, (16, 32), 20, shift=19)[1]
    np.testing.assert_array_equal(label, np.where(expected == 19, IGNORE, expected))


def test_another_aspect_is_refused(tmp_path: Path) -> None:
    data = Cityscapes(root=make_cityscapes(tmp_path, size=(16, 32), label_size=(32, 52)))
    with pytest.raises(DataError, match=r"the label is 32 x 52.* another shape than its image of 16 x 32"):
        data.label(LABELLED)


def test_the_camera_is_scaled_and_lent_to_the_frames_of_its_clip(tmp_path: Path) -> None:
    data = Cityscapes(root=make_cityscapes(tmp_path, size=(32, 64)))
    camera = data.camera("train/aachen_000001_000021")
    assert camera is not None
    assert camera.fx == pytest.approx(2263.52 / 32)  # clip 1 has its own focal length
    assert camera.fy == pytest.approx(2265.3 / 32)
    assert camera.cx == pytest.approx((1096.98 + 0.5) / 32 - 0.5)
    assert camera.cy == pytest.approx((513.137 + 0.5) / 32 - 0.5)


def test_the_nearest_frame_lends_its_camera(tmp_path: Path) -> None:
    make_cityscapes(tmp_path, clips=1, frames=3)
    path = tmp_path / "camera/train/aachen/aachen_000000_000090_camera.json"
    path.write_text('{"intrinsic": {"fx": 32.0, "fy": 32.0, "u0": 0.0, "v0": 0.0}}')
    save(
        tmp_path / "leftImg8bit_sequence/train/aachen/aachen_000000_000080_leftImg8bit.png", np.zeros((32, 64, 3), "u1")
    )
    data = Cityscapes(root=tmp_path)
    near, far = data.camera("train/aachen_000000_000020"), data.camera("train/aachen_000000_000080")
    assert near is not None
    assert far is not None
    assert near.fx > 70
    assert far.fx == 1.0


def test_parts_may_be_missing_and_are_named(tmp_path: Path) -> None:
    data = Cityscapes(root=make_cityscapes(tmp_path, sequence=False, camera=False))
    assert "clips" not in data.splits
    assert data.camera(LABELLED) is None
    assert data.neighbour(LABELLED, 1) is None
    assert [part in note for part, note in zip(("sequence", "camera"), data.notes(), strict=True)] == [True, True]
    shutil.rmtree(tmp_path / "leftImg8bit")
    with pytest.raises(FathomError, match=r"expected the folders .*leftImg8bit/train and .*leftImg8bit/val"):
        Cityscapes(root=tmp_path).ids("train")


def test_a_bad_camera_file_is_a_problem(tmp_path: Path) -> None:
    make_cityscapes(tmp_path)
    (tmp_path / "camera/train/aachen/aachen_000000_000019_camera.json").write_text("{}")
    data = Cityscapes(root=tmp_path)
    assert ["not a Cityscapes camera file" in problem.reason for problem in data.problems(data.ids("train"))] == [True]


def test_files_that_belong_to_nothing_are_told(tmp_path: Path) -> None:
    root = make_cityscapes(tmp_path, clips=1, frames=1)
    data = Cityscapes(root=root)
    assert list(data.layout_problems(())) == []
    label = scene(0, (32, 64), 5)[1]
    for name in (
        "gtFine/train/aachen/aachen_000009_000019_gtFine_labelIds",
        "leftImg8bit/val/lindau/a",
        "gtFine/val/lindau/b",
    ):
        save(root / f"{name}.png", label)
    save(root / "gtFine/val/lindau/lindau_000000_000019_gtFine_color.png", label)
    told = {Path(problem.where).stem: problem.reason for problem in data.layout_problems(())}
    assert "is the label of no image" in told["aachen_000009_000019_gtFine_labelIds"]
    assert "_leftImg8bit.png" in told["a"]
    assert "_gtFine_labelIds.png" in told["b"]
    assert len(told) == 3


def test_the_key_of_a_label_has_the_size_of_the_image(tmp_path: Path) -> None:
    data = Cityscapes(root=make_cityscapes(tmp_path, clips=1, frames=1, sequence=False, camera=False))
    (id,) = data.ids("train")
    before = data.fingerprint(id, "label")
    save(data.files(id).image, np.zeros((16, 32, 3), np.uint8))
    assert data.fingerprint(id, "label") != before
