"""The dataset `yolo`: the layouts it reads, and what is wrong with a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.data.datasets.yolo import YoloFolder
from fathomseg.errors import DataError, FathomError
from tests.fakes import make_yolo, save, write_yaml

NAMES = ["road", "car", "sky"]


def test_splits_are_those_of_data_yaml(tmp_path: Path) -> None:
    data = YoloFolder(root=make_yolo(tmp_path, images=3))
    assert data.splits == ("train", "val", "all")
    assert data.ids("val") == ("val/0000", "val/0001", "val/0002")
    tree = {"train": "images/train", "test": "images/val", "names": NAMES}
    write_yaml(tmp_path / "data.yaml", tree)
    tested = YoloFolder(root=tmp_path, val=["0002"])
    assert tested.ids("all") == ("train/0000", "train/0001", "train/0002")
    assert tested.ids("test") == ("test/0000", "test/0001", "test/0002")
    assert data.classes.names == tuple(NAMES)
    label = data.label("train/0001")
    assert label is not None
    assert label[12, 12] == 1
    assert set(np.unique(label)) == {1, 255}


def test_texts_that_list_images_and_paths_of_other_machines(tmp_path: Path) -> None:
    make_yolo(tmp_path, images=3)
    (tmp_path / "train.txt").write_text("data/images/train/0000.png\n./images/train/0002.png\n")
    tree = {"path": "/gone", "train": "train.txt", "val": ["../images/val"], "names": NAMES}
    write_yaml(tmp_path / "data.yaml", tree)
    data = YoloFolder(root=tmp_path)
    assert data.ids("train") == ("train/train/0000", "train/train/0002")
    assert data.ids("val") == ("val/0000", "val/0001", "val/0002")
    assert all(data.has_label(id) for id in (*data.ids("train"), *data.ids("val")))


def test_without_data_yaml_images_are_split_by_a_hash(tmp_path: Path) -> None:
    data = YoloFolder(root=make_yolo(tmp_path, images=9, splits=False))
    (tmp_path / "labels/0003.txt").unlink()
    (tmp_path / "labels/0004.txt").write_text("")
    assert len(data.ids("train")) + len(data.ids("val")) == 9
    assert 1 <= len(data.ids("val")) < 5
    labels = {id.split("/")[1]: data.label(id) for split in data.splits for id in data.ids(split)}
    assert labels["0003"] is None
    assert (labels["0004"] == 255).all()
    assert "about 20 %" in data.notes()[1]


def test_what_is_wrong_with_a_folder_is_told(tmp_path: Path) -> None:
    data = YoloFolder(root=make_yolo(tmp_path, images=2))
    (tmp_path / "labels/train/0009.txt").write_text("")
    (tmp_path / "labels/val/0001.txt").write_text("0 0.1 0.1 0.5 0.5")
    told = [str(problem) for problem in data.problems([*data.ids("train"), *data.ids("val")])]
    assert len(told) == 2
    assert "labels/val/0001.txt line 1: holds a box" in told[0]
    assert "labels/train/0009.txt: is the label of no image" in told[1]
    write_yaml(tmp_path / "data.yaml", {"train": "elsewhere", "names": NAMES})
    with pytest.raises(FathomError, match="names 'elsewhere', which is neither a folder nor a text file"):
        YoloFolder(root=tmp_path).ids("train")
    write_yaml(tmp_path / "data.yaml", {"train": ["images/train", "images/val"], "names": NAMES})
    with pytest.raises(DataError, match=r"has the id of .*train/0000\.png, 'train/0000'; rename one"):
        YoloFolder(root=tmp_path).ids("train")


def test_a_folder_is_known_by_data_yaml(tmp_path: Path) -> None:
    root = make_yolo(tmp_path, images=2)
    assert resolve_dataset(str(root)) == YoloFolder(root=root)


def test_the_key_of_a_label_has_the_numbers_of_the_classes_and_the_size_of_the_image(tmp_path: Path) -> None:
    data = YoloFolder(root=make_yolo(tmp_path, images=2))
    first = data.fingerprint("val/0000", "label")
    save(data.files("val/0000").image, np.zeros((12, 16, 3), np.uint8))
    second = data.fingerprint("val/0000", "label")
    tree = {"train": "images/train", "val": "images/val", "names": {0: "road", 2: "car", 5: "sky"}}
    write_yaml(tmp_path / "data.yaml", tree)
    third = YoloFolder(root=tmp_path).fingerprint("val/0000", "label")
    assert len({first, second, third}) == 3
