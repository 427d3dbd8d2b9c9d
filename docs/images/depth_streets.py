"""Draws the picture of docs/depth.md: `python docs/images/depth_streets.py runs/depth-streets`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import fathomseg
from fathomseg.config import load
from fathomseg.io.draw import beside, depth_error_picture, depth_picture, write
from fathomseg.training.recipe import Recipe

HERE = Path(__file__).parent
SHOWN = ("val/0000/000005", "val/0004/000005", "val/0008/000005", "val/0012/000005")


def main(run: Path) -> None:
    """Image, prediction (median-scaled), truth and error of four frames no training saw."""
    dataset = load(Recipe, run / "config.yaml").data
    predictor = fathomseg.load(run)
    rows = []
    for id in SHOWN:
        image, truth = dataset.image(id), dataset.depth(id)
        assert truth is not None
        valid = (truth > 0) & (truth < 80)
        depth = predictor.predict(image).depth
        assert depth is not None
        depth = depth * np.median(truth[valid]) / np.median(depth[valid])
        shown = [depth_picture(depth), depth_picture(truth), depth_error_picture(depth, truth, valid)]
        rows.append(beside([image, *shown]))
    write(HERE / "depth-streets.jpg", np.concatenate(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
