"""The round trip: chosen, exported, drawn in the tool's own format, brought back, read by the dataset `folder`."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.folder import Folder
from fathomseg.errors import DataError, FathomError
from fathomseg.selection.annotation import Task, export, import_labels
from fathomseg.types import ClassList
from tests.fakes import make_camvid, make_folder, save, write_yaml
from tests.selection.annotation.tasks import (
    Guess,
    annotation,
    drawing,
    edited,
    from_cvat,
    from_label_studio,
    selection,
)

IDS = ("images/007", "clips/drive0/000002", "images/001")
LINES = [("background", (0, 0, 0)), ("road", (128, 64, 128)), ("car", (0, 0, 142)), ("sky", (70, 130, 180))]


@pytest.fixture
def pool(tmp_path: Path) -> Folder:
    """A folder with images and no label."""
    return Folder(root=make_folder(tmp_path / "mydata", labels=None))


def drawn(task: Task, classes: int = 3) -> dict[str, np.ndarray]:
    return {image.stem: drawing(40 + i, image.size, classes) for i, image in enumerate(task.images)}


@pytest.mark.parametrize("tool", ["cvat", "label_studio"])
@pytest.mark.parametrize("kind", ["ids", "colours"])
def test_labels_of_a_folder_come_home(pool: Folder, tmp_path: Path, tool: str, kind: str) -> None:
    if kind == "colours":
        make_folder(pool.root, labels=None)
        tree = yaml.safe_load((pool.root / "dataset.yaml").read_text())
        write_yaml(pool.root / "dataset.yaml", {**tree, "labels": "colours", "ignore": [[0, 0, 0]]})
    task = export(selection(IDS), pool, tmp_path / "out")
    labels = drawn(task)
    if tool == "cvat":
        back = from_cvat(tmp_path / "job.zip", labels, LINES)
    else:
        annotations = {stem: [annotation(label, pool.classes.names)] for stem, label in labels.items()}
        back = from_label_studio(tmp_path / "job.json", tmp_path / "out/label_studio/tasks.json", annotations)
    done = import_labels(back, tmp_path / "out", pool.root)
    assert done.labelled == IDS
    assert done.empty == ()
    data = Folder(root=pool.root)
    for image in task.images:
        np.testing.assert_array_equal(data.label(image.id), labels[image.stem])
        assert (data.label(image.id) == 255).any()
    assert {id for id in data.ids("all") if data.has_label(id)} == set(IDS)
    assert [str(problem) for problem in data.problems(data.ids("all"))] == []


@pytest.mark.parametrize("tool", ["cvat", "label_studio"])
def test_corrected_labels_of_another_dataset_make_a_new_folder(tmp_path: Path, tool: str) -> None:
    pool = CamVid(root=make_camvid(tmp_path / "camvid"))
    ids = pool.ids("train")[3:0:-1]
    guess = type("G", (), {"classes": pool.classes, "predict": lambda self, image: _prediction(pool, image)})()
    task = export(selection(ids, "camvid", "train"), pool, tmp_path / "out", guess)
    labels = drawn(task, 11)
    if tool == "cvat":
        archive = tmp_path / "out/cvat/segmentation_mask_1.1.zip"
        shown = ClassList(tuple(one.name for one in task.classes), tuple(one.colour for one in task.classes))
        back = edited(archive, tmp_path / "job.zip", labels, shown)
    else:
        annotations = {stem: [annotation(label, pool.classes.names)] for stem, label in labels.items()}
        back = from_label_studio(tmp_path / "job.json", tmp_path / "out/label_studio/tasks.json", annotations)
    done = import_labels(back, tmp_path / "out", tmp_path / "mine")
    data = Folder(root=tmp_path / "mine")
    assert done.labelled == tuple(f"images/{id}" for id in ids)
    assert set(data.ids("all")) == set(done.labelled)
    assert data.classes.names == pool.classes.names
    for image in task.images:
        np.testing.assert_array_equal(data.label(f"images/{image.id}"), labels[image.stem])
        np.testing.assert_array_equal(data.image(f"images/{image.id}"), pool.image(image.id))
    assert [str(problem) for problem in data.problems(data.ids("all"))] == []


def _prediction(pool: CamVid, image: np.ndarray) -> object:
    return type("P", (), {"label": np.zeros(image.shape[:2], np.uint8)})()


def test_an_unchanged_export_comes_back_as_it_was(tmp_path: Path) -> None:
    pool = Folder(root=make_folder(tmp_path / "mydata"))
    guess = Guess(pool)
    ids = ("images/002", "images/005")
    export(selection(ids), pool, tmp_path / "out", guess)
    done = import_labels(tmp_path / "out/cvat/segmentation_mask_1.1.zip", tmp_path / "out", tmp_path / "new")
    assert done.labelled == ids
    for id in ids:
        label = Folder(root=tmp_path / "new").label(id)
        np.testing.assert_array_equal(label, guess.predict(pool.image(id)).label)
        assert label.std() > 0


def test_what_nobody_has_drawn_yet_has_no_label_and_can_come_later(pool: Folder, tmp_path: Path) -> None:
    task = export(selection(IDS), pool, tmp_path / "out")
    labels = drawn(task)
    first, second, _ = labels
    labels[second][:] = 255
    back = from_cvat(tmp_path / "1.zip", {stem: labels[stem] for stem in (first, second)}, LINES)
    done = import_labels(back, tmp_path / "out", pool.root)
    assert done.labelled == (IDS[0],)
    assert done.empty == IDS[1:]
    assert not Folder(root=pool.root).has_label(IDS[1])
    later = drawn(task)
    done = import_labels(from_cvat(tmp_path / "2.zip", later, LINES), tmp_path / "out", pool.root)
    assert done.labelled == IDS
    np.testing.assert_array_equal(Folder(root=pool.root).label(IDS[1]), later[second])


def test_an_unpacked_folder_with_folders_inside_will_do(pool: Folder, tmp_path: Path) -> None:
    task = export(selection(IDS), pool, tmp_path / "out")
    labels = drawn(task)
    with zipfile.ZipFile(from_cvat(tmp_path / "job.zip", labels, LINES)) as archive:
        archive.extractall(tmp_path / "job/task_3")
    masks = tmp_path / "job/task_3/SegmentationClass"
    (masks / "share").mkdir()
    for path in masks.glob("*.png"):
        path.rename(masks / "share" / path.name)
    assert import_labels(tmp_path / "job", tmp_path / "out", pool.root).labelled == IDS


def test_colours_and_order_changed_in_the_tool_do_not_matter(pool: Folder, tmp_path: Path) -> None:
    task = export(selection(IDS), pool, tmp_path / "out")
    labels = drawn(task)
    lines = [("sky", (1, 1, 1)), ("background", (0, 0, 0)), ("car", (2, 2, 2)), ("road", (3, 3, 3))]
    order = np.array([2, 1, 0, *range(3, 256)], np.uint8)  # the tool's number of each class
    back = from_cvat(tmp_path / "job.zip", {stem: order[label] for stem, label in labels.items()}, lines)
    import_labels(back, tmp_path / "out", pool.root)
    for image in task.images:
        np.testing.assert_array_equal(Folder(root=pool.root).label(image.id), labels[image.stem])


def test_unlabelled_pixels_are_the_class_background_if_there_is_one(tmp_path: Path) -> None:
    make_folder(tmp_path / "pool", labels=None, clips=0)
    write_yaml(
        tmp_path / "pool/dataset.yaml", {"classes": [{"name": "thing"}, {"name": "background", "colour": "#000000"}]}
    )
    pool = Folder(root=tmp_path / "pool")
    task = export(selection(["images/000"]), pool, tmp_path / "out")
    label = drawing(3, (24, 32), 1)
    lines = [("background", (0, 0, 0)), ("thing", task.classes[0].colour)]
    back = from_cvat(tmp_path / "job.zip", {task.images[0].stem: label}, lines)
    import_labels(back, tmp_path / "out", tmp_path / "new")
    np.testing.assert_array_equal(Folder(root=tmp_path / "new").label("images/000"), np.where(label == 255, 1, 0))


def test_a_second_round_joins_the_first_and_replaces_nothing_unasked(pool: Folder, tmp_path: Path) -> None:
    one = export(selection(IDS[:1]), pool, tmp_path / "1")
    two = export(selection(IDS[1:]), pool, tmp_path / "2")
    labels = drawn(one) | drawn(two)
    new = tmp_path / "new"
    import_labels(from_cvat(tmp_path / "1.zip", drawn(one), LINES), tmp_path / "1", new)
    import_labels(from_cvat(tmp_path / "2.zip", drawn(two), LINES), tmp_path / "2", new)
    assert set(Folder(root=new).ids("all")) == set(IDS)
    again = {stem: np.roll(label, 5, axis=0) for stem, label in drawn(one).items()}
    back = from_cvat(tmp_path / "3.zip", again, LINES)
    with pytest.raises(DataError, match=r"007.png: is another label of this image; import with --overwrite"):
        import_labels(back, tmp_path / "1", new)
    np.testing.assert_array_equal(Folder(root=new).label(IDS[0]), labels[one.images[0].stem])
    import_labels(back, tmp_path / "1", new, overwrite=True)
    np.testing.assert_array_equal(Folder(root=new).label(IDS[0]), again[one.images[0].stem])


def test_a_label_of_another_ending_is_replaced(pool: Folder, tmp_path: Path) -> None:
    task = export(selection(IDS[:1]), pool, tmp_path / "out")
    save(pool.root / "labels/007.tif", np.full((24, 32), 300, np.uint16))
    back = from_cvat(tmp_path / "job.zip", drawn(task), LINES)
    import_labels(back, tmp_path / "out", pool.root, overwrite=True)
    assert [path.name for path in (pool.root / "labels").iterdir()] == ["007.png"]


def test_the_annotation_changed_last_counts_and_later_regions_lie_on_top(pool: Folder, tmp_path: Path) -> None:
    task = export(selection(IDS[:1]), pool, tmp_path / "out")
    stem = task.images[0].stem
    old, skipped, new = (drawing(seed, (24, 32), 3) for seed in (1, 2, 3))
    last = annotation(new, pool.classes.names, updated_at="2026-02-02T00:00:00Z")
    top = annotation(np.where(np.arange(32) < 10, 1, 255)[None].repeat(24, 0).astype(np.uint8), pool.classes.names)
    last["result"] += top["result"]
    rows = [last, annotation(old, pool.classes.names), annotation(skipped, pool.classes.names, was_cancelled=True)]
    back = from_label_studio(tmp_path / "job.json", tmp_path / "out/label_studio/tasks.json", {stem: rows})
    import_labels(back, tmp_path / "out", pool.root)
    new[:, :10] = 1
    np.testing.assert_array_equal(Folder(root=pool.root).label(IDS[0]), new)


def test_what_cannot_be_used_is_told_and_stops_nothing_else(pool: Folder, tmp_path: Path) -> None:
    task = export(selection(IDS), pool, tmp_path / "out")
    labels = drawn(task)
    first, second, third = labels
    back = from_cvat(tmp_path / "job.zip", {first: labels[first][:12], second: labels[second]}, LINES)
    with zipfile.ZipFile(back, "a") as archive, archive.open(f"SegmentationClass/{third}.png", "w") as file:
        Image.new("RGB", (32, 24), (127, 64, 128)).save(file, "PNG")
    done = import_labels(back, tmp_path / "out", pool.root)
    text = "\n".join(map(str, done.unusable))
    assert done.labelled == (IDS[1],)
    np.testing.assert_array_equal(Folder(root=pool.root).label(IDS[1]), labels[second])
    assert len(list((pool.root / "labels").rglob("*.png"))) == 1
    assert f"{first}.png: the label is 12 x 32 (height x width) but its image is 24 x 32" in text
    assert f"{third}.png: colour (127, 64, 128) (768 pixels; nearest is road (128, 64, 128))" in text
    assert len(done.unusable) == 2


def test_where_nothing_can_be_used_nothing_is_written(pool: Folder, tmp_path: Path) -> None:
    labels = drawn(export(selection(IDS), pool, tmp_path / "out"))
    back = from_cvat(tmp_path / "job.zip", {stem: label[:12] for stem, label in labels.items()}, LINES)
    with pytest.raises(DataError) as caught:
        import_labels(back, tmp_path / "out", pool.root)
    assert len(caught.value.problems) == 3
    assert not (pool.root / "labels").exists()


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo("x")
            entry.filename = name  # as it is, whatever the system's separator
            archive.writestr(entry, content)
    return path


def members(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_an_archive_packed_again_on_other_systems(pool: Folder, tmp_path: Path) -> None:
    labels = drawn(export(selection(IDS), pool, tmp_path / "out"))
    content = members(from_cvat(tmp_path / "job.zip", labels, LINES))
    windows = {f"job\\{name}".replace("/", "\\"): data for name, data in content.items()}
    windows |= {"__MACOSX/job/._labelmap.txt": b"\0", "__MACOSX/job/labelmap.txt": b"\0"}
    done = import_labels(packed(tmp_path / "windows.zip", windows), tmp_path / "out", pool.root)
    assert done.labelled == tuple(IDS)


@pytest.mark.parametrize(
    ("renamed", "message"),
    [
        ("SegmentationObject", r"no mask: expected PNGs in SegmentationClass/.*holds SegmentationObject/ with 3"),
        ("segmentationclass", r"in this spelling.*It holds segmentationclass/ with 3 files"),
        ("../SegmentationClass", "a path out of the archive; it is not opened"),
        ("/SegmentationClass", "a path out of the archive; it is not opened"),
    ],
)
def test_an_archive_without_masks_says_what_it_holds(pool: Folder, tmp_path: Path, renamed: str, message: str) -> None:
    labels = drawn(export(selection(IDS), pool, tmp_path / "out"))
    content = members(from_cvat(tmp_path / "job.zip", labels, LINES))
    kept = {name: data for name, data in content.items() if not name.startswith("Segmentation")}
    masks = {n.replace("SegmentationClass", renamed): data for n, data in content.items() if "Class/" in n}
    with pytest.raises(FathomError, match=message):
        import_labels(packed(tmp_path / "other.zip", kept | masks), tmp_path / "out", pool.root)
    assert not (pool.root / "labels").exists()


def test_an_empty_project_is_not_taken_for_work_undone(pool: Folder, tmp_path: Path) -> None:
    export(selection(IDS), pool, tmp_path / "out")
    (tmp_path / "job.json").write_text("[]")
    with pytest.raises(FathomError, match=r"job\.json holds no task; expected 3"):
        import_labels(tmp_path / "job.json", tmp_path / "out", pool.root)


def test_unpainted_pixels_mean_the_same_from_both_tools(pool: Folder, tmp_path: Path) -> None:
    description = yaml.safe_load((pool.root / "dataset.yaml").read_text())
    write_yaml(pool.root / "dataset.yaml", {**description, "unpainted": "car"})
    task = export(selection(IDS[:1]), pool, tmp_path / "out")
    (stem, label), *_ = drawn(task).items()
    assert (label == 255).any()
    rows = {stem: [annotation(label, pool.classes.names)]}
    tasks = tmp_path / "out/label_studio/tasks.json"
    for back in (
        from_cvat(tmp_path / "job.zip", {stem: label}, LINES),
        from_label_studio(tmp_path / "job.json", tasks, rows),
    ):
        done = import_labels(back, tmp_path / "out", pool.root)
        assert done.unpainted == "car"
        np.testing.assert_array_equal(Folder(root=pool.root).label(IDS[0]), np.where(label == 255, 1, label))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([*LINES, ("tree", (9, 9, 9))], r"the class 'tree' was not in the export, which has road, car, sky"),
        ([*LINES[:3], ("sky", (0, 0, 142))], "gives two classes the same colour"),
    ],
)
def test_a_class_list_that_was_changed_is_refused(
    pool: Folder, tmp_path: Path, lines: list[tuple[str, tuple[int, int, int]]], reason: str
) -> None:
    task = export(selection(IDS), pool, tmp_path / "out")
    with pytest.raises(FathomError, match=reason):
        import_labels(from_cvat(tmp_path / "job.zip", drawn(task), lines), tmp_path / "out", pool.root)


def test_files_of_something_else_are_refused(pool: Folder, tmp_path: Path) -> None:
    task = export(selection(IDS[:1]), pool, tmp_path / "out")
    labels = drawn(task)
    (stem,) = labels
    other = from_cvat(tmp_path / "other.zip", {**labels, "frame_000001": labels[stem]}, LINES)
    twice = from_cvat(tmp_path / "twice.zip", {**labels, f"share/{stem}": labels[stem]}, LINES)
    write_yaml(tmp_path / "theirs/dataset.yaml", {"classes": ["road", "car"]})
    (tmp_path / "empty.zip").write_bytes(b"PK\5\6" + bytes(18))
    (tmp_path / "text.zip").write_text("not a zip")
    good = from_cvat(tmp_path / "good.zip", labels, LINES)
    for source, root, reason in (
        (other, pool.root, "frame_000001: is the mask of no image of this export"),
        (twice, pool.root, "is the second mask of this image"),
        (tmp_path / "empty.zip", pool.root, r"holds 0 files labelmap.txt; expected one: export from CVAT"),
        (tmp_path / "text.zip", pool.root, "is neither a zip nor a folder"),
        (good, tmp_path / "theirs", "lacks the classes sky of the export; it has road, car"),
    ):
        with pytest.raises(FathomError, match=reason):
            import_labels(source, tmp_path / "out", root)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "rectanglelabels"}, "is of type 'rectanglelabels'; expected a brush mask"),
        ({"original_width": 64}, r"is 24 x 64 \(height x width\), but its image is 24 x 32"),
        ({"image_rotation": 90}, "turned by 90 degrees"),
        ({"value": {"format": "rle", "rle": [0, 0, 0, 9], "brushlabels": ["car"]}}, "its mask is cut short"),
        ({"value": {"format": "rle", "rle": [], "brushlabels": ["tree"]}}, r"has the labels \['tree'\]; expected one"),
        ({"value": {"format": "rle", "rle": []}}, r"has the labels \[\]"),
    ],
)
def test_regions_that_are_no_brush_masks_are_refused(
    pool: Folder, tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    task = export(selection(IDS[:1]), pool, tmp_path / "out")
    (stem,) = drawn(task)
    one = annotation(drawn(task)[stem], pool.classes.names)
    one["result"][0] |= change
    back = from_label_studio(tmp_path / "job.json", tmp_path / "out/label_studio/tasks.json", {stem: [one]})
    with pytest.raises(DataError, match=reason):
        import_labels(back, tmp_path / "out", pool.root)


def test_images_uploaded_to_label_studio_by_hand_match_by_their_file(pool: Folder, tmp_path: Path) -> None:
    task = export(selection(IDS[:2]), pool, tmp_path / "out")
    labels = drawn(task)
    (first, one), (second, two) = ((stem, annotation(label, pool.classes.names)) for stem, label in labels.items())
    rows = [
        {"data": {"image": f"/data/upload/3/0a1b2c3d-{first}.png"}, "annotations": [one]},
        {"data": {"image": f"http://localhost:8080/data/{second}.png"}, "annotations": [two]},
    ]
    (tmp_path / "job.json").write_text(json.dumps(rows))
    assert import_labels(tmp_path / "job.json", tmp_path / "out", pool.root).labelled == IDS[:2]
    for image in task.images:
        np.testing.assert_array_equal(Folder(root=pool.root).label(image.id), labels[image.stem])
    (tmp_path / "job.json").write_text(json.dumps(rows[:1] * 2))
    with pytest.raises(DataError, match=f"task 2: is the second label of {first}"):
        import_labels(tmp_path / "job.json", tmp_path / "out", pool.root)


def test_json_that_is_no_export_of_label_studio_is_refused(pool: Folder, tmp_path: Path) -> None:
    export(selection(IDS[:1]), pool, tmp_path / "out")
    path = tmp_path / "job.json"
    for content, reason in (
        ("{", "cannot be read as JSON"),
        ('{"a": 1}', "is no list of tasks"),
        ('[{"data": {}}]', "export from Label Studio as JSON"),
        (
            json.dumps([{"data": {"stem": "x"}, "annotations": []}]),
            r"task 1: is of no image of this export \(its image: 'x'\)",
        ),
    ):
        path.write_text(content)
        with pytest.raises(FathomError, match=reason):
            import_labels(path, tmp_path / "out", pool.root)


def test_labels_of_one_class_are_refused_before_anything_is_written(
    pool: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = export(selection(IDS), pool, tmp_path / "out")
    one = {image.stem: np.where(np.eye(*image.size) > 0, 1, 255).astype(np.uint8) for image in task.images}
    with pytest.raises(FathomError, match=r"All that is drawn is the class 'car'.*Nothing was written"):
        import_labels(from_cvat(tmp_path / "job.zip", one, LINES), tmp_path / "out", pool.root)
    assert not (pool.root / "labels").exists()
    save(pool.root / "labels" / "003.png", np.full((24, 32), 7, np.uint16))  # another class, labelled before
    import_labels(tmp_path / "job.zip", tmp_path / "out", pool.root)
    assert "WARNING: no pixel has the class" in capsys.readouterr().err


def test_an_image_on_which_nothing_is_drawn_is_no_background(pool: Folder, tmp_path: Path) -> None:
    """Whatever unpainted pixels are, an image that nobody has worked on yet gets no label."""
    description = yaml.safe_load((pool.root / "dataset.yaml").read_text())
    write_yaml(pool.root / "dataset.yaml", {**description, "unpainted": "sky"})
    task = export(selection(IDS), pool, tmp_path / "out")
    masks = drawn(task)
    todo = task.images[1]
    masks[todo.stem] = np.full_like(masks[todo.stem], 255)
    done = import_labels(from_cvat(tmp_path / "job.zip", masks, LINES), tmp_path / "out", pool.root)
    assert done.empty == (todo.id,)
    assert [Folder(root=pool.root).has_label(id) for id in IDS] == [True, False, True]


@pytest.mark.parametrize(("unpainted", "told"), [("ignore", True), ("sky", False)])
def test_much_that_is_ignored_is_told(
    pool: Folder, tmp_path: Path, unpainted: str, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    description = yaml.safe_load((pool.root / "dataset.yaml").read_text())
    write_yaml(pool.root / "dataset.yaml", {**description, "unpainted": unpainted})
    task = export(selection(IDS[:1]), pool, tmp_path / "out")
    (stem, label), *_ = drawn(task).items()
    label[:12], label[0, :9], label[1, :9] = 255, 0, 1
    import_labels(from_cvat(tmp_path / "job.zip", {stem: label}, LINES), tmp_path / "out", pool.root)
    assert ("of the pixels of labelled images are ignored" in capsys.readouterr().err) == told
