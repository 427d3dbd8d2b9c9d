"""How much of the pixels each class of a dataset has, in how many images, and how large its connected regions are.

    python benchmarks/class_regions.py SIZE DATASET [KEY=VALUE ...] [--with DATASET [KEY=VALUE ...]]
                                       [--images 60] --out FILE

SIZE is height,width of the labels looked at (nearest pixel), as a network of that working size sees them. Two datasets
side by side say which classes of a source look unlike those of a target: a class whose regions are of another size is
learned at another size.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.training.run_folder import origin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size")
    parser.add_argument("data", nargs="+")
    parser.add_argument("--with", dest="other", nargs="+")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    height, width = map(int, given.size.split(","))
    rows = {
        " ".join(words): regions(resolve_dataset(words[0], words[1:]), (height, width), given.images)
        for words in filter(None, (given.data, given.other))
    }
    content = {
        "claim": "share of labelled pixels, share of images, median size of connected regions in pixels, by class",
        "size": [height, width],
        "datasets": rows,
        "origin": origin(),
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n")


def regions(dataset: Dataset, size: tuple[int, int], images: int) -> dict[str, dict[str, Any]]:
    """By class, over evenly spread labelled images of the split train."""
    ids = [id for id in dataset.ids("train") if dataset.has_label(id)]
    if not ids:
        raise SystemExit(f"No image in train of {dataset.name} has a label.")
    ids = ids[:: max(1, len(ids) // images)][:images]
    count = len(dataset.classes.names)
    pixels, seen = np.zeros(count), np.zeros(count)
    sizes: list[list[int]] = [[] for _ in range(count)]
    for id in ids:
        label = dataset.label(id)
        assert label is not None, "has_label"
        small = cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST)
        for number in range(count):
            mask = (small == number).astype(np.uint8)
            if mask.any():
                pixels[number] += mask.sum()
                seen[number] += 1
                sizes[number] += cv2.connectedComponentsWithStats(mask)[2][1:, cv2.CC_STAT_AREA].tolist()
    return {
        name: {
            "pixels": round(float(pixels[number] / pixels.sum()), 4),
            "images": round(float(seen[number] / len(ids)), 3),
            "median_region": float(np.median(sizes[number])) if sizes[number] else None,
        }
        for number, name in enumerate(dataset.classes.names)
    }


if __name__ == "__main__":
    main()
