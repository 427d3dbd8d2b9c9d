"""Where the mistakes of a segmentation run lie: IoU of every class, and the largest confusions, drive by drive.

python benchmarks/by_drive.py RUN ... [--split val] --out FILE
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

import fathomseg
from fathomseg.config import load
from fathomseg.metrics.segmentation import Confusion, class_iou, mean_iou
from fathomseg.training.recipe import Recipe
from fathomseg.training.run_folder import origin

LARGEST = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = {str(run): by_drive(run, given.split) for run in given.runs}
    claim = "IoU (%) by drive, and the largest confusions as shares (%) of the true class there"
    given.out.write_text(json.dumps({"claim": claim, "split": given.split, "runs": rows, "origin": origin()}, indent=1))


def by_drive(run: Path, split: str) -> dict[str, Any]:
    """The scores of averaged weights at the native size of the labels, of each drive that the dataset knows, and of
    all images."""
    dataset, predictor = load(Recipe, run / "config.yaml").data, fathomseg.load(run)
    names = dataset.classes.names
    counts: dict[str, Confusion] = defaultdict(lambda: Confusion(len(names)))
    for id in dataset.ids(split):
        label, predicted = dataset.label(id), predictor.predict(dataset.image(id)).label
        if label is None or predicted is None:
            continue
        for name in {dataset.clip(id) or "all", "all"}:
            counts[name].update(torch.from_numpy(predicted), torch.from_numpy(label))
    if not counts:
        raise SystemExit(f"No image in {split} of {dataset.name} has a label, or {run} predicts none.")
    return {name: scores(confusion.matrix, names) for name, confusion in sorted(counts.items())}


def scores(matrix: Int64[Tensor, "c c"], names: tuple[str, ...]) -> dict[str, Any]:
    """Of a confusion matrix, whose rows are true classes."""
    iou, true = class_iou(matrix), matrix.sum(1)
    wrong = matrix - matrix.diagonal().diag()
    largest = [divmod(i, len(names)) for i in wrong.flatten().topk(LARGEST).indices.tolist()]
    return {
        "miou": round(100 * mean_iou(matrix).item(), 1),
        "iou": {name: round(100 * iou[i].item(), 1) for i, name in enumerate(names) if true[i]},
        "confusions": {f"{names[a]} as {names[b]}": round(100 * (wrong[a, b] / true[a]).item(), 1) for a, b in largest},
    }


if __name__ == "__main__":
    main()
