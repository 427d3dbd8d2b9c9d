"""`fathom import-labels` through the command line: from the tasks of `fathom select` and back, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from fathomseg.cli import app
from fathomseg.data.datasets.folder import Folder
from fathomseg.errors import FathomError
from fathomseg.selection.annotation import Task, export, load_task
from fathomseg.stages.import_labels import export_folder
from tests.fakes import make_folder, make_yolo, save
from tests.selection.annotation.tasks import annotation, drawing, from_cvat, from_label_studio, selection

LINES = [("background", (0, 0, 0)), ("road", (128, 64, 128)), ("car", (0, 0, 142)), ("sky", (70, 130, 180))]


def fathom(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def drawn(task: Task) -> dict[str, np.ndarray]:
    """What annotators draw, by stem: another picture for each image."""
    return {image.stem: drawing(40 + i, image.size, 3) for i, image in enumerate(task.images)}


@pytest.fixture
def pool(tmp_path: Path) -> Folder:
    """A folder with images and no label."""
    return Folder(root=make_folder(tmp_path / "mydata", labels=None))


@pytest.fixture
def exported(pool: Folder, tmp_path: Path) -> tuple[Path, Task]:
    """What `fathom select` leaves of three images for the annotators, in its own folder."""
    folder = tmp_path / "chosen"
    return folder, export(selection(["images/007", "images/001", "images/004"]), pool, folder / "annotation")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("tool", ["cvat", "label_studio"])
def test_from_select_to_a_dataset_that_can_be_trained_on(pool: Folder, tmp_path: Path, tool: str) -> None:
    recipe = tmp_path / "select.yaml"
    recipe.write_text(
        yaml.safe_dump(
            {
                "data": {"name": "folder", "root": str(pool.root)},
                "split": "all",
                "size": [24, 32],
                "criterion": {"name": "random"},
                "budget": 3,
                "device": "cpu",
                "threads": 1,
                "report": False,
            }
        )
    )
    chosen = tmp_path / "chosen"
    made = fathom("select", recipe, "--out", chosen)
    assert made.exit_code == 0, (made.output, made.exception)
    task = load_task(chosen / "annotation")
    labels = drawn(task)
    first, second, third = labels
    del labels[third]
    if tool == "cvat":
        back = from_cvat(tmp_path / "job.zip", labels, LINES)
    else:
        drawings = {stem: [annotation(label, pool.classes.names)] for stem, label in labels.items()}
        back = from_label_studio(tmp_path / "job.json", chosen / "annotation/label_studio/tasks.json", drawings)
    done = fathom("import-labels", back, "--selection", chosen, "--to", pool.root)
    assert done.exit_code == 0, (done.output, done.exception)
    ids = {image.stem: image.id for image in task.images}
    data = Folder(root=pool.root)
    np.testing.assert_array_equal(data.label(ids[first]), labels[first])
    np.testing.assert_array_equal(data.label(ids[second]), labels[second])
    assert not data.has_label(ids[third])
    assert "2 of 3 images have a label now" in done.stderr
    assert f"Nothing is drawn on the other 1 yet: {ids[third]}" in done.stderr
    assert done.stdout == ""
    checked = fathom("check", "--data", pool.root, "--json")
    assert checked.exit_code == 0
    assert json.loads(checked.stdout)["splits"]["all"]["labelled"] == 2


def test_json_and_a_new_folder(exported: tuple[Path, Task], tmp_path: Path) -> None:
    folder, task = exported
    new = tmp_path / "new"
    back = from_cvat(tmp_path / "job.zip", drawn(task), LINES)
    done = fathom("import-labels", back, "--selection", folder / "annotation", "--out", new, "--json")
    assert json.loads(done.stdout) == {
        "root": str(new),
        "labelled": ["images/007", "images/001", "images/004"],
        "empty": [],
        "unusable": [],
        "unpainted": None,
    }
    assert Folder(root=new).classes.names == ("road", "car", "sky")
    lines = (new / "dataset.yaml").read_text().splitlines()
    assert lines[0] == "classes:"
    assert lines[4:] == ["labels: colours", "ignore:", "- [0, 0, 0]"]
    assert all(re.fullmatch(r"- \{name: \w+, colour: \[\d+, \d+, \d+\]\}", line) for line in lines[1:4])


def test_labels_of_another_layout_are_not_hidden(exported: tuple[Path, Task], tmp_path: Path) -> None:
    folder, task = exported
    root = make_yolo(tmp_path / "yolo", images=2)
    before = contents(root)
    done = fathom(
        "import-labels", from_cvat(tmp_path / "job.zip", drawn(task), LINES), "--selection", folder, "--to", root
    )
    with pytest.raises(
        FathomError, match=r"yolo holds labels of YOLO; a dataset\.yaml there would hide them\. Give --out"
    ):
        raise done.exception or AssertionError(done.output)
    assert contents(root) == before


def test_images_without_a_description_stay_as_they_are(exported: tuple[Path, Task], tmp_path: Path) -> None:
    folder, task = exported
    root = tmp_path / "bare"
    save(root / "images/007.png", np.full((24, 32, 3), 200, np.uint8))
    save(root / "images/001.jpg", np.full((24, 32, 3), 100, np.uint8))
    before = contents(root)
    labels = drawn(task)
    back = from_cvat(tmp_path / "job.zip", labels, LINES)
    assert fathom("import-labels", back, "--selection", folder, "--to", root).exit_code == 0
    after = contents(root)
    assert {path: after[path] for path in before} == before
    assert set(Folder(root=root).ids("all")) == {image.id for image in task.images}
    for image in task.images:
        np.testing.assert_array_equal(Folder(root=root).label(image.id), labels[image.stem])


def test_labels_are_replaced_only_if_asked(exported: tuple[Path, Task], pool: Folder, tmp_path: Path) -> None:
    folder, task = exported
    labels = drawn(task)
    words = ("--selection", folder, "--to", pool.root)
    assert fathom("import-labels", from_cvat(tmp_path / "1.zip", labels, LINES), *words).exit_code == 0
    before = contents(pool.root)
    turned = {stem: np.flipud(label) for stem, label in labels.items()}
    again = from_cvat(tmp_path / "2.zip", turned, LINES)
    refused = fathom("import-labels", again, *words)
    assert isinstance(refused.exception, FathomError)
    assert "--overwrite" in str(refused.exception)
    assert contents(pool.root) == before
    assert fathom("import-labels", again, *words, "--overwrite").exit_code == 0
    for image in task.images:
        np.testing.assert_array_equal(Folder(root=pool.root).label(image.id), turned[image.stem])


def _cut(label: np.ndarray) -> np.ndarray:
    return label[:12]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no file", "There is no .*nothing.zip. Give the file that CVAT or Label Studio exported"),
        ("no zip", "is neither a zip nor a folder of CVAT"),
        ("classes", "the class 'tree' was not in the export, which has road, car, sky"),
        ("size", r"the label is 12 x 32 \(height x width\) but its image is 24 x 32"),
        ("image", r"images/0001-images-007\.png: is missing"),
    ],
)
def test_what_cannot_be_used_is_told_and_nothing_is_written(
    exported: tuple[Path, Task], tmp_path: Path, fault: str, message: str
) -> None:
    folder, task = exported
    labels = drawn(task)
    source, lines, new = tmp_path / "job.zip", list(LINES), tmp_path / "new"
    if fault == "classes":
        lines.append(("tree", (9, 9, 9)))
    if fault == "size":
        labels = {stem: _cut(label) for stem, label in labels.items()}
    from_cvat(source, labels, lines)
    if fault == "no file":
        source = tmp_path / "nothing.zip"
    if fault == "no zip":
        source.write_text("not a zip")
    if fault == "image":
        (folder / "annotation/images/0001-images-007.png").unlink()
    done = fathom("import-labels", source, "--selection", folder, "--to", new)
    assert isinstance(done.exception, FathomError), done.exception
    with pytest.raises(FathomError, match=message):
        raise done.exception
    assert not new.exists()


def test_one_unusable_mask_is_told_by_the_exit_code(exported: tuple[Path, Task], tmp_path: Path) -> None:
    folder, task = exported
    labels = drawn(task)
    last = list(labels)[-1]
    labels[last] = _cut(labels[last])
    done = fathom(
        "import-labels", from_cvat(tmp_path / "job.zip", labels, LINES), "--selection", folder, "--to", tmp_path / "new"
    )
    assert done.exit_code == 1
    assert "2 of 3 images have a label now" in done.stderr
    assert f"{last}.png: the label is 12 x 32" in done.stderr
    assert "Pixels on which nothing is drawn count nowhere" in done.stderr


def test_which_export_is_meant(exported: tuple[Path, Task], tmp_path: Path) -> None:
    folder, _ = exported
    assert export_folder(folder) == export_folder(folder / "annotation") == folder / "annotation"
    shutil.copytree(folder / "annotation", folder / "annotation-3")
    with pytest.raises(FathomError, match=r"several exports; .*chosen/annotation, .*chosen/annotation-3\."):
        export_folder(folder)
    with pytest.raises(FathomError, match=r"no annotation\.json in .* Give the folder that `fathom select` made"):
        export_folder(tmp_path)
