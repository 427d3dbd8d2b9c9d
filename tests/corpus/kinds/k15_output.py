"""Kind 15: outputs that cannot be written. It is tried before the work begins."""

from __future__ import annotations

from pathlib import Path

from tests.corpus.case import Case, Done, Place, Works, refused, table
from tests.corpus.inputs import choosing, folder, predicted, write
from tests.corpus.kinds.k10_annotation import export, job

VERBS = {
    "train": "train recipe.yaml --out {}",
    "pretrain": "pretrain recipe.yaml --out {}",
    "select": "select select.yaml --out {}",
    "predict": "predict @seg images --out {}",
    "distill": "distill @seg . --all --task segmentation --out {}",
    "study": "study study.yaml --out {}",
    "import-labels": "import-labels ../job.zip --selection ../selected --to {}",
    "demo": "demo --out {}",
}


def everything(place: Place) -> None:
    folder()
    choosing()
    write("study.yaml", {"arms": {"a": {"recipe": "recipe.yaml"}}, "budgets": [1], "seeds": [0]})
    write("file", "mine")
    export(place)
    job(place)


def in_the_way(place: Place) -> None:
    """Where scores go, there is a file."""
    everything(place)
    place.network("seg")
    write("../seg/evaluation", "mine")


def above(place: Place, done: Done) -> None:
    """Results lie beside the input; they are taken away again, so that the rest can be compared."""
    place.out.mkdir()
    for name in ("ids", "classes.json", ".fathom-predicted.jsonl"):
        Path(name).rename(place.out / name)
    predicted(place, done)


KNOWN = "predict @known.onnx images --tasks segmentation --no-overlay --out {}"


def row(name: str, words: str, *said: str) -> tuple[object, ...]:
    return (name, "folder", everything, words, refused(*said))


CASES: tuple[Case, ...] = table(
    *(row(f"{verb} into a file", words.format("file"), "file") for verb, words in VERBS.items()),
    *(row(f"{verb} below a file", words.format("file/out"), "file") for verb, words in VERBS.items()),
    # Even root cannot write into /proc.
    *(row(f"{verb} where nothing can be written", words.format("/proc/out"), "/proc") for verb, words in VERBS.items()),
    row("export to a folder", "export @seg images.onnx/x.onnx".replace("images.onnx", "file"), "file"),
    row("export where nothing can be written", "export @seg /proc/x.onnx", "/proc"),
    row("export to another ending", "export @seg model.pt", "model.pt", ".onnx"),
    row("predict into the input", "predict @seg images --out images", "is the folder of the images itself", "--out"),
    ("predict into the folder above", "folder", everything, KNOWN.format("."), Works(above)),
    (
        "scores where a file is",
        "folder",
        in_the_way,
        "evaluate @seg --data . --no-report",
        refused("evaluation", "is a file"),
    ),
)
