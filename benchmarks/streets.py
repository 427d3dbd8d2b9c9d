"""How fast the generated streets are rendered: image, depth, labels and motion of whole frames, on one core.

Prints one JSON line. Frames come from several clips of every look; textures and the street near each clip's start are
made beforehand, as they are in a run that reads neighbouring frames. `best` takes the fastest of the rounds of every
frame, which is what an undisturbed core does; `mean` is what this machine did while it ran.

    OMP_NUM_THREADS=1 python benchmarks/streets.py
"""

from __future__ import annotations

import json
import time

import cv2
import numpy as np

from fathomseg.data.world.domains import DOMAINS
from fathomseg.data.world.render import render
from fathomseg.data.world.route import Clip
from fathomseg.training.run_folder import origin

SIZES = ((128, 256), (256, 512))
CLIPS, FRAMES, ROUNDS = 4, (0, 8, 16), 5


def seconds(height: int, width: int) -> np.ndarray:
    """Time of each frame in each round."""
    shots = [(Clip(name, clip, 0.7), frame) for name in DOMAINS for clip in range(CLIPS) for frame in FRAMES]
    for clip, frame in shots:
        render(clip, frame, 16, 32)
    taken = np.empty((ROUNDS, len(shots)))
    for times in taken:
        for k, (clip, frame) in enumerate(shots):
            start = time.perf_counter()
            render(clip, frame, height, width)
            times[k] = time.perf_counter() - start
    return taken


def main() -> None:
    cv2.setNumThreads(1)
    result: dict[str, object] = {"benchmark": "streets"}
    for height, width in SIZES:
        taken = seconds(height, width)
        result[f"frames_per_s_{width}x{height}"] = {
            "best": round(1 / taken.min(axis=0).mean(), 1),
            "mean": round(1 / taken.mean(), 1),
        }
    print(json.dumps({**result, "threads": 1, "origin": origin()}))


if __name__ == "__main__":
    main()
