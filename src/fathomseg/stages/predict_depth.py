"""`fathom predict --depth`: how far everything is in an image, a folder of images and videos, or a video.

OUT/disparity/<path>.png   disparity 0..1 as 16-bit grey (value / 65535, 1 = nearest), at the size of the image
OUT/views/<path>.jpg       the same in colours, near = bright
OUT/depth.json             how disparity becomes depth, and in what unit
of a video:  OUT/disparity/<path>/<frame>.png  and  OUT/views/<path>.mp4
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8

from fathomseg.inference.card import Weights
from fathomseg.inference.depth_predictor import DepthPredictor, load_depth
from fathomseg.inference.predict_folder import Places, find_jobs, work_off
from fathomseg.io import draw
from fathomseg.io.depth_maps import write_disparity, write_scale

PLACES: Final = Places(values="disparity", views="views")
_FOLLOW: Final = 0.1
"""How much of a frame's own range of disparity goes into the colours of a video, which would flicker otherwise."""


def run(
    run: str,
    source: str,
    out: str,
    *,
    weights: Weights,
    view: bool,
    overwrite: bool,
    device: str | None,
    flip: bool = False,
) -> int:
    """Predict the depth of everything in `source` into `out`; returns 1 if some files could not be used, else 0.

    Raises `FathomError` if the run's network gives no depth.
    """
    jobs, problems = find_jobs(Path(source), Path(out), PLACES, view)
    predictor = load_depth(run, weights, device, flip)
    write_scale(Path(out), predictor.depth_range, run)
    return work_off(jobs, problems, Measuring(predictor), out, overwrite, "measuring", "measured")


@dataclass
class Measuring:
    """Disparity of pictures, in colours that follow the range of a video slowly."""

    predictor: DepthPredictor
    limits: tuple[float, float] | None = field(default=None, init=False)
    """The disparities shown as black and as brightest."""

    def begin(self) -> None:
        """Another file has colours of its own."""
        self.limits = None

    def predict(self, picture: UInt8[np.ndarray, "h w 3"]) -> Measured:
        """The disparity of every pixel."""
        disparity = np.clip(self.predictor.predict(picture).disparity, 0, 1)  # resampling may round to above 1
        low, high = (float(value) for value in np.percentile(disparity, (2, 98)))
        if self.limits is not None:
            low, high = (old + _FOLLOW * (new - old) for old, new in zip(self.limits, (low, high), strict=True))
        self.limits = low, high
        return Measured(disparity, self.limits)


@dataclass(frozen=True)
class Measured:
    """A map of disparity 0..1 and the range it is shown in."""

    disparity: Float32[np.ndarray, "h w"]
    limits: tuple[float, float]

    def write(self, path: Path) -> None:
        """16-bit grey."""
        write_disparity(path, self.disparity)

    def view(self) -> UInt8[np.ndarray, "h w 3"]:
        """Colours, near = bright."""
        return draw.colour_map(self.disparity, limits=self.limits, style="magma")
