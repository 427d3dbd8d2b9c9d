"""The dataset `coco`: the layouts it reads, what unpainted pixels are, and splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fathomseg.data.datasets.coco import CocoFolder
from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.errors import DataError, FathomError
from tests.fakes import make_coco, scene


def expected(seed: int) -> np.ndarray:
    label = scene(seed, (24, 32), 3)[1]
    label[:2] = 255
    return label


@pytest.mark.parametrize("layout", ["official", "roboflow"])
def test_splits_are_those_of_the_files(tmp_path: Path, layout: str) -> None:
    data = CocoFolder(root=make_coco(tmp_path, images=3, layout=layout))
    assert data.splits == ("train", "val", "all")
    assert data.ids("all") == (*data.ids("train"), *data.ids("val"))
    assert data.ids("val") == ("val/0000", "val/0001", "val/0002")
    assert data.classes.names == ("road", "car", "sky")
    for number in range(3):
        np.testing.assert_array_equal(data.label(f"train/000{number}"), expected(number))
        np.testing.assert_array_equal(data.label(f"val/000{number}"), expected(100 + number))
    assert data.notes() == ("Pixels that no region covers count nowhere (`unpainted`).",)


def test_files_are_found_by_paths_of_windows(tmp_path: Path) -> None:
    root = make_coco(tmp_path, images=3, layout="one")
    (path,) = root.rglob("*.json")
    tree = json.loads(path.read_text())
    for image in tree["images"]:
        image["file_name"] = f"images\\{image['file_name']}"
    path.write_text(json.dumps(tree))
    assert CocoFolder(root=root).ids("all") == tuple(f"train/images/{i:04d}" for i in range(3))


def test_one_file_is_split_by_a_hash_and_images_without_annotations_have_no_label(tmp_path: Path) -> None:
    data = CocoFolder(root=make_coco(tmp_path, images=12, layout="one"))
    train, val = data.ids("train"), data.ids("val")
    assert len(train) + len(val) == 12
    assert 1 <= len(val) < 6
    assert not data.has_label("train/0011")
    assert data.label("train/0011") is None
    assert "about 20 % of the labelled images are val" in data.notes()[1]


def test_unpainted_pixels_are_a_class_if_asked(tmp_path: Path) -> None:
    root = make_coco(tmp_path, images=2)
    known = CocoFolder(root=root, unpainted="sky")
    np.testing.assert_array_equal(known.label("train/0000"), np.where(expected(0) == 255, 2, expected(0)))
    new = CocoFolder(root=root, unpainted="background")
    assert new.classes.names == ("road", "car", "sky", "background")
    np.testing.assert_array_equal(new.label("train/0000"), np.where(expected(0) == 255, 3, expected(0)))
    assert "are 'background'" in new.notes()[0]
    assert new.fingerprint("train/0000", "label") != known.fingerprint("train/0000", "label")


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_wrong_with_a_folder_is_told(tmp_path: Path) -> None:
    data = CocoFolder(root=make_coco(tmp_path, images=2))
    (tmp_path / "val2017/0001.png").unlink()
    assert [str(one) for one in data.problems(data.ids("train"))] == [
        f"{tmp_path}/annotations/instances_val2017.json: lists 1 images that are not below {tmp_path}: 0001.png"
    ]
    (tmp_path / "annotations/captions_train2017.json").write_text("[]")  # something else, which COCO has beside them
    file = tmp_path / "annotations/instances_val2017.json"
    change(file, categories=[{"id": 1, "name": "road"}])
    with pytest.raises(FathomError, match="has other categories than"):
        CocoFolder(root=tmp_path).ids("train")
    file.unlink()
    file = tmp_path / "annotations/instances_train2017.json"
    change(file, images=json.loads(file.read_text())["images"] * 2)
    with pytest.raises(DataError, match="has the id of another image, 'train/0000'"):
        CocoFolder(root=tmp_path).ids("train")
    change(file, categories=[{"id": 1, "name": "road"}])
    with pytest.raises(FathomError, match="two are needed: set unpainted=background"):
        _ = CocoFolder(root=tmp_path).classes


def test_json_of_something_else_beside_it_is_left_out_and_told(tmp_path: Path) -> None:
    root = make_coco(tmp_path, images=2)
    before = CocoFolder(root=root)
    assert before.passed_over() == ()
    (root / "package.json").write_text('{"name": "labels"}')
    (root / "a.json").write_text("[1]")
    data = CocoFolder(root=root)
    assert data.splits == before.splits
    np.testing.assert_array_equal(data.label("train/0000"), before.label("train/0000"))
    told = [f"{root / name} is no file of COCO and is not read." for name in ("a.json", "package.json")]
    assert list(data.passed_over()) == told
    for path in root.rglob("instances_*.json"):
        path.unlink()
    with pytest.raises(FathomError, match=r"a\.json is no file of COCO: expected images, categories"):
        CocoFolder(root=root).ids("train")


def test_a_folder_is_known_by_its_annotations(tmp_path: Path) -> None:
    root = make_coco(tmp_path, images=2)
    assert resolve_dataset(str(root)) == CocoFolder(root=root)
    assert resolve_dataset(str(root), ["unpainted=sky"]) == CocoFolder(root=root, unpainted="sky")
