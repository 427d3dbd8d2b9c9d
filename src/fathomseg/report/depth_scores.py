"""Scores of depth and camera motion as files for programs and as tables for the terminal."""

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

from fathomseg.evaluation.depth_scoring import Rows
from fathomseg.io.files import write_text
from fathomseg.metrics.depth import ALIGNMENTS, ERRORS
from fathomseg.report.scores import NAMES, number

ERROR_NAMES: Final = {
    "abs_rel": "AbsRel",
    "sq_rel": "SqRel (m)",
    "rmse": "RMSE (m)",
    "rmse_log": "RMSE log",
    "delta1": "δ < 1.25",
    "delta2": "δ < 1.25²",
    "delta3": "δ < 1.25³",
}
ALIGNMENT_NAMES: Final = {"median": "median-scaled", "none": "unscaled", "disparity": "fitted in 1 / depth"}
"""In the order they are shown."""

MOTION_NAMES: Final = {
    "ate_m": "ATE of 5 frames (m)",
    "rotation_deg": "rotation error per frame (°)",
    "direction_deg": "direction of travel error (°)",
    "t_rel_percent": "KITTI translation error (%)",
    "r_rel_deg_per_100m": "KITTI rotation error (° per 100 m)",
    "scale": "metres per unit",
    "scale_spread": "spread of that scale between clips",
}


def write_depth_scores(folder: Path, result: Mapping[str, Any], images: Mapping[str, Rows]) -> None:
    """Write scores.json and images.csv: one row an image with a truth, one column for each weights and measure."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "scores.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    columns = [(name, how, key) for name in images for how, keys in _COLUMNS.items() for key in keys]
    rows.writerow(["id", *(f"{key}_{how}_{name}" for name, how, key in columns)])
    for id in next(iter(images.values()), ()):
        rows.writerow([id, *(images[name][id][how][key] for name, how, key in columns)])
    write_text(folder / "images.csv", table.getvalue())


_COLUMNS: Final = {**dict.fromkeys(ALIGNMENTS, ERRORS), "image": ("scale", "pixels")}
"""What each image's row holds, by alignment."""


def show_depth(result: Mapping[str, Any], out: Path, console: Console | None = None) -> None:
    """Print the errors of depth with and without scaling for all kinds of weights, then those of camera motion."""
    console = console or Console()
    place = f"{result['dataset']} {result['split']}"
    notes = []
    if result["scores"]:
        console.print(_depth_table(result["scores"], f"{place}: depth"))
        first = next(iter(result["scores"].values()))
        notes.append(
            f"Means over {first['images']} images with a true depth of {first['settings']['min_depth']:g} to "
            f"{first['settings']['max_depth']:g} m (crop: {first['settings']['crop']})."
        )
    if result["motion"]:
        over_all = result["motion"]["all"]
        console.print(_motion_table(over_all, f"{place}: camera motion"))
        notes.append(f"Camera motion over {over_all['clips']} clips, {over_all['frames']} frames.")
    console.print("\n".join([*notes, f"Written to {out}"]), highlight=False, soft_wrap=True, markup=False)


def _depth_table(scores: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    table = Table("error", title=Text(title))
    columns = [(name, how) for name in scores for how in ("median", "none")]
    for name, how in columns:
        table.add_column(Text(f"{NAMES[name]}\n{ALIGNMENT_NAMES[how]}"), justify="right")
    for key, text in ERROR_NAMES.items():
        table.add_row(text, *(number(scores[name][how][key]) for name, how in columns))
    return table


def _motion_table(over_all: Mapping[str, Any], title: str) -> Table:
    table = Table("measure", title=Text(title))
    table.add_column("over all clips", justify="right")
    for key, text in MOTION_NAMES.items():
        table.add_row(text, number(over_all[key]))
    return table
