"""SYNTHIA-RAND-CITYSCAPES: ids in the first channel of 16 bits, depth in centimetres, splits by blocks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fathomseg.data.datasets.cityscapes import CLASSES
from fathomseg.data.datasets.synthia import Synthia
from fathomseg.errors import DataError
from fathomseg.stages.check import check
from fathomseg.types import IGNORE
from tests.fakes import make_synthia, save, scene


def test_labels_are_those_of_the_scene(tmp_path: Path) -> None:
    data = Synthia(root=make_synthia(tmp_path))
    expected = scene(131, (24, 40), 17)[1]
    expected[expected == 16] = IGNORE
    np.testing.assert_array_equal(data.label("0000131"), expected)
    absent = {"terrain", "truck", "train"}
    assert data.classes.names == tuple(name for name in CLASSES.names if name not in absent)
    assert len(data.classes) == 16
    assert set(zip(data.classes.names, data.classes.colours, strict=True)) <= set(
        zip(CLASSES.names, CLASSES.colours, strict=True)
    )


def test_ids_are_those_of_the_readme(tmp_path: Path) -> None:
    data = Synthia(root=make_synthia(tmp_path))
    for name, id in {"sky": 1, "road": 3, "car": 8, "rider": 17, "bicycle": 11, "motorcycle": 12, "wall": 21}.items():
        stored = np.zeros((24, 40, 3), np.uint16)
        stored[..., 2], stored[..., 1] = id, 3  # OpenCV has red last; the second channel counts instances
        cv2.imwrite(str(tmp_path / "GT/LABELS/0000000.png"), stored)
        label = data.label("0000000")
        assert label is not None
        assert set(np.unique(label)) == {data.classes.names.index(name)}
    for absent in (16, 18, 20):
        stored[..., 2] = absent
        cv2.imwrite(str(tmp_path / "GT/LABELS/0000000.png"), stored)
        assert set(np.unique(data.label("0000000"))) == {IGNORE}
    stored[..., 2] = 40
    cv2.imwrite(str(tmp_path / "GT/LABELS/0000000.png"), stored)
    with pytest.raises(DataError, match=r"id 40 \(960 pixels\) not in the class list.*0 to 22"):
        data.label("0000000")


def test_labels_may_be_larger_than_stored_images_but_not_stretched(tmp_path: Path) -> None:
    data = Synthia(root=make_synthia(tmp_path))
    path, stored = str(tmp_path / "GT/LABELS/0000131.png"), cv2.imread(str(tmp_path / "GT/LABELS/0000131.png"), -1)
    label = data.label("0000131")
    cv2.imwrite(path, np.repeat(np.repeat(stored, 2, axis=0), 2, axis=1))
    np.testing.assert_array_equal(data.label("0000131"), label)
    cv2.imwrite(path, np.repeat(stored, 20, axis=0).repeat(20, axis=1)[:, :-60])  # 7.5 % narrower
    with pytest.raises(DataError, match=r"the label is 480 x 740 .* another shape than its image"):
        data.label("0000131")


def test_depth_is_in_metres_and_the_sky_is_invalid(tmp_path: Path) -> None:
    data = Synthia(root=make_synthia(tmp_path / "a"))
    depth = data.depth("0000130")
    assert depth is not None
    assert not depth[:8].any()
    np.testing.assert_allclose(depth[8:], 5.3, atol=1e-6)
    assert Synthia(root=make_synthia(tmp_path / "b", depth=False)).depth("0000130") is None
    save(tmp_path / "a/Depth/Depth/0000130.png", np.zeros((24, 40), np.uint8))
    (tmp_path / "a/Depth/Depth/0000131.png").unlink()
    report = check(Synthia(root=tmp_path / "a"))
    found = {Path(problem.where).name: problem.reason for problem in report.problems}
    assert list(found) == ["0000130.png"]
    assert "expected 16-bit depth in 1/100 m" in found["0000130.png"]
    assert "1 of 6 images have no depth map." in report.notes


def test_blocks_of_a_hundred_numbers_are_held_out(tmp_path: Path) -> None:
    data = Synthia(root=make_synthia(tmp_path, numbers=range(0, 900, 25), size=(6, 8)), val_percent=30)
    train, val = ({int(id) // 100 for id in data.ids(split)} for split in ("train", "val"))
    assert not train & val
    assert train | val == set(range(9))
