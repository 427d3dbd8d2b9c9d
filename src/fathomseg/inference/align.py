"""Predicted depth in metres, by some distances that are known: `fathomseg.align`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32

from fathomseg.errors import FathomError
from fathomseg.metrics.depth import scale_and_shift
from fathomseg.types import Prediction

Point = tuple[float, float, float]
"""Column, row (pixels, centres at integers) and z-depth in metres."""


@dataclass(frozen=True, slots=True)
class DepthAlignment:
    """1 / metres = scale / predicted depth + shift."""

    scale: float
    shift: float

    def __call__(self, depth: Float[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        """z-depth in metres; infinite where it would be behind the camera. What is unknown, 0 or NaN, stays so."""
        with np.errstate(divide="ignore"):
            inverse = self.scale / depth.astype(np.float64) + self.shift
        metres = np.where(np.isnan(inverse), np.nan, np.inf).astype(np.float32)
        np.divide(1, inverse, out=metres, where=inverse > 0, casting="unsafe")
        return metres


def align(
    prediction: Prediction | Float[np.ndarray, "h w"],
    reference: Float[np.ndarray, "h2 w2"] | Sequence[Point],
    shift: bool = True,
) -> DepthAlignment:
    """The scale and shift of 1 / depth with the least squared distance to what is known (Ranftl et al. 2022, eq. 4).

    `reference`: a map of metres at the size of the prediction (0 or NaN = not known), or points (x, y, metres).
    `shift=False` fits the scale alone, for which one point is enough: right for a network whose depth is relative up to
    a factor; with a shift for one learned by `error: scale_shift_invariant`. Raises `FathomError` for too few points,
    points outside the image or where the prediction is unknown (0 or NaN), or a prediction that gets farther where the
    reference gets nearer.

    >>> import numpy as np
    >>> depth = np.array([[1.0, 2.0], [4.0, 5.0]])
    >>> align(depth, [(0, 0, 3.0), (0, 1, 12.0)])(depth)
    array([[ 3.,  6.],
           [12., 15.]], dtype=float32)
    """
    depth = prediction.depth if isinstance(prediction, Prediction) else np.asarray(prediction)
    if depth is None:
        raise FathomError("This prediction has no depth to align; load a network with the task depth.")
    guess, true = _from_map(depth, reference) if isinstance(reference, np.ndarray) else _from_points(depth, reference)
    least = 2 if shift else 1
    if len(true) < least:
        given = "1 known depth is" if len(true) == 1 else f"{len(true)} known depths are"
        what = "scale and shift need" if shift else "the scale needs"
        remedy = "give another, or shift=False for the scale alone" if len(true) == 1 else "give more"
        raise FathomError(f"{given} given, but {what} at least {least}: {remedy}.")
    inverse, wanted = torch.from_numpy(1 / guess), torch.from_numpy(1 / true)
    if shift:
        scale, offset = (float(x) for x in scale_and_shift(inverse, wanted))
    else:
        scale, offset = float((inverse * wanted).sum() / inverse.square().sum()), 0.0
    if scale <= 0:
        raise FathomError(
            "The known depths do not fit the prediction: it is flat there, or gets farther where they get nearer. Give "
            "points at clearly different depths, or shift=False for the scale alone."
        )
    return DepthAlignment(scale, offset)


def _from_map(
    depth: Float[np.ndarray, "h w"], reference: Float[np.ndarray, "h2 w2"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    if reference.shape != depth.shape:
        raise FathomError(f"The reference has {reference.shape} pixels, the prediction {depth.shape}; make them alike.")
    known = np.isfinite(reference) & (reference > 0) & np.isfinite(depth) & (depth > 0)
    return depth[known].astype(np.float64), reference[known].astype(np.float64)


def _from_points(
    depth: Float[np.ndarray, "h w"], points: Sequence[Point]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    guess, true = [], []
    predicted = Prediction(depth=depth.astype(np.float32))
    for x, y, metres in points:
        if not 0 < metres < math.inf:
            raise FathomError(f"The point ({x}, {y}) is given at {metres} m; depths are positive.")
        found = predicted.depth_at(x, y)
        if not 0 < found < math.inf:
            raise FathomError(f"The prediction knows no depth at the point ({x}, {y}): it is {found}. Give another.")
        guess.append(found)
        true.append(metres)
    return np.array(guess, np.float64), np.array(true, np.float64)
