"""Kind 2: results that are not tied to what made them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from tests.corpus.case import Case, Done, Place, Works, refused, table
from tests.corpus.inputs import PREDICT, choosing, folder, load, photo, predicted, save, truth

BY_RUN = "predict {} images --out ../out --no-overlay"


def predicted_by(run: str, *more: str) -> object:
    def make(place: Place) -> None:
        folder()
        place.fathom(*BY_RUN.format(run).split(), *more)

    return make


def replaced(place: Place) -> None:
    """The images were others when they were predicted."""
    folder()
    for i in range(4):
        save(f"images/{i:03d}.png", photo(truth(50 + i)))
    place.fathom(*PREDICT.split())
    for i in range(4):
        save(f"images/{i:03d}.png", photo(truth(i)))


def fresh(place: Place, done: Done) -> None:
    place.fathom("predict", "@other", "images", "--out", "../fresh", "--no-overlay")
    for i in range(4):
        new, old = (load(f"../{o}/ids/{i:03d}.png") for o in ("fresh", "out"))
        np.testing.assert_array_equal(new, old)


def other_labels(place: Place) -> None:
    predicted_by("@known.onnx", "--tasks", "segmentation")(place)  # type: ignore[operator]
    save("images/003.png", photo(truth(60)))


def selected(place: Place) -> None:
    """Chosen two of four; then one more image comes to the pool, and one that was chosen goes."""
    folder()
    choosing()
    place.fathom("select", "select.yaml", "--budget", "2", "--out", "../out")
    first = (place.out / "selection.txt").read_text().split()[0]
    Path(f"{first}.png").unlink()
    Path(f"{first.replace('images', 'labels')}.png").unlink()
    Path("splits/val.txt").unlink()


def distilled(place: Place) -> None:
    folder()
    place.fathom("distill", "@seg", ".", "--task", "segmentation", "--out", "../out", "--all")


def goes_on(place: Place, done: Done) -> None:
    assert "were there already" in done.err


def half_record(place: Place) -> None:
    """The record of what was predicted was cut short by a crash, and one file was not recorded."""
    predicted_by("@seg")(place)  # type: ignore[operator]
    path = place.out / ".fathom-predicted.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-2]) + "\n" + lines[-2][:9])


def scored_elsewhere(place: Place) -> None:
    folder()
    place.fathom("evaluate", "@seg", "--data", ".", "--no-report")
    folder("more", count=2)
    place.notes["own"] = {p: p.read_bytes() for p in Path("../seg/evaluation").rglob("*.json")}


def kept_apart(place: Place, done: Done) -> None:
    scores = Path("../seg/evaluation")
    assert all(path.read_bytes() == content for path, content in place.notes["own"].items())
    made = [json.loads(path.read_text()) for path in scores.rglob("scores.json") if path not in place.notes["own"]]
    assert made


def touched(place: Place) -> None:
    """Same size, another time: a copy that kept its content is made again and is the same."""
    predicted_by("@seg")(place)  # type: ignore[operator]
    os.utime("images/000.png", (1, 1))


CASES: tuple[Case, ...] = table(
    (
        "another run into the same folder",
        "folder",
        predicted_by("@seg"),
        BY_RUN.format("@other"),
        refused("of another network", "Give another folder"),
    ),
    (
        "another run, to overwrite",
        "folder",
        predicted_by("@seg"),
        BY_RUN.format("@other") + " --overwrite",
        Works(fresh),
    ),
    (
        "other settings into the same folder",
        "folder",
        predicted_by("@seg"),
        BY_RUN.format("@seg") + " --flip",
        refused("other settings", "Give another folder"),
    ),
    ("images replaced", "folder", replaced, PREDICT, Works(predicted)),
    ("an image touched", "folder", touched, BY_RUN.format("@seg"), Works(goes_on)),
    ("the record cut short", "folder", half_record, BY_RUN.format("@seg"), refused("does not say that", "--out")),
    (
        "stored predictions of images replaced",
        "folder",
        other_labels,
        "evaluate @known.onnx --data . --against ../out/ids --no-report",
        refused("images/003", "changed; predict it again"),
    ),
    (
        "a pool that lost what was chosen",
        "folder",
        selected,
        "select --resume ../out --budget 3",
        refused("images of the pool have changed", "start a new choice"),
    ),
    (
        "another teacher into the same folder",
        "folder",
        distilled,
        "distill @other . --task segmentation --out ../out --all",
        refused("../out", "--out"),
    ),
    (
        "the same teacher again",
        "folder",
        distilled,
        "distill @seg . --task segmentation --out ../out --all",
        Works(goes_on),
    ),
    ("scores of other data", "folder", scored_elsewhere, "evaluate @seg --data more --no-report", Works(kept_apart)),
)
