"""Our losses beside those of segmentation_models_pytorch: CPU seconds of forward and backward, as one JSON line.

    OMP_NUM_THREADS=1 python benchmarks/smp_losses.py [--size 256 512] [--batch 4] [--classes 19]

One thread, the fastest of several runs. Their DiceLoss takes the batch for one image; the others do the same work.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fathomseg.losses.regions import Dice, Lovasz
from fathomseg.losses.segmentation import cross_entropy, focal_loss
from fathomseg.models.compat import ensure_timm_imports
from fathomseg.training.run_folder import origin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=2, type=int, default=[256, 512], metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--classes", type=int, default=19)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ensure_timm_imports()
    theirs: Any = importlib.import_module("segmentation_models_pytorch.losses")
    logits = torch.randn(arguments.batch, arguments.classes, *arguments.size, requires_grad=True)
    label = torch.randint(0, arguments.classes, (arguments.batch, *arguments.size)).byte()
    label[:, :16] = 255
    long, known = label.long(), {"ignore_index": 255}
    pairs = {
        "dice": (lambda: Dice()(logits, label)[0], theirs.DiceLoss("multiclass", **known)),
        "lovasz": (lambda: Lovasz()(logits, label)[0], theirs.LovaszLoss("multiclass", per_image=True, **known)),
        "focal": (lambda: focal_loss(logits, label, 2.0)[0], theirs.FocalLoss("multiclass", **known)),
        "cross entropy": (
            lambda: cross_entropy(logits, label)[0],
            theirs.SoftCrossEntropyLoss(smooth_factor=0.0, ignore_index=255),
        ),
    }
    rows = {}
    for name, (mine, library) in pairs.items():
        own, other = fastest(mine), fastest(lambda library=library: library(logits, long))
        rows[name] = {"ours_s": round(own, 4), "theirs_s": round(other, 4), "ratio": round(other / own, 2)}
    print(json.dumps({**vars(arguments), "rows": rows, "origin": origin()}))


def fastest(loss: Callable[[], Tensor], times: int = 3) -> float:
    """CPU seconds of the fastest run: the one least disturbed by whatever else the machine does."""
    seconds = []
    for _ in range(times):
        start = time.process_time()
        loss().backward()
        seconds.append(time.process_time() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
