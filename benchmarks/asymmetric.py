"""Copies of NYU Depth v2 in which half of the training images have labels and the other half depth, by links.

    python benchmarks/asymmetric.py DATA --out runs/nyuv2 [--seeds 0 1]
    python benchmarks/asymmetric.py DATA --out runs/nyuv2 --study runs/studies/nyuv2-asymmetric

The first makes OUT/half-SEED, a folder as DATA whose images of val (whole scenes, as `blocks` holds them out) keep
both. The second lets the networks of one task of recipes/studies/nyuv2-asymmetric.yaml, trained on a half, answer for
the other half: OUT/labels-SEED and OUT/depth-SEED. Both go on where they were stopped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from fathomseg.data.datasets.nyuv2 import NyuV2

TEACHERS = {"segmentation": ("segmentation-half", "labels"), "depth": ("depth-half", "depth")}
"""By task the arm that is the teacher, and what its answers are called."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folders image, seg40 and depth with train.txt")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1))
    parser.add_argument("--study", type=Path, help="its folder, when the teachers are trained")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        half = arguments.out / f"half-{seed}"
        if arguments.study is None:
            make_half(arguments.data.resolve(), half, seed)
        for task, (arm, name) in TEACHERS.items() if arguments.study else ():
            teacher = arguments.study / "runs" / f"{arm}-all-{seed}"
            command = ["distill", str(teacher), "nyuv2", f"root={half}", "blocks=true", "--task", task]
            out = ["--out", str(arguments.out / f"{name}-{seed}")]
            subprocess.run([sys.executable, "-m", "fathomseg.cli", *command, *out], check=True)


def make_half(data: Path, half: Path, seed: int) -> None:
    """`half` as `data`, but every training image with one annotation, drawn by `seed`."""
    dataset = NyuV2(root=data, blocks=True)
    train = dataset.ids("train")
    labelled = {train[i] for i in np.random.default_rng(seed).permutation(len(train))[: len(train) // 2]}
    hidden = {"seg40": set(train) - labelled, "depth": labelled, "image": set()}
    (half).mkdir(parents=True, exist_ok=True)
    for folder, without in hidden.items():
        (half / folder).mkdir(exist_ok=True)
        for path in sorted((data / folder).iterdir()):
            link = half / folder / path.name
            if path.stem not in without and not link.is_symlink():
                link.symlink_to(path)
    if not (half / "train.txt").is_symlink():
        (half / "train.txt").symlink_to(data / "train.txt")


if __name__ == "__main__":
    main()
