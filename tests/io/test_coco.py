"""COCO's run-length codes and polygons against pycocotools, and labels there and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from fathomseg.errors import DataError, FathomError
from fathomseg.io.coco import decode, encode, read_coco, write_coco
from fathomseg.io.polygons import Region, as_ring, fill, paint
from tests.fakes import scene

THEIRS = "ignore:__array__ implementation:DeprecationWarning"
MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


@pytest.mark.filterwarnings(THEIRS)
@settings(max_examples=30, deadline=None)
@given(MASKS)
def test_codes_are_those_of_pycocotools(mask: np.ndarray) -> None:
    theirs = pytest.importorskip("pycocotools.mask")
    size = list(mask.shape)
    packed = theirs.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    for counts in (packed, packed.decode(), encode(mask)):
        np.testing.assert_array_equal(decode(counts, size, mask.shape), mask)
    unpacked = theirs.frPyObjects({"size": size, "counts": encode(mask)}, *size)
    np.testing.assert_array_equal(theirs.decode(unpacked), mask)


def test_a_code_by_hand() -> None:
    mask = np.array([[0, 1], [1, 1], [1, 0]], bool)  # columns 0 1 1, 1 1 0
    assert encode(mask) == [1, 4, 1]
    np.testing.assert_array_equal(decode("141", [3, 2], (3, 2)), mask)  # "0" + 1, "0" + 4, "0" + 1


@pytest.mark.filterwarnings(THEIRS)
def test_polygons_differ_from_pycocotools_at_the_edge_alone() -> None:
    theirs = pytest.importorskip("pycocotools.mask")
    corners = [3.2, 2.1, 27.9, 5.5, 20.3, 21.7, 6.6, 17.0]
    (code,) = theirs.frPyObjects([corners], 24, 32)
    ours = paint([Region(1, (fill(as_ring(corners), (24, 32)),))], (24, 32), 0)
    wrong = ours != theirs.decode(code)
    near = np.pad(ours, 1)
    edge = sum(np.roll(near, step, axis) != near for step in (-1, 1) for axis in (0, 1))[1:-1, 1:-1] > 0
    assert not (wrong & ~edge).any()
    assert wrong.sum() < 0.5 * edge.sum()


def test_labels_come_back(tmp_path: Path) -> None:
    labels = {f"deep/{seed}.png": scene(seed, (9, 13), 4)[1] for seed in range(3)}
    drawn = {name: np.where(label == 3, 255, label).astype(np.uint8) for name, label in labels.items()}
    write_coco(tmp_path / "c.json", ("road", "car", "sky"), drawn.items(), "by hand")
    file = read_coco(tmp_path / "c.json")
    assert file.categories == {1: "road", 2: "car", 3: "sky"}
    assert [image.file_name for image in file.images] == list(drawn)
    for image in file.images:
        np.testing.assert_array_equal(file.label(image, (9, 13), {1: 0, 2: 1, 3: 2}, 255), drawn[image.file_name])
    one = json.loads((tmp_path / "c.json").read_text())["annotations"][0]
    mask = drawn["deep/0.png"] == one["category_id"] - 1
    left, top, width, height = one["bbox"]
    assert one["area"] == mask.sum() == mask[top : top + height, left : left + width].sum()


def coco(**changes: Any) -> dict[str, Any]:
    region = {"id": 9, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 3, 0, 3]], **changes}
    images = [{"id": 1, "file_name": "a.png", "height": 4, "width": 6}]
    return {"images": images, "categories": [{"id": 1, "name": "road"}], "annotations": [region]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"category_id": 7}, "a.png, annotation 9: has the unknown category 7"),
        ({"segmentation": []}, "has no segmentation, a box alone"),
        ({"segmentation": [[1, 2, 3]]}, "has no usable corners"),
        ({"segmentation": {"size": [6, 4], "counts": [24]}}, r"code of size \[6, 4\], but its image is \[4, 6\]"),
        ({"segmentation": {"size": [4, 6], "counts": [23]}}, "code of 23 pixels, but its image has 24"),
        ({"segmentation": {"size": [4, 6], "counts": "~~"}}, "letters that are none of it"),
        ({"segmentation": {"size": [4, 6], "counts": "P"}}, "cut short or damaged"),
        ({"segmentation": {"size": [4, 6], "counts": 5}}, "neither a text nor a list"),
    ],
)
def test_regions_that_cannot_be_used_are_named(changes: dict[str, Any], reason: str) -> None:
    file = read_coco(Path("c.json"), coco(**changes))
    with pytest.raises(DataError, match=reason):
        file.label(file.images[0], (4, 6), {1: 0}, 255)


@pytest.mark.parametrize("kind", ["images", "categories"])
def test_files_put_together_with_their_ids_are_refused(kind: str, tmp_path: Path) -> None:
    """Each image would have the regions of the other, or one class the name of another."""
    label = np.zeros((4, 5), np.uint8)
    write_coco(tmp_path / "c.json", ("road", "car"), [("a.png", label), ("b.png", label)], "by hand")
    tree = json.loads((tmp_path / "c.json").read_text())
    tree[kind][1]["id"] = 1
    with pytest.raises(FathomError, match=f"two of the {kind} have the same id"):
        read_coco(tmp_path / "c.json", tree)


def test_what_is_no_coco_is_refused() -> None:
    with pytest.raises(FathomError, match="expected images, categories and annotations"):
        read_coco(Path("c.json"), [1])
    with pytest.raises(FathomError, match="an entry lacks 'image_id'"):
        read_coco(Path("c.json"), coco() | {"annotations": [{}]})
    with pytest.raises(FathomError, match="two categories the same name"):
        read_coco(Path("c.json"), coco() | {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]})
    file = read_coco(Path("c.json"), coco())
    with pytest.raises(DataError, match=r"says that a.png is 4 x 6 \(height x width\), but it is 6 x 4"):
        file.label(file.images[0], (6, 4), {1: 0}, 255)
