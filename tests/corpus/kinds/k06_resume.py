"""Kind 6: the meaning of a run that goes on. It may not change; where the data lies may."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.corpus.case import Case, Done, Place, Works, refused, table
from tests.corpus.inputs import CLASSES, describe, folder, recipe, save, truth, write

RESUME = "train --resume ../out train.save_every=1"


def begun(change: Callable[[Place], object], **more: Any) -> Callable[[Place], None]:
    """A run that was begun, then the change. Its data lies in a folder of its own, so that it can be moved."""

    def make(place: Place) -> None:
        folder()
        recipe(**more)
        place.fathom("train", "recipe.yaml", "--out", "../out")
        change(place)

    return make


def moved(place: Place) -> None:
    shutil.copytree(".", "moved", dirs_exist_ok=True, ignore=shutil.ignore_patterns("moved"))
    for name in ("images", "labels", "splits"):
        shutil.rmtree(name)
    Path("dataset.yaml").unlink()
    shutil.move(place.out, place.root.parent / "elsewhere")


def ended(place: Place, done: Done) -> None:
    assert (place.root.parent / "elsewhere" / "model.safetensors").is_file()


def damaged(content: bytes | int) -> Callable[[Place], None]:
    """A checkpoint of other bytes, or of only its first ones."""

    def change(place: Place) -> None:
        path = place.out / "checkpoint.pt"
        path.write_bytes(path.read_bytes()[:content] if isinstance(content, int) else content)

    return change


def scores(place: Place, done: Done) -> None:
    assert json.loads(done.out.splitlines()[-1])["scores"]


def without(*names: str) -> Callable[[Place], None]:
    def change(place: Place) -> None:
        for name in names:
            (place.out / name).unlink()

    return change


CASES: tuple[Case, ...] = table(
    (
        "classes in another order",
        "folder",
        begun(lambda p: describe(classes=["green", "red", "blue"])),
        RESUME.split(" train.")[0],
        refused("red, green, blue", "green, red, blue", "start a new run"),
    ),
    (
        "one class more",
        "folder",
        begun(lambda p: describe(classes=[*CLASSES, "sky"])),
        "train --resume ../out",
        refused("sky", "3 classes", "start a new run"),
    ),
    (
        "a class renamed",
        "folder",
        begun(lambda p: describe(classes=["red", "green", "Blue"])),
        "train --resume ../out",
        refused("Blue", "start a new run"),
    ),
    (
        "one image fewer",
        "folder",
        begun(lambda p: (Path("images/001.png").unlink(), Path("labels/001.png").unlink())),
        "train --resume ../out",
        refused("images/001"),
    ),
    (
        "one more to score on",
        "folder",
        begun(lambda p: write("splits/val.txt", "003\n002\n"), evaluation={"split": "val", "report": False}),
        "train --resume ../out",
        refused("the evaluation split: then 1 images, now 2"),
    ),
    (
        "a label painted over",
        "folder",
        begun(lambda p: save("labels/000.png", truth(0) * 0)),
        "train --resume ../out",
        refused("labels of its images have changed"),
    ),
    ("another size", "folder", begun(lambda p: None), "train --resume ../out size=[64,64]", refused("size=[64,64]")),
    (
        "more steps",
        "folder",
        begun(lambda p: None),
        "train --resume ../out train.steps=5",
        refused("train.steps=5", "data.root"),
    ),
    ("run and data moved", "folder", begun(moved), "train --resume ../elsewhere data.root=moved", Works(ended)),
    (
        "run and data moved, not said",
        "folder",
        begun(moved),
        "train --resume ../elsewhere",
        refused("dataset.yaml", "There is no"),
    ),
    (
        "a run moved is scored",
        "folder",
        begun(moved),
        "evaluate ../elsewhere --data moved --split val --no-report --json",
        Works(scores),
    ),
    (
        "a run moved predicts",
        "folder",
        begun(moved),
        "predict ../elsewhere moved/images --out ../p --no-overlay",
        Works(lambda place, done: None),
    ),
    ("half a checkpoint", "folder", begun(damaged(4000)), "train --resume ../out", refused("checkpoint.pt", "damaged")),
    (
        "an empty checkpoint",
        "folder",
        begun(damaged(b"")),
        "train --resume ../out",
        refused("checkpoint.pt", "damaged"),
    ),
    (
        "no checkpoint",
        "folder",
        begun(without("checkpoint.pt")),
        "train --resume ../out",
        refused("checkpoint.pt", "start it anew"),
    ),
    (
        "no weights",
        "folder",
        begun(without("model.safetensors")),
        "evaluate ../out --split val --no-report",
        refused("model.safetensors", "last.safetensors"),
    ),
    (
        "no weights to predict with",
        "folder",
        begun(without("model.safetensors", "last.safetensors")),
        "predict ../out images --out ../p",
        refused("model.safetensors", "none"),
    ),
    (
        "no card",
        "folder",
        begun(without("model.json")),
        "predict ../out images --out ../p",
        refused("stopped before its last step", "fathom train --resume"),
    ),
    ("no run at all", "folder", lambda p: folder(), "train --resume images", refused("images is not a run", "--out")),
    (
        "the same folder again",
        "folder",
        begun(lambda p: None),
        "train recipe.yaml --out ../out",
        refused("it is a run", "--resume", "--out"),
    ),
)
