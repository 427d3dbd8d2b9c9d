"""How well the trainings of a study label the rest of their pool: the images that could have been chosen and were not.

    python benchmarks/pool_scores.py runs/studies/selection-camvid --out results/selection_camvid_pool.json

For pools that have all their labels, and arms that learn from labels alone (another arm has seen the rest of the pool,
if without labels). Every run is scored on all images of the training split but its own labelled ones, so no two runs on
quite the same images: whoever chooses difficult ones has easier ones left, by the share of the pool that is chosen.
Averaged weights, native size of the labels; differences to the first arm of the study, paired by seed.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.evaluation.scoring import FromNetwork, score
from fathomseg.inference.predictor import load
from fathomseg.study.table import compare
from fathomseg.training.run_folder import labelled_ids, origin, own_data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="the folder of a study")
    parser.add_argument("--split", default="train", help="the pool")
    parser.add_argument("--baseline", default="random", help="the arm the others are compared with")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    cells = []
    for path in sorted(arguments.study.glob("cells/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        cells.append(pool_score(arguments.study / "runs" / path.stem, arguments.split, record))
        print(f"{path.stem}: {cells[-1]['miou']:.1f} on {cells[-1]['scored_images']} images", flush=True)
    result = {
        "what": "mIoU (%) over the classes present on the images of the pool that the run has no label of; averaged "
        "weights after the last step, native size of the labels; +- is the sample standard deviation over seeds",
        "study": arguments.study.name,
        "split": arguments.split,
        "baseline": arguments.baseline,
        "rows": rows(cells, arguments.baseline),
        "cells": cells,
        "origin": origin(),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for row in result["rows"]:
        print(json.dumps(row))


def pool_score(run: Path, split: str, record: dict[str, Any]) -> dict[str, Any]:
    """The scores of one training on the rest of its pool."""
    dataset = resolve_dataset(own_data(run))
    known = {id for ids in labelled_ids(run, ["labelled"]).values() for id in ids}
    rest = [id for id in dataset.ids(split) if id not in known and dataset.has_label(id)]
    predictor = load(run, "ema", "cpu", tasks=("segmentation",))
    scores = score(FromNetwork(predictor, dataset), dataset, rest, predictor.tasks, "cpu")["segmentation"].result
    kept = {key: record[key] for key in ("arm", "budget", "seed", "images", "steps", "commit")}
    return {
        **kept,
        "miou": round(100 * scores["miou"], 3),
        "miou_val": round(record["miou"], 3),
        "scored_images": scores["images"],
    }


def rows(cells: list[dict[str, Any]], baseline: str) -> list[dict[str, Any]]:
    """Mean, spread and difference to the baseline of every arm and budget."""
    scores = {(cell["arm"], str(cell["budget"]), cell["seed"]): cell["miou"] for cell in cells}
    found = []
    for arm, budget in dict.fromkeys((arm, budget) for arm, budget, _ in scores):
        own = {seed: miou for (a, b, seed), miou in scores.items() if (a, b) == (arm, budget)}
        pairs = [(miou, scores.get((baseline, budget, seed))) for seed, miou in own.items()]
        paired = compare([miou - other for miou, other in pairs if other is not None]) if arm != baseline else None
        values = list(own.values())
        row = {"arm": arm, "budget": budget, "n": len(values), "miou": round(statistics.fmean(values), 2)}
        row["spread"] = round(statistics.stdev(values), 2) if len(values) > 1 else None
        if paired is not None:
            row |= {"difference": round(paired.difference, 2), "low": paired.low, "high": paired.high, "p": paired.p}
        found.append(row)
    return found


if __name__ == "__main__":
    main()
