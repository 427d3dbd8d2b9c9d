"""Scores as files for programs (scores.json, images.csv) and as a table for the terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fathomseg.io.files import write_text

HEADLINES: Final = {
    "miou": "mIoU",
    "boundary_miou": "boundary mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_class_accuracy": "mean class accuracy",
    "frequency_weighted_iou": "frequency-weighted IoU",
    "ece": "calibration error",
}
"""The scores of a whole data set, in the order they are shown, and their names."""

NAMES: Final = {"ema": "averaged weights (EMA)", "last": "last weights", "predictions": "stored predictions"}


def write_scores(folder: Path, result: Mapping[str, Any], images: Mapping[str, Mapping[str, float | None]]) -> None:
    """Write scores.json and images.csv (one row an image: its id and its own mIoU, empty where it has no label)."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "scores.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["id", *(f"miou_{name}" for name in images)])
    for id in next(iter(images.values())):
        rows.writerow([id, *(own[id] for own in images.values())])
    write_text(folder / "images.csv", table.getvalue())


def percent(value: float | None, digits: int = 1) -> str:
    """A score 0..1 in per cent; a dash where it is undefined."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def number(value: float | None, digits: int = 3) -> str:
    """A number as text; a dash where it is undefined."""
    return "–" if value is None else f"{value:.{digits}f}"


def show(result: Mapping[str, Any], out: Path, console: Console | None = None) -> None:
    """Print the scores of the first kind of weights class by class, then those of all kinds."""
    console = console or Console()
    scores = result["scores"]
    first = next(iter(scores))
    console.print(_class_table(scores[first], f"{result['dataset']} {result['split']}: {NAMES[first]}, per cent"))
    console.print(_headline_table(scores))
    present, classes = scores[first]["classes_present"], len(scores[first]["classes"])
    console.print(
        f"mIoU is the mean over the {present} of {classes} classes present in the ground truth of the "
        f"{scores[first]['images']} images.\nWritten to {out}",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


def _class_table(scores: Mapping[str, Any], title: str) -> Table:
    table = Table("class", title=Text(title))
    for column in ("pixels", "IoU", "boundary IoU", "accuracy"):
        table.add_column(column, justify="right")
    total = max(1, scores["pixels"])
    for row in scores["classes"]:
        values = (row["pixels"] / total, row["iou"], row["boundary_iou"], row["accuracy"])
        table.add_row(Text(row["name"]), *(percent(value) for value in values))
    return table


def _headline_table(scores: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table("score, per cent")
    for name in scores:
        table.add_column(NAMES[name], justify="right")
    for key, title in HEADLINES.items():
        table.add_row(title, *(percent(one[key], 2) for one in scores.values()))
    return table
