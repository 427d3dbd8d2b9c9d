"""Kind 4: class index or stored id. What is written is what is read: the dataset's own ids."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests import fakes
from tests.corpus.case import Case, Done, Place, Works, refused, table
from tests.corpus.inputs import CLASSES, COUNT, folder, perfect, pixels, relabel
from tests.stages.saved_run import save_run


def ids(values: tuple[int, ...]) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        folder(classes=[{"name": n, "id": v} for n, v in zip(CLASSES, values, strict=True)])
        table = np.array(values, np.uint16 if max(values) > 255 else np.uint8)
        relabel(lambda label: table[label])

    return make


def field(name: str, maker: Callable[..., Path], labels: str, ending: str, **options: Any) -> Callable[[Place], None]:
    """A dataset of the field, a network of its classes, and its own labels of `val` as predictions."""

    def make(place: Place) -> None:
        from fathomseg.data.datasets.resolve import resolve_dataset

        maker(Path("data"), **options)
        for path in Path("data").glob(labels):
            to = Path("stored", path.name.replace(ending, ""))
            to.parent.mkdir(exist_ok=True)
            shutil.copy(path, to)
        dataset = resolve_dataset(name, ["root=data"])
        save_run(place.root.parent / "run", dataset.classes, {"name": name, "root": str(place.root / "data")})

    return make


def as_labels(values: tuple[int, ...]) -> Callable[[Place], None]:
    """What was predicted becomes the labels, and has to be read as what was predicted."""

    def make(place: Place) -> None:
        ids(values)(place)
        place.fathom("train", "recipe.yaml", "--out", "../run")
        place.fathom("predict", "../run", "images", "--out", "../out", "--no-overlay")
        network = json.loads(Path("../out/classes.json").read_text())
        place.notes["ids"] = [row["id"] for row in network["classes"]]
        shutil.rmtree("labels")
        shutil.copytree("../out/ids", "labels")

    return make


def same(values: tuple[int, ...]) -> Works:
    def check(place: Place, done: Done) -> None:
        assert place.notes["ids"] == list(values)
        report = json.loads(done.out)["splits"]["all"]
        assert sum(report["pixels"].values()) == COUNT * 32 * 32
        assert report["ignored"] == 0

    return Works(check)


def counted(place: Place, done: Done) -> None:
    assert list(json.loads(done.out)["splits"]["all"]["pixels"].values()) == pixels(range(COUNT))


AGAINST = "evaluate @seg --data . --against labels --split all --no-report --json"
TRUTH = "evaluate ../run --against stored --no-report --json"

CASES: tuple[Case, ...] = table(
    ("labels scored as predictions, ids 1 to 3", "folder", ids((1, 2, 3)), AGAINST, Works(perfect)),
    (
        "labels scored as predictions, ids 0, 128, 255",
        "folder",
        lambda place: ids((0, 128, 254))(place),
        AGAINST,
        Works(perfect),
    ),
    ("labels scored as predictions, ids of 16 bits", "folder", ids((300, 7, 65000)), AGAINST, Works(perfect)),
    ("ids in another order", "folder", ids((2, 0, 1)), "check --data . --json", Works(counted)),
    ("predictions become labels, ids 1 to 3", "folder", as_labels((1, 2, 3)), "check --data . --json", same((1, 2, 3))),
    (
        "predictions become labels, ids of 16 bits",
        "folder",
        as_labels((300, 7, 2)),
        "check --data . --json",
        same((300, 7, 2)),
    ),
    (
        "cityscapes' labelIds scored as predictions",
        "cityscapes",
        field("cityscapes", fakes.make_cityscapes, "gtFine/val/*/*.png", "_gtFine_labelIds", sequence=False),
        TRUTH,
        Works(perfect),
    ),
    (
        "camvid's labels scored as predictions",
        "camvid",
        field("camvid", fakes.make_camvid, "valannot/*.png", "-"),
        TRUTH,
        Works(perfect),
    ),
    (
        "idd_lite's labels scored as predictions",
        "idd_lite",
        field("idd_lite", fakes.make_idd_lite, "gtFine/val/none", "-", with_val=True),
        "evaluate ../run --against data/gtFine/val --no-report",
        refused("has no file"),
    ),
    (
        "predictions of other classes",
        "folder",
        lambda place: (
            folder(),
            place.fathom("predict", "@seg", "images", "--out", "../out", "--no-overlay"),
            folder(classes=["blue", "green", "red"]),
        ),
        "evaluate @seg --data . --against ../out/ids --no-report",
        refused("other classes", "0 red"),
    ),
)
