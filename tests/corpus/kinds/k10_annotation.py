"""Kind 10: exports of annotation tools in which nothing was found, or only something."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fathomseg.data.datasets.folder import Folder
from fathomseg.selection.annotation import export as export_tasks
from tests.corpus.case import Case, Done, Place, Works, refused, table, told
from tests.corpus.inputs import CLASSES, COLOURS, COUNT, folder, truth
from tests.selection.annotation.tasks import annotation, from_cvat, from_label_studio, selection

IDS = [f"images/{i:03d}" for i in range(COUNT)]
LINES = [("background", (0, 0, 0)), *zip(CLASSES, COLOURS, strict=True)]
IMPORT = "import-labels {} --selection ../selected --to ../to"


def export(place: Place) -> list[str]:
    """What `fathom select` leaves for the annotators; the stems of its images."""
    task = export_tasks(selection(IDS), Folder(root=Path()), Path("../selected"))
    return [image.stem for image in task.images]


def job(place: Place, drawn: Callable[[int], np.ndarray] = truth) -> Path:
    """CVAT's zip of these drawings."""
    stems = [image["stem"] for image in json.loads(Path("../selected/annotation.json").read_text())["images"]]
    return from_cvat(Path("../job.zip"), {stem: drawn(i) for i, stem in enumerate(stems)}, LINES)


def packed(change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Callable[[Place], None]:
    """CVAT's zip, packed otherwise into `job.zip` of the user's folder."""

    def make(place: Place) -> None:
        folder()
        export(place)
        with zipfile.ZipFile(job(place)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile("job.zip", "w") as archive:
            for name, content in change(members).items():
                info = zipfile.ZipInfo("x")
                info.filename = name
                archive.writestr(info, content)

    return make


def moved(old: str, new: str) -> Callable[[Place], None]:
    return packed(lambda members: {name.replace(old, new): content for name, content in members.items()})


def studio(change: Callable[[list[dict[str, object]]], object]) -> Callable[[Place], None]:
    """Label Studio's JSON, changed."""

    def make(place: Place) -> None:
        folder()
        stems = export(place)
        drawn = {stem: [annotation(truth(i), CLASSES)] for i, stem in enumerate(stems)}
        path = from_label_studio(Path("job.json"), Path("../selected/label_studio/tasks.json"), drawn)
        rows = json.loads(path.read_text())
        path.write_text(json.dumps(change(rows) or rows))

    return make


def spoilt(rows: list[dict[str, object]]) -> None:
    """One region of the first task is no brush."""
    rows[0]["annotations"][0]["result"][0]["type"] = "rectanglelabels"  # type: ignore[index]


def imported(place: Place, done: Done) -> None:
    """Every label is what was drawn."""
    data = Folder(root=Path("../to"))
    for i, id in enumerate(IDS):
        np.testing.assert_array_equal(data.label(id), truth(i))


def one_class(place: Place) -> None:
    folder()
    export(place)
    job(place, lambda i: truth(i) * 0).rename("job.zip")


def without(word: str) -> Callable[[Place], None]:
    return packed(lambda members: {name: c for name, c in members.items() if word not in name})


def twice(place: Place) -> None:
    packed(lambda members: members)(place)
    with zipfile.ZipFile("job.zip", "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the name that is there already
        archive.writestr(next(name for name in archive.namelist() if "Class/" in name), b"")


ZIP, JSON = IMPORT.format("job.zip"), IMPORT.format("job.json")

CASES: tuple[Case, ...] = table(
    ("cvat, as it comes", "folder", packed(lambda members: members), ZIP, Works(imported)),
    (
        "cvat, packed by Windows",
        "folder",
        packed(lambda m: {f"job/{n}".replace("/", "\\"): c for n, c in m.items()}),
        ZIP,
        Works(imported),
    ),
    (
        "cvat, in a folder of the zip",
        "folder",
        packed(lambda m: {f"a/b c/{n}": c for n, c in m.items()}),
        ZIP,
        Works(imported),
    ),
    (
        "cvat, objects alone",
        "folder",
        without("SegmentationClass"),
        ZIP,
        refused("job.zip", "holds no mask", "SegmentationObject/ with 4 files", "Segmentation mask 1.1"),
    ),
    (
        "cvat, folder in other case",
        "folder",
        moved("SegmentationClass", "segmentationclass"),
        ZIP,
        refused("job.zip", "in this spelling", "segmentationclass/ with 4 files"),
    ),
    (
        "cvat, without its label map",
        "folder",
        without("labelmap"),
        ZIP,
        refused("job.zip", "labelmap.txt", "expected one"),
    ),
    (
        "cvat, a path out of the archive",
        "folder",
        moved("SegmentationClass", "../SegmentationClass"),
        ZIP,
        refused("job.zip", "a path out of the archive"),
    ),
    (
        "cvat, an absolute path",
        "folder",
        moved("SegmentationClass", "/tmp/SegmentationClass"),
        ZIP,
        refused("job.zip", "a path out of the archive"),
    ),
    (
        "cvat, a drive of Windows",
        "folder",
        moved("SegmentationClass", "C:\\SegmentationClass"),
        ZIP,
        refused("job.zip", "a path out of the archive"),
    ),
    (
        "cvat, ..\\ of Windows",
        "folder",
        moved("SegmentationClass/", "..\\x\\SegmentationClass\\"),
        ZIP,
        refused("job.zip", "a path out of the archive"),
    ),
    (
        "cvat, names of other images",
        "folder",
        moved("SegmentationClass/0", "SegmentationClass/x"),
        ZIP,
        refused("job.zip", "is the mask of no image of this export"),
    ),
    ("cvat, a mask twice", "folder", twice, ZIP, refused("job.zip", "twice; keep one")),
    (
        "cvat, one class drawn",
        "folder",
        one_class,
        ZIP,
        refused("All that is drawn is the class 'red'", "Nothing was written"),
    ),
    ("cvat, cut off", "folder", lambda p: (packed(lambda m: m)(p), cut("job.zip")), ZIP, refused("job.zip")),
    ("label studio, as it comes", "folder", studio(lambda rows: None), JSON, Works(imported)),
    ("label studio, no task", "folder", studio(lambda rows: [[]][0] or "[]"), JSON, refused("job.json")),
    ("label studio, one region unusable", "folder", studio(spoilt), JSON, told("job.json", "cannot be used")),
    (
        "label studio, all cancelled",
        "folder",
        studio(lambda rows: [{**row, "annotations": []} for row in rows]),
        JSON,
        Works(lambda p, d: nothing(p, d)),
    ),
    (
        "neither zip nor JSON",
        "folder",
        lambda p: (folder(), export(p), Path("job.rar").write_bytes(b"Rar!")),
        IMPORT.format("job.rar"),
        refused("job.rar", "is neither a zip nor a folder"),
    ),
    (
        "a file that is not there",
        "folder",
        lambda p: (folder(), export(p)),
        IMPORT.format("none.zip"),
        refused("There is no none.zip"),
    ),
)


def nothing(place: Place, done: Done) -> None:
    assert "0 of 4 images have a label" in done.text
    assert not (place.root.parent / "to/labels").exists()


def cut(name: str) -> None:
    path = Path(name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
