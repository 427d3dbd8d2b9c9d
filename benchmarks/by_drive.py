"""Where the mistakes of a segmentation run lie: IoU of every class, and the largest confusions, drive by drive.

    python benchmarks/by_drive.py RUN ... [--split val] [--drive '(\\w+)_'] --out FILE

--drive is a pattern whose first group in an image's id names its drive (CamVid: what comes before the frame's number).
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

import fathomseg
from fathomseg.config import load
from fathomseg.inference.predictor import Predictor
from fathomseg.training.recipe import Recipe
from fathomseg.training.run_folder import origin
from fathomseg.types import IGNORE

LARGEST = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--drive", default=r"(\w+)_")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = {run.name: by_drive(run, given.split, re.compile(given.drive)) for run in given.runs}
    claim = "IoU (%) by drive, and the largest confusions as shares (%) of the true class there"
    given.out.write_text(json.dumps({"claim": claim, "split": given.split, "runs": rows, "origin": origin()}, indent=1))


def by_drive(run: Path, split: str, drive: re.Pattern[str]) -> dict[str, Any]:
    """The scores of averaged weights at the native size of the labels."""
    dataset, predictor = load(Recipe, run / "config.yaml").data, fathomseg.load(run)
    assert isinstance(predictor, Predictor)
    names = dataset.classes.names
    counts: dict[str, Int64[np.ndarray, "c c"]] = defaultdict(lambda: np.zeros((len(names), len(names)), np.int64))
    for id in dataset.ids(split):
        label, predicted = dataset.label(id), predictor.predict(dataset.image(id)).label
        found = drive.search(id)
        if label is None or predicted is None or found is None:
            continue
        known = label != IGNORE
        pairs = label[known].astype(np.int64) * len(names) + predicted[known]
        counts[found[1]] += np.bincount(pairs, minlength=len(names) ** 2).reshape(len(names), -1)
    counts["all"] = sum(counts.values())  # type: ignore[assignment]
    return {name: scores(confusion, names) for name, confusion in sorted(counts.items())}


def scores(confusion: Int64[np.ndarray, "c c"], names: tuple[str, ...]) -> dict[str, Any]:
    """Rows are true classes."""
    hit, true = np.diag(confusion), confusion.sum(1)
    iou = 100 * hit / np.maximum(1, true + confusion.sum(0) - hit)
    there = {name: round(float(iou[i]), 1) for i, name in enumerate(names) if true[i]}
    wrong = confusion - np.diag(hit)
    largest = [divmod(int(i), len(names)) for i in np.argsort(wrong, axis=None)[::-1][:LARGEST]]
    return {
        "miou": round(sum(there.values()) / len(there), 1),
        "iou": there,
        "confusions": {f"{names[a]} as {names[b]}": round(100 * wrong[a, b] / true[a], 1) for a, b in largest},
    }


if __name__ == "__main__":
    main()
