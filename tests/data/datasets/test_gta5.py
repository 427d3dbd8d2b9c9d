"""GTA5: labels as palette images or colours, splits from files or by blocks, and what bad copies are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fathomseg.data.datasets.gta5 import Gta5
from fathomseg.errors import DataError
from fathomseg.types import IGNORE
from tests.fakes import make_gta5, save, scene


@pytest.mark.parametrize("kind", ["palette", "colours"])
def test_labels_are_those_of_the_scene(tmp_path: Path, kind: str) -> None:
    data = Gta5(root=make_gta5(tmp_path, kind=kind))
    for number in (1, 320):
        expected = scene(number, (24, 40), 20)[1]
        expected[expected == 19] = IGNORE
        np.testing.assert_array_equal(data.label(f"{number:05d}"), expected)
    assert ("colours" if kind == "colours" else "ids") in data.notes()[0]


def test_blocks_of_a_hundred_numbers_are_held_out(tmp_path: Path) -> None:
    data = Gta5(root=make_gta5(tmp_path, numbers=range(0, 1500, 30), size=(6, 8)), val_percent=30)
    train, val = ({int(id) // 100 for id in data.ids(split)} for split in ("train", "val"))
    assert not train & val
    assert train | val == set(range(15))
    assert 1 <= len(val) <= 8


def test_the_official_file_or_lists_come_first(tmp_path: Path) -> None:
    from scipy.io import savemat

    root = make_gta5(tmp_path)
    (root / "val.txt").write_text("00150.png\n00151.png\n")
    (root / "train.txt").write_text("00001.png\n99999.png\n")
    data = Gta5(root=root)
    assert {split: data.ids(split) for split in data.splits} == {"train": ("00001",), "val": ("00150", "00151")}
    savemat(root / "split.mat", {"trainIds": [[1], [2]], "valIds": [[320]], "testIds": [[321], [9]]})
    data = Gta5(root=root)
    expected = {"train": ("00001", "00002"), "val": ("00320",), "test": ("00321",)}
    assert {split: data.ids(split) for split in data.splits} == expected
    (root / "split.mat").write_bytes(b"no matlab")
    with pytest.raises(DataError, match=r"split\.mat.*expected trainIds, valIds and testIds"):
        Gta5(root=root).splits  # noqa: B018


def test_images_may_be_stored_smaller_but_in_no_other_shape(tmp_path: Path) -> None:
    data = Gta5(root=make_gta5(tmp_path, label_size=(72, 120)))
    label = data.label("00001")
    assert label is not None
    assert label.shape == (24, 40)
    save(tmp_path / "images" / "00002.png", np.zeros((24, 50, 3), np.uint8))
    with pytest.raises(DataError, match=r"72 x 120 .* another shape than its image of 24 x 50"):
        Gta5(root=tmp_path).label("00002")


def test_the_key_of_a_label_has_the_size_of_the_image(tmp_path: Path) -> None:
    data = Gta5(root=make_gta5(tmp_path, numbers=(1, 150)))
    before = data.fingerprint("00001", "label")
    save(data.files("00001").image, np.zeros((12, 20, 3), np.uint8))
    assert data.fingerprint("00001", "label") != before
