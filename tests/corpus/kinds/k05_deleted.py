"""Kind 5: files the program has not made, in the folder it is told to write to. The folder is the user's here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.corpus.case import Case, Done, Place, Works, refused, table
from tests.corpus.inputs import choosing, folder, predicted, save, truth, write


def holding(*files: str) -> Callable[[Place], None]:
    """A dataset, its recipes, and files of the user's own in `mine/`."""

    def make(place: Place) -> None:
        folder()
        choosing()
        write("study.yaml", {"arms": {"a": {"recipe": "recipe.yaml"}}, "budgets": [1], "seeds": [0]})
        for file in files:
            write(f"mine/{file}", b"precious")

    return make


def inside(place: Place, done: Done) -> None:
    """What was written is taken away again, so that the rest can be compared."""
    (place.root / "out").rename(place.out)
    predicted(place, done)


def own_scores(place: Place) -> None:
    folder()
    shutil.copytree(place.networks / "seg", "run")
    write("run/evaluation/val/notes.txt", "mine")
    write("run/evaluation/notes.md", "mine")


def scored(place: Place, done: Done) -> None:
    for name in ("scores.json", "images.csv"):
        (made,) = Path("run/evaluation").rglob(name)
        made.unlink()
    for extra in Path("run").rglob(".fathom*"):
        extra.unlink()


TRAIN, SELECT = "train recipe.yaml --out {}", "select select.yaml --out {}"
KNOWN = "predict @known.onnx images --tasks segmentation --no-overlay --out {}"

CASES: tuple[Case, ...] = table(
    (
        "train where my config.yaml is",
        "folder",
        holding("config.yaml"),
        TRAIN.format("mine"),
        refused("mine", "config.yaml", "--out"),
    ),
    (
        "train where my labelled.txt is",
        "folder",
        holding("labelled.txt"),
        TRAIN.format("mine"),
        refused("labelled.txt", "--out"),
    ),
    ("train where deep files are", "folder", holding("a/b/c.txt"), TRAIN.format("mine"), refused("a/b/c.txt", "--out")),
    ("train where hidden files are", "folder", holding(".git/HEAD"), TRAIN.format("mine"), refused(".git", "--out")),
    ("train into the data", "folder", holding(), TRAIN.format("."), refused("--out")),
    (
        "pretrain where my model.json is",
        "folder",
        holding("model.json"),
        "pretrain recipe.yaml --out mine",
        refused("model.json", "--out"),
    ),
    (
        "select where my selection.txt is",
        "folder",
        holding("selection.txt"),
        SELECT.format("mine"),
        refused("selection.txt", "--out"),
    ),
    ("select into the data", "folder", holding(), SELECT.format("."), refused("--out")),
    (
        "predict where my ids are",
        "folder",
        holding("ids/000.png"),
        KNOWN.format("mine"),
        refused("ids/000.png", "--out"),
    ),
    (
        "predict where my classes.json is",
        "folder",
        holding("classes.json"),
        KNOWN.format("mine"),
        refused("classes.json", "--out"),
    ),
    (
        "predict where mine are, to overwrite",
        "folder",
        holding("ids/000.png"),
        KNOWN.format("mine") + " --overwrite",
        refused("ids/000.png", "--out"),
    ),
    ("predict into a folder of the input", "folder", holding(), KNOWN.format("out"), Works(inside)),
    (
        "distill where my files are",
        "folder",
        holding("x.txt"),
        "distill @seg . --all --task segmentation --out mine",
        refused("mine", "--out"),
    ),
    (
        "study where my results are",
        "folder",
        holding("results.json"),
        "study study.yaml --out mine",
        refused("results.json", "--out"),
    ),
    (
        "study's table where my results are",
        "folder",
        holding("results.md"),
        "study study.yaml --table --out mine",
        refused("results.md", "--out"),
    ),
    (
        "export onto a file of mine",
        "none",
        holding("model.onnx"),
        "export @seg mine/model.onnx",
        refused("mine/model.onnx", "no export"),
    ),
    (
        "export onto a model of another program",
        "none",
        lambda place: foreign_model(),
        "export @seg other.onnx",
        refused("other.onnx", "no export", "fathom export"),
    ),
    ("scores beside my notes", "folder", own_scores, "evaluate run --data . --split val --no-report", Works(scored)),
    (
        "import where other labels are",
        "folder",
        lambda place: other_labels(place),
        "import-labels ../job.zip --selection ../selected --to .",
        refused("labels/000.png", "--overwrite"),
    ),
)


def foreign_model() -> None:
    import onnx

    from tests.inference.tiny_onnx import known_model

    onnx.save(known_model(), "other.onnx")


def other_labels(place: Place) -> None:
    from tests.corpus.kinds.k10_annotation import export, job

    folder()
    export(place)
    job(place)
    save("labels/000.png", truth(77))
