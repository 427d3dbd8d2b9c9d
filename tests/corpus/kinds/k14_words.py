"""Kind 14: words of the command line and of YAML. Where a text or a path belongs, words are text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.corpus.case import Case, Done, Place, Works, refused, table
from tests.corpus.inputs import counted, describe, folder, learned, predicted, recipe, write

FOLDERS = (
    "2011_09_26",
    "2024-01-05",
    "0012",
    "1e3",
    "no",
    "null",
    "~x",
    "a: b",
    "x #1",
    "a=b",
    "it's",
    'a"b',
    "[a]",
    "{b}",
    "Zürich ü",
    "a,b",
    "%s",
    "-x",
)
NAMES = (
    "yes, no, on",
    "no, true, 1",
    "1e3, 0x10, .5",
    "01, 02, 2011_09_26",
    "12:30, 1_000, ~x",
    "'', a, b",
    "a, a, b",
    "null, ~, a",
)


def inside(name: str) -> Callable[[Place], None]:
    """The data lies in a folder of this name."""

    def make(place: Place) -> None:
        folder(name)

    return make


def called(names: str) -> Callable[[Place], None]:
    """dataset.yaml with these words as class names, without quotes."""

    def make(place: Place) -> None:
        folder()
        write("dataset.yaml", f"classes: [{names}]\n")

    return make


def in_order(names: str) -> Works:
    def check(place: Place, done: Done) -> None:
        counted(place, done)
        assert list(json.loads(done.out)["splits"]["all"]["pixels"]) == names.split(", ")

    return Works(check)


def numbered(place: Place) -> None:
    """Class names that are numbers in another order than their ids."""
    folder()
    describe(classes=[{"name": "2", "id": 0}, {"name": "0", "id": 1}, {"name": "1", "id": 2}])


def numbers(place: Place, done: Done) -> None:
    counted(place, done)
    assert list(json.loads(done.out)["splits"]["all"]["pixels"]) == ["2", "0", "1"]


def trained_on_words(place: Place) -> None:
    folder()
    write("dataset.yaml", "classes: [yes, off, 1e3]\n")


def as_written(place: Place, done: Done) -> None:
    assert json.loads((place.out / "model.json").read_text())["classes"] == ["yes", "off", "1e3"]


def to(name: str) -> tuple[str, ...]:
    return ("predict", "@known.onnx", "images", "--tasks", "segmentation", "--no-overlay", "--out", f"../out/{name}")


CASES: tuple[Case, ...] = table(
    *(
        (
            f"root={name}",
            "folder",
            inside(name),
            ("check", "--data", "folder", f"root={name}", "--json"),
            Works(counted),
        )
        for name in FOLDERS
    ),
    *(
        (f"--data {name}", "folder", inside(name), ("check", "--data", f"./{name}", "--json"), Works(counted))
        for name in ("a=b", "x #1", "it's")
    ),
    *(
        (
            f"data.root={name}",
            "folder",
            lambda p, name=name: (folder(name), recipe(root="nowhere")),
            ("train", "recipe.yaml", f"data.root={name}", "--out", "../out"),
            Works(learned),
        )
        for name in ("2011_09_26", "x #1", "no")
    ),
    *(
        (f"--out {name}", "folder", lambda p: folder(), to(name), Works(predicted))
        for name in ("1e3", "a: b", "x #1", "ü=ö", "it's")
    ),
    *(
        (f"classes: [{names}]", "folder", called(names), "check --data . --json", in_order(names))
        for names in NAMES[:5]
    ),
    ("an empty class name", "folder", called(NAMES[5]), "check --data .", refused("dataset.yaml", "classes")),
    ("a class name twice", "folder", called(NAMES[6]), "check --data .", refused("dataset.yaml", "'a' is given twice")),
    ("a class that is ~", "folder", called(NAMES[7]), "check --data .", refused("dataset.yaml", "quotes")),
    ("numbers as class names", "folder", numbered, "check --data . --json", Works(numbers)),
    ("words are kept by training", "folder", trained_on_words, "train recipe.yaml --out ../out", Works(as_written)),
    (
        "a recipe called a=b.yaml",
        "folder",
        lambda p: (folder(), Path("recipe.yaml").rename("a=b.yaml")),
        "train a=b.yaml --out ../out",
        Works(learned),
    ),
    (
        "a number where text is",
        "folder",
        lambda p: folder(),
        "train recipe.yaml --out ../out train.device=1e3",
        refused("1e3"),
    ),
    (
        "text where a number is",
        "folder",
        lambda p: folder(),
        "train recipe.yaml --out ../out train.steps=many",
        refused("train.steps", "a whole number", "'many'"),
    ),
    (
        "a value that is no YAML",
        "folder",
        lambda p: folder(),
        "train recipe.yaml --out ../out size=[32,",
        refused("[32,"),
    ),
)
