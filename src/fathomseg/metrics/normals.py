"""Scores of predicted surface normals: the angle to the true ones, over all pixels that have one.

The literature (Eigen & Fergus 2015 and after) pools the pixels of all images. The sums of the angles are kept by image
and added exactly, so that one process and many give the same scores to the last bit; the median comes from a histogram.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from fathomseg.io.ranks import gathered

WITHIN: Final = (11.25, 22.5, 30.0)
"""Angles in degrees whose shares of pixels are counted."""

_BIN: Final = 0.01
_BINS: Final = round(180 / _BIN) + 1

MEANING: Final = {
    "mean": "mean angle between predicted and true normals over all pixels of all images; degrees",
    "median": f"the median of these angles, to {_BIN} degrees",
    **{f"within_{limit:g}": f"share of pixels whose angle is below {limit:g} degrees" for limit in WITHIN},
    "images": "images with at least one pixel whose true normal is known",
    "pixels": "pixels of all images whose true normal is known",
}
"""What each key of `NormalScores.result()` means; an image's own scores have the same keys."""


class NormalScores:
    """Accumulates angles by image."""

    def __init__(self) -> None:
        self.images: dict[str, dict[str, float]] = {}
        """By id the image's own scores, for images that have any."""
        self._histogram = np.zeros(_BINS, np.int64)
        self._below = np.zeros(len(WITHIN), np.int64)
        self._sums: dict[str, float] = {}

    def update(self, id: str, prediction: Float[Tensor, "h w 3"], truth: Float[Tensor, "h w 3"]) -> None:
        """Add one image: unit vectors of the size of the truth, which is 0 0 0 where it is not known."""
        known = truth.square().sum(-1) > 0
        if id in self.images or not known.any():
            return
        found = angles(prediction[known].double(), truth[known].double())
        below, pixels = np.array([int((found < limit).sum()) for limit in WITHIN]), found.numel()
        self._histogram += histogram(found)
        self._below += below
        self._sums[id] = float(found.sum())
        self.images[id] = _scores(self._sums[id] / pixels, float(found.median()), below, pixels)

    def all_reduce(self) -> None:
        """Add up over all ranks, which have seen different images; every rank must call it."""
        found: list[Any] = gathered([(self.images, self._histogram, self._below, self._sums)])
        self.images = {id: row for images, *_ in found for id, row in images.items()}
        self._histogram, self._below = (sum(part[k] for part in found) for k in (1, 2))
        self._sums = {id: total for *_, sums in found for id, total in sums.items()}

    def result(self) -> dict[str, Any]:
        """The scores as plain JSON values, null where no pixel was scored; `MEANING` says what the keys mean."""
        pixels = int(self._histogram.sum())
        if not pixels:
            empty = dict.fromkeys(("mean", "median", *(f"within_{limit:g}" for limit in WITHIN)))
            return {**empty, "images": 0, "pixels": 0}
        middle = int(np.searchsorted(self._histogram.cumsum(), (pixels + 1) // 2)) * _BIN
        scores = _scores(math.fsum(self._sums.values()) / pixels, round(middle, 2), self._below, pixels)
        return {**scores, "images": len(self.images)}


def angles(a: Float64[Tensor, "n 3"], b: Float64[Tensor, "n 3"]) -> Float64[Tensor, " n"]:
    """The angles in degrees between vectors of any length, precise for small ones too, where the arc cosine is not."""
    return torch.atan2(torch.linalg.cross(a, b).norm(dim=1), (a * b).sum(1)).rad2deg()


def histogram(found: Float64[Tensor, " n"]) -> Int64[np.ndarray, " bins"]:
    """Counts of angles in degrees, rounded to the bins."""
    return np.bincount((found / _BIN).round().long().cpu().numpy(), minlength=_BINS)


def _scores(mean: float, median: float, below: Int64[np.ndarray, " limits"], pixels: int) -> dict[str, float]:
    shares = {f"within_{limit:g}": int(count) / pixels for limit, count in zip(WITHIN, below, strict=True)}
    return {"mean": mean, "median": median, **shares, "pixels": pixels}
