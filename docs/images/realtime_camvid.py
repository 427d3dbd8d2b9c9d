"""Draws the picture of docs/methods/realtime.md: `python docs/images/realtime_camvid.py runs/realtime-camvid-kitti`.

Classes and depth of frames of CamVid's val clip; the images are under a licence of their own and are not part of this
project. With them, as a video: `fathom predict RUN CLIP --out DIR`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import fathomseg
from fathomseg.config import load
from fathomseg.io.draw import beside, colourise, depth_picture, write
from fathomseg.training.recipe import Recipe

HERE = Path(__file__).parent
FRAMES = 5
"""One column each, evenly over the clip."""
HEIGHT = 144
MEDIAN = 14.0
"""Metres the median of all pictures is shown as; the network's unit is its own."""


def main(run: Path) -> None:
    """Classes above, depth below."""
    dataset = load(Recipe, run / "config.yaml").data
    predictor = fathomseg.load(run)
    ids = dataset.ids("val")
    shown = [predictor.predict(dataset.image(ids[i])) for i in np.linspace(0, len(ids) - 1, FRAMES).round().astype(int)]
    classes = [colourise(one.label, dataset.classes) for one in shown if one.label is not None]
    depths = [one.depth for one in shown if one.depth is not None]
    unit = MEDIAN / np.median(depths)
    rows = [beside(pictures, HEIGHT) for pictures in (classes, [depth_picture(unit * depth) for depth in depths])]
    write(HERE / "realtime-camvid.jpg", np.concatenate(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
