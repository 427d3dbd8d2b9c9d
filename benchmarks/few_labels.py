"""How far do a few labels get? Trains a recipe at several label counts and seeds, and writes one result file.

    python benchmarks/few_labels.py recipes/camvid.yaml --counts 24 all --seeds 0 1 2 \
        --out results/camvid_supervised.json data.root=PATH

Every cell is one `fathom train` in a process of its own, in RUNS/COUNT-SEED. Finished cells are not run again, an
interrupted cell is resumed, so the command can be repeated until it is through.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fathomseg.stages.run_folder import origin


def main() -> None:
    arguments = parse()
    cells = [cell(arguments, count, seed) for seed in arguments.seeds for count in arguments.counts]
    rows = {count: summary([c for c in cells if c["labels"] == count]) for count in arguments.counts}
    result = {
        "what": "supervised training; mIoU (%) over the classes present, at the native size of the labels",
        "recipe": str(arguments.recipe),
        "overrides": arguments.overrides,
        "split": "val, never used in training; weights: moving average after the last step",
        "rows": rows,
        "cells": cells,
        "origin": origin(),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for count, row in rows.items():
        spread = "" if row["miou_std"] is None else f" +- {row['miou_std']:.2f}"
        print(f"{count:>5} labels: mIoU {row['miou_mean']:.2f}{spread} (n={row['n']})")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", help="settings for every run, as group.key=value")
    parser.add_argument("--counts", nargs="+", required=True, help="label counts; 'all' for every label")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, help="folder of the runs; default runs/NAME-OF-RESULT")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_intermixed_args()
    arguments.runs = arguments.runs or Path("runs") / arguments.out.stem
    return arguments


def cell(arguments: argparse.Namespace, count: str, seed: int) -> dict[str, Any]:
    """Train (or resume, or find finished) one cell; returns its scores."""
    folder = arguments.runs / f"{count}-{seed}"
    scores = folder / "evaluation" / "val" / "scores.json"
    if not scores.is_file():
        began = time.monotonic()
        if (folder / "checkpoint.pt").is_file():
            command = ["--resume", str(folder)]
        else:
            number = "null" if count == "all" else count
            settings = [f"labels.count={number}", f"seed={seed}", *arguments.overrides]
            command = [str(arguments.recipe), *settings, "--out", str(folder)]
        subprocess.run([sys.executable, "-m", "fathomseg.cli", "train", *command], check=True)
        (folder / "minutes.txt").write_text(f"{(time.monotonic() - began) / 60:.2f}\n")
    found = json.loads(scores.read_text(encoding="utf-8"))["scores"]
    row = {
        "labels": count,
        "seed": seed,
        "images": len((folder / "labelled.txt").read_text(encoding="utf-8").split()),
        "miou": round(100 * found["ema"]["miou"], 3),
        "miou_last": round(100 * found["last"]["miou"], 3),
        "boundary_miou": round(100 * found["ema"]["boundary_miou"], 3),
        "pixel_accuracy": round(100 * found["ema"]["pixel_accuracy"], 3),
        "ece": round(found["ema"]["ece"], 5),
        "minutes": float((folder / "minutes.txt").read_text()),
        "commit": json.loads((folder / "origin.json").read_text())["commit"],
    }
    print(json.dumps(row), flush=True)
    return row


def summary(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and sample standard deviation over the seeds."""
    values = [c["miou"] for c in cells]
    return {
        "n": len(values),
        "miou_mean": round(statistics.mean(values), 3),
        "miou_std": round(statistics.stdev(values), 3) if len(values) > 1 else None,
        "minutes_mean": round(statistics.mean(c["minutes"] for c in cells), 2),
    }


if __name__ == "__main__":
    main()
