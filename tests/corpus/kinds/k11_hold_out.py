"""Kind 11: the hold-out by hash never takes all labels, and `check` says how `val` was made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests import fakes
from tests.corpus.case import Case, Done, Place, Works, refused, table
from tests.corpus.inputs import folder, photo, save, saying, truth


def labelled(count: int, images: int = 4, first: int = 0) -> Callable[[Place], None]:
    """Images, the first few of which have a label; no list says which is `val`."""

    def make(place: Place) -> None:
        folder(count=images)
        Path("splits/val.txt").unlink()
        for i in range(images):
            if i >= count:
                Path(f"labels/{i:03d}.png").unlink()

    return make


def clips(place: Place) -> None:
    """One clip, all of whose frames have a label: it cannot be held out as a whole."""
    folder(count=1)
    Path("splits/val.txt").unlink()
    for part in ("images", "labels"):
        Path(part, "000.png").unlink()
    for i in range(3):
        save(f"clips/drive/{i:03d}.png", photo(truth(i)))
        save(f"labels/clips/drive/{i:03d}.png", truth(i))


def splits(train: int, val: int) -> Works:
    def check(place: Place, done: Done) -> None:
        report = json.loads(done.out)
        sizes = {name: split["labelled"] for name, split in report["splits"].items()}
        assert (sizes.get("train", 0), sizes.get("val", 0)) == (train, val)
        assert any("There is no list of val" in note for note in report["notes"])

    return Works(check)


def many(place: Place, done: Done) -> None:
    sizes = {name: split["labelled"] for name, split in json.loads(done.out)["splits"].items()}
    assert sizes["train"] + sizes["val"] == 12
    assert 1 <= sizes["val"] <= 11


CHECK = "check --data . --json"

CASES: tuple[Case, ...] = table(
    ("one label", "folder", labelled(1), CHECK, splits(1, 0)),
    (
        "one label is trained on",
        "folder",
        labelled(1),
        "train recipe.yaml --out ../out",
        saying(lambda place, done: None, "1 labels are used"),
    ),
    ("two labels", "folder", labelled(2), CHECK, splits(1, 1)),
    ("three labels", "folder", labelled(3), CHECK, Works(lambda p, d: splits_between(d, 3))),
    ("twelve labels", "folder", labelled(12, 12), CHECK, Works(many)),
    (
        "99 per cent",
        "folder",
        labelled(4),
        [*CHECK.split(), "val_percent=99"],
        Works(lambda p, d: splits_between(d, 4)),
    ),
    ("one clip", "folder", clips, CHECK, splits(3, 0)),
    ("no label", "folder", labelled(0), "train recipe.yaml --out ../out", refused("label")),
    (
        "two drives",
        "kitti",
        lambda place: fakes.make_kitti(Path("data"), drives=2),
        "check --data kitti root=data --json",
        Works(lambda p, d: drives(d)),
    ),
)


def splits_between(done: Done, total: int) -> None:
    sizes = {name: split["labelled"] for name, split in json.loads(done.out)["splits"].items()}
    assert sizes["train"] + sizes["val"] == total
    assert sizes["train"] >= 1
    assert sizes["val"] >= 1


def drives(done: Done) -> None:
    sizes = np.array([split["images"] for split in json.loads(done.out)["splits"].values()])
    assert (sizes > 0).all()
