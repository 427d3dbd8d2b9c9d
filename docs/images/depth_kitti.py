"""Draws the KITTI picture of docs/depth.md: `python docs/images/depth_kitti.py runs/depth-kitti`.

Depth only: the images are under a licence of their own and are not part of this project.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import fathomseg
from fathomseg.config import load
from fathomseg.io.draw import beside, depth_picture, write
from fathomseg.training.recipe import Recipe

HERE = Path(__file__).parent
CLIPS = ("city", "residential", "odometry_gray")
"""One row each."""
SHARES = (0.2, 0.5, 0.8)
"""Where in a clip the frames of its row are."""
MEDIAN = 12.0
"""Metres the median of each picture is shown as; the network's unit is its own."""


def main(run: Path) -> None:
    """Predicted depth of three frames of every clip."""
    dataset = load(Recipe, run / "config.yaml").data
    predictor = fathomseg.load(run)
    rows = []
    for clip in CLIPS:
        ids = [id for id in dataset.ids("all") if id.startswith(f"{clip}/")]
        shown = [ids[int(share * len(ids))] for share in SHARES]
        depths = [predictor.predict(dataset.image(id)).depth for id in shown]
        rows.append(beside([depth_picture(MEDIAN * depth / np.median(depth)) for depth in depths if depth is not None]))
    write(HERE / "depth-kitti.jpg", np.concatenate(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
