"""How well the two holes of depth from video are found without a class, on the generated city, whose truth is known.

    python benchmarks/holes.py --out results/holes.json

- `far`: `losses.far.looks_far` (photometric.loss.far) against the pixels of the sky;
- `residual_flow`: `losses.moving.ResidualFlow` (photometric.moving) against the pixels that move.

Each at the true motion of the camera and two depths: the true one, and `flat`, the frame's median everywhere, which is
what a network knows when it begins. Precision: share of the found pixels that are right; recall: share of the right
ones that are found; both over all pixels of every Nth frame of val, and `share` is that of the right ones.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from fathomseg.data.datasets.streets import Streets
from fathomseg.geometry.camera import inverse_depth, reciprocal
from fathomseg.geometry.warp import locate, projection
from fathomseg.losses.far import looks_far, parallax
from fathomseg.losses.moving import ResidualFlow, Views
from fathomseg.losses.photometric import PhotometricLoss
from fathomseg.training.run_folder import origin

RANGE: Final = (0.1, 100.0)
"""The depths of disparity 1 and 0, in metres, as of the task depth."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=2, type=int, default=[96, 192])
    parser.add_argument("--every", type=int, default=4, help="look at every Nth frame that has neighbours")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    streets = Streets(size=tuple(arguments.size), frames=16)
    ids = [id for id in streets.ids("val") if streets.neighbour(id, -1) and streets.neighbour(id, 1)]
    ids = ids[:: arguments.every]
    counts: dict[str, Counter[str]] = {}
    for id in ids:
        sky = torch.from_numpy(streets.label(id) == streets.classes.names.index("sky"))
        moving = torch.from_numpy(streets.moving(id).copy())
        for depth, views in given(streets, id).items():
            for name, found, right in (
                ("far", far(views), sky),
                ("residual_flow", ResidualFlow().moving(views)[0], moving),
            ):
                count = counts.setdefault(f"{name}, {depth} depth", Counter())
                count.update(found=int(found.sum()), right=int(right.sum()), both=int((found & right).sum()))
                count.update(pixels=right.numel())
    result = {
        "claim": "precision and recall of what finds the sky and moving pixels without classes",
        "frames": len(ids),
        "size": arguments.size,
        "found": {name: shares(count) for name, count in counts.items()},
        "cpu_seconds": round(time.process_time() - start, 1),
        "origin": origin(),
    }
    print(json.dumps(result["found"], indent=2))
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def given(streets: Streets, id: str) -> dict[str, Views]:
    """The frame between its neighbours at the camera's true motion, by depth."""
    others = [streets.neighbour(id, offset) for offset in (-1, 1)]
    here, there = streets.world_T_cam(id), [streets.world_T_cam(other) for other in others if other]
    camera, depth = streets.camera(id), torch.from_numpy(streets.depth(id).copy())[None, None]
    motion = np.stack([np.linalg.inv(pose) @ here for pose in there])[None]
    nearest, farthest = (1 / metres for metres in RANGE)
    depths = {
        "true": reciprocal(depth).clamp(farthest, nearest),  # the sky's is 0: as far as can be
        "flat": torch.full_like(depth, 1 / depth[depth > 0].median().item()),
    }
    K = torch.from_numpy(camera.matrix()).float()[None]
    sources = torch.stack([picture(streets, other) for other in others if other])[None]
    src_T_tgt = torch.from_numpy(motion).float()
    image = picture(streets, id)[None]
    return {name: Views(image, sources, known, K, src_T_tgt, {}) for name, known in depths.items()}


def picture(streets: Streets, id: str) -> Tensor:
    """3 x h x w, 0..1."""
    return torch.from_numpy(streets.image(id).copy()).permute(2, 0, 1).float() / 255


def far(views: Views) -> Tensor:
    """Where the photometric loss takes the frame for infinitely far, as its term `far` does; h x w."""
    loss, (nearest, farthest) = PhotometricLoss(), (1 / metres for metres in RANGE)
    disparity = (views.inverse_depth - farthest) / (nearest - farthest)
    nowhere = torch.zeros_like(disparity)
    seen = (views.image, views.sources)
    errors, matrices = [], projection(views.K, views.src_T_tgt, views.K[:, None], tuple(views.image.shape[2:]))
    known = torch.ones_like(views.image[:, 0], dtype=torch.bool)
    for one in (disparity, nowhere):
        errors.append(loss.look(*seen, one, views.K, views.src_T_tgt, RANGE)[1])
        known &= locate(matrices, inverse_depth(one, *RANGE))[1].any(dim=1)
    depths = (inverse_depth(one, *RANGE) for one in (disparity, nowhere))
    return looks_far(*errors, parallax(matrices, *depths), known, views.K)[0]


def shares(count: Counter[str]) -> dict[str, Any]:
    return {
        "precision": round(count["both"] / max(count["found"], 1), 3),
        "recall": round(count["both"] / max(count["right"], 1), 3),
        "share": round(count["right"] / count["pixels"], 4),
    }


if __name__ == "__main__":
    main()
