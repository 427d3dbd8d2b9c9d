"""Labels that come back as COCO, YOLO or Label Studio's polygons: known by their content, and what is refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fathomseg.data.datasets.folder import Folder
from fathomseg.errors import DataError, FathomError
from fathomseg.io.coco import write_coco
from fathomseg.io.polygons import outlines
from fathomseg.io.yolo import text_of, write_description
from fathomseg.selection.annotation import Task, export, import_labels
from tests.fakes import make_folder
from tests.selection.annotation.tasks import annotation, drawing, from_label_studio, selection

IDS = ("images/007", "images/001")
NAMES = ("road", "car", "sky")


@pytest.fixture
def pool(tmp_path: Path) -> Folder:
    return Folder(root=make_folder(tmp_path / "mydata", labels=None, clips=0))


@pytest.fixture
def task(pool: Folder, tmp_path: Path) -> Task:
    return export(selection(IDS), pool, tmp_path / "out")


def drawn(task: Task) -> dict[str, np.ndarray]:
    return {image.stem: drawing(40 + i, image.size, 3) for i, image in enumerate(task.images)}


def coco(folder: Path, labels: Mapping[str, np.ndarray], names: tuple[str, ...] = NAMES) -> Path:
    """COCO's JSON as CVAT and Label Studio name it and the images in it."""
    path = folder / "annotations" / "instances_default.json"
    write_coco(path, names, ((f"images/0a1b2c3d-{stem}.png", label) for stem, label in labels.items()), "a tool")
    return path


def yolo(folder: Path, labels: Mapping[str, np.ndarray]) -> Path:
    for stem, label in labels.items():
        path = folder / "labels" / "train" / f"{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_of(label, len(NAMES)))
    write_description(folder, NAMES)
    return folder


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
        archive.writestr("__MACOSX/._labelmap.txt", "")
    return path


@pytest.mark.parametrize("form", ["coco json", "coco zip", "coco folder", "yolo zip", "yolo folder", "classes.txt"])
def test_the_content_says_which_format_it_is(pool: Folder, task: Task, tmp_path: Path, form: str) -> None:
    labels, folder = drawn(task), tmp_path / "job"
    if form.startswith("coco"):
        source = coco(folder, labels)
        assert (labels["0001-images-007"] == 255).any()
    else:
        labels = {stem: np.where(label == 255, 0, label).astype(np.uint8) for stem, label in labels.items()}
        yolo(folder, labels)
        if form == "classes.txt":  # Label Studio's
            (folder / "data.yaml").unlink()
            (folder / "classes.txt").write_text("\n".join(NAMES))
            (folder / "notes.json").write_text("{}")
    if "json" not in form:
        source = zipped(folder, tmp_path / "job.zip") if "zip" in form else folder
    done = import_labels(source, tmp_path / "out", pool.root)
    assert done.labelled == IDS
    for image in task.images:
        np.testing.assert_array_equal(Folder(root=pool.root).label(image.id), labels[image.stem])


def test_images_without_annotations_are_left_out(pool: Folder, task: Task, tmp_path: Path) -> None:
    first, second = drawn(task).items()
    source = coco(tmp_path / "job", dict([first, (second[0], np.full_like(second[1], 255))]))
    done = import_labels(source, tmp_path / "out", pool.root)
    assert (done.labelled, done.empty) == (IDS[:1], IDS[1:])


def polygons(label: np.ndarray, **changes: Any) -> dict[str, Any]:
    """What Label Studio keeps of somebody who drew this label with the polygon tool, largest areas first."""
    height, width = label.shape
    regions = [
        {
            "id": f"p{number}",
            "type": "polygonlabels",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "points": (ring / (width, height) * 100).round(4).tolist(),
                "closed": True,
                "polygonlabels": [NAMES[index]],
            },
            **changes,
        }
        for number, (index, ring) in enumerate(outlines(label))
    ]
    return {"id": 7, "result": regions, "was_cancelled": False, "updated_at": "2026-01-01T00:00:00Z"}


def test_polygons_of_label_studio_beside_brush_masks(pool: Folder, task: Task, tmp_path: Path) -> None:
    (first, one), (second, other) = drawn(task).items()
    one = np.where(one == 255, 0, one).astype(np.uint8)
    rows = {first: [polygons(one)], second: [annotation(other, NAMES)]}
    back = from_label_studio(tmp_path / "job.json", tmp_path / "out/label_studio/tasks.json", rows)
    assert import_labels(back, tmp_path / "out", pool.root).labelled == IDS
    np.testing.assert_array_equal(Folder(root=pool.root).label(IDS[0]), one)
    np.testing.assert_array_equal(Folder(root=pool.root).label(IDS[1]), other)
    bad = {first: [polygons(one, value={"points": [[1, 2]], "polygonlabels": ["car"]})]}
    back = from_label_studio(tmp_path / "job.json", tmp_path / "out/label_studio/tasks.json", bad)
    with pytest.raises(DataError, match="its polygon has no usable corners"):
        import_labels(back, tmp_path / "out", pool.root, overwrite=True)


def test_what_is_not_of_the_export_is_refused(pool: Folder, task: Task, tmp_path: Path) -> None:
    labels = drawn(task)
    (stem, label), _ = labels.items()
    other = json.loads(coco(tmp_path / "a", labels).read_text())
    twice = {**other, "images": [{**other["images"][0], "file_name": f"share/{stem}.png"}, *other["images"][1:]]}
    twice["images"][1] = {**twice["images"][1], "file_name": f"{stem}.png"}
    for name, tree in (("twice", twice), ("list", {"images": [], "categories": [], "annotations": [1]})):
        (tmp_path / f"{name}.json").write_text(json.dumps(tree))
    (tmp_path / "two" / "annotations").mkdir(parents=True)
    (tmp_path / "two" / "a.json").write_text("[]")
    empty = yolo(tmp_path / "empty", {})
    for source, reason in (
        (coco(tmp_path / "b", {"frame_1": label}), "frame_1.png: is of no image of this export"),
        (tmp_path / "twice.json", "is the second label of this image"),
        (tmp_path / "list.json", "an entry cannot be used"),
        (coco(tmp_path / "c", labels, ("road", "tree", "sky")), "the class 'tree' was not in the export"),
        (
            coco(tmp_path / "d", {stem: label[:9]}),
            r"0001-images-007.png is 9 x 32 \(height x width\), but it is 24 x 32",
        ),
        (tmp_path / "two", "holds 0 JSON files of COCO among 1; expected one"),
        (empty, "holds no label: expected labels/NAME.txt"),
    ):
        with pytest.raises(FathomError, match=reason):
            import_labels(source, tmp_path / "out", pool.root)
    assert not (pool.root / "labels").exists()
