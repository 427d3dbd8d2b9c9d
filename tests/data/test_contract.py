"""What every dataset of the union promises; a new one is tested by being listed there."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fathomseg import config
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.files import FileDataset
from fathomseg.data.datasets.resolve import dataset_kinds
from fathomseg.data.datasets.several import Several
from fathomseg.errors import FathomError
from fathomseg.io.files import write_config
from fathomseg.types import IGNORE
from tests.fakes import (
    make_camvid,
    make_cityscapes,
    make_coco,
    make_folder,
    make_gta5,
    make_idd_lite,
    make_kitti,
    make_kitti2015,
    make_kitti_semantics,
    make_mapillary,
    make_nyuv2,
    make_synthia,
    make_vkitti2,
    make_yolo,
)

MAKERS: dict[str, Callable[[Path], Path]] = {
    "camvid": lambda folder: make_camvid(folder, test=2),
    "idd_lite": make_idd_lite,
    "cityscapes": make_cityscapes,
    "kitti": lambda folder: make_kitti(folder, "raw", right=True),
    "kitti2015": make_kitti2015,
    "kitti_semantics": make_kitti_semantics,
    "nyuv2": lambda folder: make_nyuv2(folder, "folders"),
    "vkitti2": make_vkitti2,
    "gta5": make_gta5,
    "synthia": make_synthia,
    "mapillary": make_mapillary,
    "coco": make_coco,
    "yolo": make_yolo,
    "folder": lambda folder: make_folder(folder, videos=1),
}
UNLABELLED = {"kitti"}
NO_VIDEO = {"idd_lite", "nyuv2", "gta5", "synthia", "mapillary", "coco", "yolo"}
SHARED_LABELS = {"coco"}
"""One file has the labels of many images, and lists them; tests/data/datasets/test_coco.py looks at such files."""
ONLY_EVALUATED = {"kitti2015"}
COMPUTED = {
    "streets": {"size": (32, 64), "train_clips": 2, "val_clips": 1, "test_clips": 1, "frames": 3},
}
OF_FILES = [name for name, kind in dataset_kinds().items() if issubclass(kind, FileDataset)]


def make(name: str, folder: Path) -> Dataset:
    if name == "several":
        members = {"town": make("cityscapes", folder / "town"), "bench-1": make("kitti2015", folder / "bench")}
        return Several(datasets={key: member.model_dump() for key, member in members.items()})  # type: ignore[misc]
    settings = COMPUTED[name] if name in COMPUTED else {"root": MAKERS[name](folder)}
    return dataset_kinds()[name].model_validate({"name": name, **settings})


def some_split(dataset: Dataset) -> str:
    """A split whose images have labels, if any have."""
    return "val" if dataset.name in ONLY_EVALUATED else "train"


def every_id(dataset: Dataset) -> list[str]:
    return sorted({id for split in dataset.splits for id in dataset.ids(split)})


@pytest.fixture(scope="module", params=list(dataset_kinds()))
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """One of the datasets, on files nobody may change."""
    return make(request.param, tmp_path_factory.mktemp(request.param) / "data")


@pytest.fixture(params=OF_FILES)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> FileDataset:
    """One of the datasets, on files the test may change."""
    made = make(request.param, tmp_path / "data")
    assert isinstance(made, FileDataset)
    return made


@pytest.fixture
def labelled(own: FileDataset) -> FileDataset:
    """One of the datasets that have a label file for each image, on files the test may change."""
    if own.name in UNLABELLED | SHARED_LABELS:
        pytest.skip(f"{own.name} has no labels of its own for each image")
    return own


def again(dataset: Dataset, root: Path | None = None) -> FileDataset:
    return dataset.model_copy(update={"root": root or dataset.root})


def test_ids_are_sorted_and_unique_and_there_are_both_train_and_val(dataset: Dataset) -> None:
    for split in dataset.splits:
        ids = list(dataset.ids(split))
        assert ids
        assert ids == sorted(set(ids))
    if dataset.name in ONLY_EVALUATED:
        assert "train" not in dataset.splits
    else:
        assert not set(dataset.ids("train")) & set(dataset.ids("val"))
    assert "val" in dataset.splits


def test_ids_do_not_depend_on_where_the_data_lies(own: FileDataset, tmp_path: Path) -> None:
    before = {split: own.ids(split) for split in own.splits}
    moved = again(own, own.root.rename(tmp_path / "elsewhere"))
    assert {split: moved.ids(split) for split in moved.splits} == before
    assert moved.image(before[some_split(own)][0]).size


def test_images_and_labels_have_the_promised_types_sizes_and_values(dataset: Dataset) -> None:
    values: set[int] = set()
    for id in every_id(dataset):
        image, label = dataset.image(id), dataset.label(id)
        assert image.dtype == np.uint8
        assert image.shape[2:] == (3,)
        assert dataset.has_label(id) == (label is not None)
        if label is not None:
            assert label.dtype == np.uint8
            assert label.shape == image.shape[:2]
            values |= set(np.unique(label).tolist())
    if dataset.name in UNLABELLED:
        assert not values
        return
    assert values <= {*range(len(dataset.classes)), IGNORE}
    assert IGNORE in values or dataset.name == "streets"
    assert len(values) > len(dataset.classes) // 2


def test_reading_images_never_opens_a_label(labelled: FileDataset) -> None:
    expected = {id: labelled.image(id) for id in every_id(labelled)}
    having = [id for id in expected if labelled.has_label(id)]
    assert having
    for id in having:
        labelled.files(id).label.unlink()  # type: ignore[union-attr]
    for id, image in expected.items():
        assert labelled.has_label(id) == (id in having)  # told from the listing
        np.testing.assert_array_equal(labelled.image(id), image)
    fresh = again(labelled)
    assert not any(fresh.has_label(id) for id in expected)
    assert all(fresh.label(id) is None for id in expected)


def test_an_unknown_split_or_id_is_answered_with_what_there_is(dataset: Dataset) -> None:
    with pytest.raises(FathomError, match=f"no split 'tarin'; there is: .*{dataset.splits[-1]}"):
        dataset.ids("tarin")
    some = dataset.ids(some_split(dataset))[0]
    own = some.partition("/")[2] if dataset.name == "several" else some  # what its own dataset calls it
    with pytest.raises(FathomError, match=f"(has|have) no sample '{own}x'"):
        dataset.image(some + "x")


@pytest.mark.parametrize("kind", ["image", "label"])
def test_the_fingerprint_changes_with_the_file_alone(own: FileDataset, kind: str) -> None:
    if kind == "label" and own.name in UNLABELLED:
        pytest.skip(f"{own.name} has no labels")
    first, second = [id for id in own.ids(some_split(own)) if kind == "image" or own.has_label(id)][:2]
    before = own.fingerprint(first, kind), own.fingerprint(second, kind)  # type: ignore[arg-type]
    assert None not in before
    assert before[0] != before[1]
    path = getattr(own.files(first), kind)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert own.fingerprint(first, kind) != before[0]  # type: ignore[arg-type]
    shared = kind == "label" and own.name in SHARED_LABELS
    assert (own.fingerprint(second, kind) == before[1]) != shared  # type: ignore[arg-type]
    assert (own.fingerprint(first, "depth") is None) == (own.depth(first) is None)


def test_neighbours_lead_there_and_back(dataset: Dataset) -> None:
    pairs = 0
    for id in every_id(dataset):
        after = dataset.neighbour(id, 1)
        if after is not None:
            pairs += 1
            assert after > id
            assert dataset.neighbour(after, -1) == id
            assert dataset.neighbour(id, 2) == dataset.neighbour(after, 1)
    assert pairs > 0 or dataset.name in NO_VIDEO


def test_the_camera_belongs_to_the_stored_image(dataset: Dataset) -> None:
    for id in every_id(dataset):
        camera = dataset.camera(id)
        if camera is not None:
            assert (camera.height, camera.width) == dataset.image(id).shape[:2]


def test_it_is_a_frozen_part_that_can_be_saved_copied_and_sent(dataset: Dataset, tmp_path: Path) -> None:
    same = type(dataset).model_validate(dataset.model_dump())
    assert same == dataset
    assert hash(same) == hash(dataset)
    with pytest.raises(ValueError, match="frozen"):
        dataset.name = "other"
    write_config(dataset, tmp_path / "data.yaml")
    assert config.load(type(dataset), tmp_path / "data.yaml") == dataset
    sent = pickle.loads(pickle.dumps(dataset))
    assert sent == dataset
    assert every_id(sent) == every_id(dataset)


def test_a_copy_with_another_root_lists_its_own_files(own: FileDataset, tmp_path: Path) -> None:
    before = every_id(own)
    other = shutil.copytree(own.root, tmp_path / "other")
    (own.files(before[0]).image).unlink()
    assert every_id(again(own, other)) == before
    assert every_id(own) == before  # listed once
    assert every_id(again(own)) != before or own.name == "cityscapes"  # there the video has the frame as well


def test_good_files_have_no_problems(dataset: Dataset) -> None:
    assert list(dataset.problems(every_id(dataset))) == []


def test_any_dataset_can_be_asked_of_its_files(dataset: Dataset) -> None:
    ids = every_id(dataset)
    assert set(ids) <= set(dataset.every_id())
    stored = [dataset.files(id) for id in ids]
    assert [one is None for one in stored] == [dataset.name in COMPUTED] * len(ids)
    assert all(one.image.is_file() for one in stored if one is not None)
    assert [*dataset.layout_problems(ids), *dataset.passed_over()] == []
    assert all(note.endswith(".") for note in dataset.notes())


def test_problems_say_what_reading_says(labelled: FileDataset) -> None:
    first, second = [id for id in labelled.ids(some_split(labelled)) if labelled.has_label(id)][:2]
    for path in (labelled.files(first).image, labelled.files(second).label):
        assert path is not None
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    raised = []
    for read in (lambda: labelled.image(first), lambda: labelled.label(second)):
        with pytest.raises(FathomError) as caught:
            read()
        raised += caught.value.problems  # type: ignore[attr-defined]
    assert list(labelled.problems(labelled.ids(some_split(labelled)))) == raised
    assert "cannot be decoded" in raised[0].reason


def test_a_folder_that_is_not_the_dataset_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    for name in OF_FILES:
        dataset = dataset_kinds()[name].model_validate({"name": name, "root": tmp_path / "empty"})
        with pytest.raises(FathomError, match=r"(?s)expected|There is no .*dataset.yaml") as caught:
            dataset.splits  # noqa: B018
        assert str(tmp_path / "empty") in str(caught.value)
