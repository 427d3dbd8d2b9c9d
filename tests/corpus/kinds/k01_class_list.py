"""Kind 1: the class list contradicts the labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests import fakes
from tests.corpus.case import Case, Done, Place, Works, refused, table, told
from tests.corpus.inputs import CLASSES, TRAIN_IT, choosing, describe, folder, learned, recipe, relabel, save, saying


def labelled(change: Callable[[np.ndarray], np.ndarray], **description: object) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        folder(**description)
        relabel(change)

    return make


def of(
    name: str, maker: Callable[[Path], Path], pattern: str, void: int | tuple[int, int, int]
) -> Callable[[Place], None]:
    """A dataset of the field, every label of which is void."""

    def make(place: Place) -> None:
        maker(Path("data"))
        for path in Path("data").rglob(pattern):
            shape = fakes_size(path)
            save(path, np.full((*shape, 3) if isinstance(void, tuple) else shape, void, np.uint8))
        recipe(data={"name": name, "root": "data"})

    return make


def fakes_size(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as image:
        return image.height, image.width


def warned(place: Place, done: Done) -> None:
    assert json.loads(done.out.splitlines()[-1])["scores"]
    assert "only the class 'red' occurs" in done.err


def one_choice(place: Place) -> None:
    folder()
    choosing()


two = {"classes": [{"name": "object", "id": 0}, {"name": "rest", "id": 255}], "ignore": []}
SILENT = "evaluate @known.onnx --data . --tasks segmentation --no-report --json"

CASES: tuple[Case, ...] = table(
    (
        "masks of 0 and 255",
        "folder",
        labelled(lambda x: np.where(x, 255, 0).astype(np.uint8), classes=["a", "b"]),
        TRAIN_IT,
        refused("only the class 'a' has pixels", "id: 255", "dataset.yaml"),
    ),
    (
        "masks of 0 and 255, checked",
        "folder",
        labelled(lambda x: np.where(x, 255, 0).astype(np.uint8), classes=["a", "b"]),
        "check --data .",
        told("only the class 'a' has pixels", "0 (3", "255 (6"),
    ),
    (
        "masks of 0 and 255, told so",
        "folder",
        labelled(lambda x: np.where(x, 255, 0).astype(np.uint8), **two),
        "check --data .",
        Works(lambda place, done: None),
    ),
    (
        "every pixel ignored",
        "folder",
        labelled(lambda x: np.full_like(x, 255)),
        TRAIN_IT,
        refused("every pixel is ignored", "255 (100 %)"),
    ),
    (
        "only the background painted",
        "folder",
        labelled(lambda x: x * 0),
        TRAIN_IT,
        refused("only the class 'red' has pixels", "0 (100 %)"),
    ),
    (
        "ids one too high",
        "folder",
        labelled(lambda x: x + 1),
        TRAIN_IT,
        refused("labels/000.png", "id 3 (", "not in the class list"),
    ),
    (
        "ids one too high, checked",
        "folder",
        labelled(lambda x: x + 1),
        "check --data .",
        told("labels/000.png", "id 3 (", "add it to `classes`"),
    ),
    (
        "ids of instances",
        "folder",
        labelled(lambda x: x.astype(np.uint16) * 1000),
        TRAIN_IT,
        refused("labels/000.png", "1000 (", "not in the class list"),
    ),
    (
        "a class without a pixel",
        "folder",
        labelled(lambda x: x, classes=[*CLASSES, "sky"]),
        TRAIN_IT,
        saying(lambda place, done: None, "no pixel has the class sky"),
    ),
    ("scored on labels of one class", "folder", labelled(lambda x: x * 0), SILENT, Works(warned)),
    (
        "one class alone",
        "folder",
        lambda place: (folder(), describe(classes=["crack"])),
        "check --data .",
        refused("dataset.yaml", "classes"),
    ),
    (
        "300 classes",
        "folder",
        lambda place: (folder(), describe(classes=[f"c{i}" for i in range(300)])),
        TRAIN_IT,
        refused("dataset.yaml", "254"),
    ),
    (
        "a list by budget of one class",
        "folder",
        lambda place: (
            folder(),
            save("labels/001.png", np.zeros((32, 32), np.uint8)),
            recipe(streams={"labelled": {"labels": {"file": "one.txt"}}}),
            Path("one.txt").write_text("images/001\n"),
        ),
        TRAIN_IT,
        refused("only the class 'red' has pixels", "(1 images)"),
    ),
    (
        "camvid all void",
        "camvid",
        of("camvid", fakes.make_camvid, "*annot/*.png", 11),
        TRAIN_IT,
        refused("every pixel is ignored"),
    ),
    (
        "cityscapes all unlabelled",
        "cityscapes",
        of("cityscapes", fakes.make_cityscapes, "*_labelIds.png", 0),
        TRAIN_IT,
        refused("every pixel is ignored", "0 (100 %)"),
    ),
    (
        "idd_lite all void",
        "idd_lite",
        of("idd_lite", fakes.make_idd_lite, "*_label.png", 255),
        TRAIN_IT,
        refused("every pixel is ignored"),
    ),
    (
        "nyuv2 without labels",
        "nyuv2",
        of("nyuv2", fakes.make_nyuv2, "seg40/*.png", 0),
        TRAIN_IT,
        refused("every pixel is ignored"),
    ),
    (
        "vkitti2 undefined",
        "vkitti2",
        of("vkitti2", fakes.make_vkitti2, "classgt_*.png", (0, 0, 0)),
        TRAIN_IT,
        refused("every pixel is ignored"),
    ),
    (
        "gta5 one class",
        "gta5",
        of("gta5", fakes.make_gta5, "labels/*.png", 7),
        TRAIN_IT,
        refused("only the class 'road' has pixels"),
    ),
    ("plain", "folder", lambda place: folder(), TRAIN_IT, Works(learned)),
)
