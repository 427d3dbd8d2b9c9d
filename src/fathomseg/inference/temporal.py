"""Depth of a video that flickers less: each pixel keeps a share of what it was, unless something has changed there."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8

from fathomseg.errors import FathomError
from fathomseg.types import Prediction

_DEPTH_TOLERANCE: Final = 0.1
"""Relative change of depth at which a pixel keeps 1/e of its share: flicker is smaller, another surface larger."""
_GREY_TOLERANCE: Final = 12.0
"""The same for the change of a pixel's mean colour, 0..255."""


class TemporalSmoother:
    """An exponential mean over the frames of one video, in inverse depth, gated pixel by pixel.

    r <- r + (1 - k) (r_new - r) with k = strength exp(-(dz / 10 %)^2 - (dI / 12)^2): where depth or colour change more
    than noise does, the new prediction counts alone. There is no optical flow, so what moves through the picture is not
    smoothed. No frame waits for a later one (latency 0); where nothing changes, a step is followed with a time constant
    of strength / (1 - strength) frames.
    """

    def __init__(self, strength: float) -> None:
        """`strength`: 0 (nothing) to below 1. Raises `FathomError`."""
        if not 0 <= strength < 1:
            raise FathomError(f"Smoothing over time has a strength from 0 to below 1, but it is {strength}.")
        self.strength = strength
        self._before: tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]] | None
        self._before = None

    def __call__(self, picture: UInt8[np.ndarray, "h w 3"], prediction: Prediction) -> Prediction:
        """The next frame's prediction with smoothed `depth` and `disparity`; the first frame's as it is."""
        if self.strength == 0 or prediction.depth is None or prediction.disparity is None:
            return prediction
        grey, inverse, disparity = picture.mean(2, dtype=np.float32), 1 / prediction.depth, prediction.disparity
        if self._before is not None and self._before[0].shape == grey.shape:
            old_grey, old_inverse, old_disparity = self._before
            depth_change = (inverse - old_inverse) / (np.minimum(inverse, old_inverse) * _DEPTH_TOLERANCE)
            grey_change = (grey - old_grey) / _GREY_TOLERANCE
            keep = (self.strength * np.exp(-(depth_change**2) - grey_change**2)).astype(np.float32)
            inverse = inverse + keep * (old_inverse - inverse)
            disparity = disparity + keep * (old_disparity - disparity)  # linear in 1 / depth, so the two still agree
        self._before = grey, inverse, disparity
        return replace(prediction, depth=1 / inverse, disparity=disparity.clip(0, 1))
