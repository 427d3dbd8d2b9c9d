"""Where the error of depth lies on the generated city: pixels that move, borders of depth, and how far the sky is.

    python benchmarks/depth_regions.py runs/depth-streets runs/depth-semantics --out results/regions.json

AbsRel after median scaling over the frames of val, to 80 m; `border`: within 3 pixels of a neighbour 1.25 times as far;
`border_pixels`, `border_error`: the shares of pixels and of the sum of errors that lie there.
The sky has no true depth: `sky_far` is the share of its pixels predicted beyond 80 m, after the same scaling.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import fathomseg
from fathomseg.data.datasets.streets import Streets
from fathomseg.training.run_folder import origin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--size", nargs=2, type=int, default=[96, 192])
    parser.add_argument("--every", type=int, default=4, help="score every Nth frame")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    streets = Streets(size=tuple(arguments.size), frames=16)
    ids = list(streets.ids("val"))[:: arguments.every]
    result = {"frames": len(ids), "runs": {str(run): regions(run, streets, ids) for run in arguments.runs}}
    print(json.dumps(result, indent=2))
    if arguments.out is not None:
        text = json.dumps({**result, "origin": origin()}, indent=2)
        arguments.out.write_text(text + "\n", encoding="utf-8")


def regions(run: Path, streets: Streets, ids: list[str]) -> dict[str, Any]:
    """AbsRel of each region, averaged over pixels."""
    predictor = fathomseg.load(run)
    sky = streets.classes.names.index("sky")
    sums: dict[str, list[float]] = {}
    for id in ids:
        truth, moving, label = (np.asarray(x) for x in (streets.depth(id), streets.moving(id), streets.label(id)))
        depth = predictor.predict(streets.image(id)).depth
        assert depth is not None
        known = (truth > 0.1) & (truth < 80)
        depth = np.clip(depth * np.median(truth[known]) / np.median(depth[known]), 0.1, None)
        error = np.abs(np.minimum(depth, 80) - truth) / np.where(known, truth, 1)
        border = near_border(truth)
        static = known & ~moving
        masks = {"all": known, "moving": known & moving, "border": static & border, "inside": static & ~border}
        parts = {name: (error[mask].sum(), mask.sum()) for name, mask in masks.items()}
        parts["border_pixels"] = ((known & border).sum(), known.sum())
        parts["border_error"] = (error[known & border].sum(), error[known].sum())
        parts["sky_far"] = ((depth[label == sky] > 80).sum(), (label == sky).sum())
        for name, (part, whole) in parts.items():
            total = sums.setdefault(name, [0.0, 0.0])
            total[0] += float(part)
            total[1] += float(whole)
    return {name: round(total / max(count, 1), 4) for name, (total, count) in sums.items()}


def near_border(truth: np.ndarray) -> np.ndarray:
    """Within 3 pixels of a jump in depth."""
    log = torch.from_numpy(np.where(truth > 0, truth, 200.0).astype(np.float32)).log()
    jump = torch.zeros_like(log)
    across, down = (log.diff(dim=axis).abs() > math.log(1.25) for axis in (1, 0))
    jump[:, 1:] += across
    jump[1:] += down
    return (F.max_pool2d(jump[None, None], 7, 1, 3)[0, 0] > 0).numpy()


if __name__ == "__main__":
    main()
