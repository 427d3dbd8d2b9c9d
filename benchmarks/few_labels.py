"""How far do a few labels get? Trains a recipe at several label counts and seeds, and writes one result file.

    python benchmarks/few_labels.py recipes/camvid.yaml --counts 24 all --seeds 0 1 2 \
        --out results/camvid_supervised.json data.root=PATH

With arms, each count and seed is trained in several ways and the result is a curve for each:

    python benchmarks/few_labels.py recipes/camvid.yaml --counts 8 16 32 --out results/camvid_transfer.json \
        --arm "nothing: network.encoder.pretrained=none" --arm "ImageNet:" --arm "depth: start.run=runs/depth-kitti"

Every cell is one `fathom train` in a process of its own, in RUNS/ARM-COUNT-SEED. Finished cells are not run again, an
interrupted cell is resumed, and cells another process is at are left to it, so the command can be repeated, or run
several times at once, until it is through. `--keep-checkpoints` keeps the large files of finished cells.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fathomseg.stages.run_folder import origin


def main() -> None:
    arguments = parse()
    arms = dict(arm.split(":", 1) for arm in arguments.arm)
    wanted = [(arm, count, seed) for seed in arguments.seeds for count in arguments.counts for arm in arms]
    for arm, count, seed in wanted:
        train(arguments, arm, arms[arm].split(), count, seed)
    cells = [row for arm, count, seed in wanted if (row := scores(arguments, arm, count, seed)) is not None]
    rows = [
        {"arm": arm, "labels": count, **summary(own)}
        for arm in arms
        for count in arguments.counts
        if (own := [c for c in cells if c["labels"] == count and c["arm"] == arm])
    ]
    result = {
        "what": "supervised training; mIoU (%) over the classes present, at the native size of the labels",
        "recipe": str(arguments.recipe),
        "overrides": arguments.overrides,
        "arms": arms,
        "split": "val, never used in training; weights: moving average after the last step",
        "cells_wanted": len(wanted),
        "rows": rows,
        "cells": cells,
        "origin": origin(),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        spread = "" if row["miou_std"] is None else f" +- {row['miou_std']:.2f}"
        print(f"{row['arm']:>20} {row['labels']:>5} labels: mIoU {row['miou_mean']:.2f}{spread} (n={row['n']})")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", help="settings for every run, as group.key=value")
    parser.add_argument("--counts", nargs="+", required=True, help="label counts; 'all' for every label")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--arm", action="append", help="NAME: settings of one way to train; may be repeated")
    parser.add_argument("--keep-checkpoints", action="store_true")
    parser.add_argument("--runs", type=Path, help="folder of the runs; default runs/NAME-OF-RESULT")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_intermixed_args()
    arguments.runs = arguments.runs or Path("runs") / arguments.out.stem
    arguments.arm = arguments.arm or ["recipe:"]
    return arguments


def train(arguments: argparse.Namespace, arm: str, settings: list[str], count: str, seed: int) -> None:
    """Train or resume one cell, unless it is finished or another process is at it."""
    folder = arguments.runs / f"{arm}-{count}-{seed}"
    arguments.runs.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if scores_file(folder).is_file():
            return
        began = time.monotonic()
        if (folder / "checkpoint.pt").is_file():
            command = ["--resume", str(folder)]
        else:
            shutil.rmtree(folder, ignore_errors=True)  # begun, but nothing saved
            number = "null" if count == "all" else count
            own = [f"labels.count={number}", f"seed={seed}", *arguments.overrides, *settings]
            command = [str(arguments.recipe), *own, "--out", str(folder)]
        subprocess.run([sys.executable, "-m", "fathomseg.cli", "train", *command], check=True)
        (folder / "minutes.txt").write_text(f"{(time.monotonic() - began) / 60:.2f}\n")
        if not arguments.keep_checkpoints:
            (folder / "checkpoint.pt").unlink()


def scores_file(folder: Path) -> Path:
    return folder / "evaluation" / "val" / "scores.json"


def scores(arguments: argparse.Namespace, arm: str, count: str, seed: int) -> dict[str, Any] | None:
    """The scores of one cell; None if it is not finished."""
    folder = arguments.runs / f"{arm}-{count}-{seed}"
    if not (folder / "minutes.txt").is_file():
        return None
    found = json.loads(scores_file(folder).read_text(encoding="utf-8"))["scores"]
    return {
        "arm": arm,
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
