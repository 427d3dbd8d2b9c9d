"""What annotation tools are given, read as they read it."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fathomseg
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import FathomError
from fathomseg.selection.annotation import Task, export, load_task
from fathomseg.selection.annotation.brush import decode
from fathomseg.selection.annotation.task import stems, told_apart
from fathomseg.types import ClassList
from tests.fakes import make_folder, write_yaml
from tests.selection.annotation.tasks import Guess, selection
from tests.stages.saved_run import save_run

IDS = ("images/007", "clips/drive0/000002", "images/001")


def voc_colours(count: int) -> list[tuple[int, int, int]]:
    """Pascal VOC's colours 0, 1, 2 ..., by the loop of its development kit."""
    colours = []
    for number in range(count):
        rgb, rest = [0, 0, 0], number
        for shift in range(7, -1, -1):
            for channel in range(3):
                rgb[channel] |= ((rest >> channel) & 1) << shift
            rest >>= 3
        colours.append((rgb[0], rgb[1], rgb[2]))
    return colours


def cvat_objects(archive: zipfile.ZipFile, stem: str) -> dict[str, np.ndarray]:
    """The masks CVAT makes of an image: every object that is not black, named by the one colour below it."""
    lines = [line for line in archive.read("labelmap.txt").decode().splitlines() if not line.startswith("#")]
    names = {tuple(int(v) for v in line.split(":")[1].split(",")): line.split(":")[0] for line in lines}
    classes, objects = (
        np.asarray(Image.open(io.BytesIO(archive.read(f"{folder}/{stem}.png"))))
        for folder in ("SegmentationClass", "SegmentationObject")
    )
    found = {}
    for number, colour in enumerate(voc_colours(256)):
        mask = (objects == colour).all(2)
        if number > 0 and mask.any():
            (below,) = {tuple(int(v) for v in rgb) for rgb in classes[mask]}
            found[names[below]] = mask
    assert {tuple(int(v) for v in rgb) for rgb in classes.reshape(-1, 3)} <= set(names)
    return found


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(root=make_folder(tmp_path_factory.mktemp("pool"), videos=0))


def test_images_are_stored_exactly_and_named_by_rank(pool: Folder, tmp_path: Path) -> None:
    task = export(selection(IDS), pool, tmp_path)
    assert [image.stem for image in task.images] == ["0001-images-007", "0002-clips-drive0-000002", "0003-images-001"]
    for image, id in zip(task.images, IDS, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"images/{image.stem}.png")), pool.image(id))
        assert image.size == (24, 32)
    assert load_task(tmp_path) == task
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        *(f"images/{image.stem}.png" for image in task.images),
        "annotation.json",
        "cvat/labels.json",
        "cvat/segmentation_mask_1.1.zip",
        "label_studio/config.xml",
        "label_studio/tasks.json",
    }


def test_cvat_gets_a_whole_project_even_without_labels(pool: Folder, tmp_path: Path) -> None:
    task = export(selection(IDS), pool, tmp_path)
    labels = json.loads((tmp_path / "cvat/labels.json").read_text())
    assert [(one["name"], one["color"]) for one in labels] == [
        ("road", "#804080"),
        ("car", "#00008e"),
        ("sky", "#4682b4"),
    ]
    with zipfile.ZipFile(tmp_path / "cvat/segmentation_mask_1.1.zip") as archive:
        names = set(archive.namelist())
        assert archive.read("labelmap.txt").decode() == (
            "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\ncar:0,0,142::\nsky:70,130,180::\n"
        )
        listed = archive.read("ImageSets/Segmentation/default.txt").decode().split()
        assert listed == [image.stem for image in task.images]
        image = np.asarray(Image.open(io.BytesIO(archive.read(f"JPEGImages/{listed[1]}.png"))))
    assert not [name for name in names if name.startswith("Segmentation")]
    np.testing.assert_array_equal(image, pool.image(IDS[1]))


def test_both_tools_show_the_same_labels_to_correct(pool: Folder, tmp_path: Path) -> None:
    ids = ("images/003", "images/004")
    guess = Guess(pool)
    task = export(selection(ids), pool, tmp_path, guess)
    tasks = json.loads((tmp_path / "label_studio/tasks.json").read_text())
    with zipfile.ZipFile(tmp_path / "cvat/segmentation_mask_1.1.zip") as archive:
        for image, row in zip(task.images, tasks, strict=True):
            label = guess.predict(pool.image(image.id)).label
            wanted = {pool.classes.names[i]: label == i for i in np.unique(label)}
            assert len(wanted) > 1
            masks = cvat_objects(archive, image.stem)
            (prediction,) = row["predictions"]
            brushes = {
                region["value"]["brushlabels"][0]: decode(region["value"]["rle"], (24, 32))
                for region in prediction["result"]
            }
            assert row["data"]["image"] == f"/data/local-files/?d=images/{image.stem}.png"
            for found in (masks, brushes):
                assert set(found) == set(wanted)
                for name, mask in wanted.items():
                    np.testing.assert_array_equal(found[name], mask)
            for region in prediction["result"]:
                assert (region["original_height"], region["original_width"]) == (24, 32)
                assert (region["from_name"], region["to_name"], region["type"]) == ("label", "image", "brushlabels")


def test_a_run_draws_the_labels(pool: Folder, tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", pool.classes, {"name": "folder", "root": str(pool.root)})
    predictor = fathomseg.load(run, device="cpu")
    task = export(selection(IDS[:1]), pool, tmp_path / "out", predictor)
    label = predictor.predict(pool.image(IDS[0])).label
    with zipfile.ZipFile(tmp_path / "out/cvat/segmentation_mask_1.1.zip") as archive:
        masks = cvat_objects(archive, task.images[0].stem)
    assert set(masks) == {pool.classes.names[i] for i in np.unique(label)}
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask, label == pool.classes.names.index(name))


def test_ignored_pixels_stay_unlabelled(pool: Folder, tmp_path: Path) -> None:
    guess = Guess(pool)
    label = guess.predict(pool.image("images/000")).label
    label[:6] = 255
    guess.predict = lambda image: type("P", (), {"label": label})()  # type: ignore[assignment,method-assign]
    task = export(selection(["images/000"]), pool, tmp_path, guess)
    with zipfile.ZipFile(tmp_path / "cvat/segmentation_mask_1.1.zip") as archive:
        masks = cvat_objects(archive, task.images[0].stem)
    np.testing.assert_array_equal(np.any(list(masks.values()), axis=0), label != 255)
    (row,) = json.loads((tmp_path / "label_studio/tasks.json").read_text())
    assert len(row["predictions"][0]["result"]) == len(masks) == len(np.unique(label)) - 1


def test_the_interface_of_label_studio_takes_any_name(tmp_path: Path) -> None:
    classes = ['<road & "kerb">', "Straße", "sky"]
    make_folder(tmp_path / "pool", images=2, labels=None, clips=0)
    write_yaml(tmp_path / "pool/dataset.yaml", {"classes": classes})
    export(selection(["images/000"]), Folder(root=tmp_path / "pool"), tmp_path / "out")
    view = ET.parse(tmp_path / "out/label_studio/config.xml").getroot()
    (image,), (brush,), (polygon,) = (view.iter(kind) for kind in ("Image", "BrushLabels", "PolygonLabels"))
    for tool in (brush, polygon):
        assert [one.attrib["value"] for one in tool.iter("Label")] == classes
        assert tool.attrib["toName"] == "image"
    assert brush.attrib["name"] != polygon.attrib["name"]
    assert (image.attrib["name"], image.attrib["value"], brush.attrib["toName"]) == ("image", "$image", "image")
    (task,) = json.loads((tmp_path / "out/label_studio/tasks.json").read_text())
    assert "predictions" not in task


def test_classes_can_be_told_apart_in_the_tool() -> None:
    own = ClassList(("a", "b", "c", "d"), ((1, 2, 3), (0, 0, 0), (1, 2, 3), (128, 0, 0)))
    shown = [one.colour for one in told_apart(own)]
    assert shown[0] == (1, 2, 3)
    assert shown[3] == (128, 0, 0)
    assert len({*shown, (0, 0, 0)}) == 5
    black = ClassList(("thing", "background"), ((9, 9, 9), (0, 0, 0)))
    assert [one.colour for one in told_apart(black)] == [(9, 9, 9), (0, 0, 0)]
    many = ClassList(tuple(map(str, range(254))), ((5, 5, 5),) * 254)
    assert len({one.colour for one in told_apart(many)} - {(0, 0, 0)}) == 254


def test_names_of_files_are_safe_and_differ() -> None:
    names = stems(["a/b c", "a/b-c", "../../etc/passwd", "Straße/ü", "x" * 300, ".hidden"])
    assert names == [
        "0001-a-b-c",
        "0002-a-b-c",
        "0003-etc-passwd",
        "0004-Stra-e",
        f"0005-{'x' * 80}",
        "0006-hidden",
    ]


def test_what_cannot_be_exported_is_refused(pool: Folder, tmp_path: Path) -> None:
    other = ClassList(("road", "car"), pool.classes.colours[:2])
    with pytest.raises(FathomError, match=r"have the classes road, car, but folder has road, car, sky"):
        export(selection(IDS), pool, tmp_path / "a", Guess(pool, other))
    make_folder(tmp_path / "pool", images=2)
    write_yaml(tmp_path / "pool/dataset.yaml", {"classes": ["a:b", "c"]})
    with pytest.raises(FathomError, match="cannot hold the class names 'a:b'"):
        export(selection(["images/000"]), Folder(root=tmp_path / "pool"), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_exports_are_not_mixed_and_may_be_repeated(pool: Folder, tmp_path: Path) -> None:
    first = export(selection(IDS), pool, tmp_path)
    assert export(selection(IDS), pool, tmp_path) == first
    with pytest.raises(FathomError, match="holds the export of other images"):
        export(selection(IDS[:2]), pool, tmp_path)
    (tmp_path / "annotation.json").write_text("[]")
    with pytest.raises(FathomError, match="not an export of a format"):
        load_task(tmp_path)
    with pytest.raises(FathomError, match=r"There is no .*annotation.json"):
        load_task(tmp_path / "images")


def test_generated_images_have_no_file_and_are_exported_too(tmp_path: Path) -> None:
    data = Streets(size=(32, 64))
    ids = data.ids("train")[:1]
    task = export(selection(ids, "streets", "train"), data, tmp_path)
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / f"images/{task.images[0].stem}.png")), data.image(ids[0])
    )
    assert isinstance(task, Task)
