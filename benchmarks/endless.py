"""How fast an endless stream of the generated streets is made on one core, and so how many cores keep a GPU busy.

A frame of a new drive costs more than the next frame of the same one: the street ahead is built first. Times are those
of the process (CPU seconds), so that other work on the machine does not count. Prints one JSON line; `--out` keeps it.

    OMP_NUM_THREADS=1 python benchmarks/endless.py --out results/endless_streets.json
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np

from fathomseg.data.cache import Cache
from fathomseg.data.datasets.streets import Streets
from fathomseg.data.loading import Stream
from fathomseg.data.sampling import Endless
from fathomseg.data.transforms import Geometry
from fathomseg.training.run_folder import origin

SIZES = ((128, 256), (240, 320), (256, 512))
KINDS = ("image", "label")


def seconds(height: int, width: int, frames: int, rounds: int) -> list[float]:
    """CPU seconds per sample, view included, of each round of new frames."""
    data = Streets(size=(height, width), endless=True)
    order = Endless(data, "train", height * width)  # drives of its own, as built streets are kept
    stream = Stream(Cache(data, (height, width), limit_gb=0), [order.id_at(0)], KINDS, Geometry(), 0, order=order)
    for position in range(4):  # textures, imports
        stream[position]
    taken = []
    for start in range(4, 4 + rounds * frames, frames):
        begin = time.process_time()
        for position in range(start, start + frames):
            stream[position]
        taken.append((time.process_time() - begin) / frames)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    result: dict[str, object] = {"benchmark": "endless_streets"}
    for height, width in SIZES:
        rates = [1 / taken for taken in seconds(height, width, given.frames, given.rounds)]
        result[f"samples_per_s_{width}x{height}"] = {
            "mean": round(float(np.mean(rates)), 1),
            "std": round(float(np.std(rates)), 1),
            "best": round(max(rates), 1),
        }
    result |= {"per": "CPU second of one core", "frames": given.frames, "rounds": given.rounds, "origin": origin()}
    text = json.dumps(result)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
