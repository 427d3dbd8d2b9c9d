"""Disparity of any scale and offset to 0..1, so that one margin means the same for every image and every source.

This is done once, on the whole image, before any crop: two crops of one image keep their common scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

import numpy as np
from jaxtyping import Bool, Float32
from pydantic import Field, model_validator

from fathomseg.config import Part

Percent = Annotated[float, Field(ge=0, le=100)]
Bounds = tuple[float, float]
"""The disparities that become 0 and 1."""

_ROUNDING: Final = 4 * float(np.finfo(np.float32).eps)
"""A map whose range is this small a part of its values is flat: what is left is the rounding of float32."""

_SUMMARY: Final = 1025


@dataclass(frozen=True, slots=True)
class DisparityMap:
    """Normalised disparity of a whole image."""

    values: Float32[np.ndarray, "h w"]
    """0..1, 1 = nearest; 0 (farthest) where it is not known."""
    valid: Bool[np.ndarray, "h w"]
    """Where it is known."""


class Normalisation(Part):
    """Which disparities become 0 and 1."""

    over: Literal["image", "dataset", "none"] = "image"
    """image: each image has its own bounds. dataset: one pair of bounds for all images, which only a source with one
    scale for all images deserves (metric depth, stereo); networks for relative depth have another scale for each.
    none: disparity stays as it is, so that a network that learns it has the source's depth; for disparity 0..1 between
    two depths, which a run gives, and its files. The others subtract the smallest disparity, so that far pixels end up
    too far."""
    percentiles: tuple[Percent, Percent] = (1.0, 99.0)
    """Percentiles of the valid disparities that become 0 and 1; what is beyond is clipped. [0, 100] = minimum and
    maximum (Hoyer et al. 2021), which leaves the scale of an image to one pixel. Of no use with `over: none`."""

    @property
    def fixed_bounds(self) -> Bounds | None:
        """The bounds, where no image decides them."""
        return (0.0, 1.0) if self.over == "none" else None

    @model_validator(mode="after")
    def _ordered(self) -> Normalisation:
        if self.percentiles[0] >= self.percentiles[1]:
            raise ValueError(f"percentiles must be [low, high] with low < high, but are {list(self.percentiles)}")
        return self


def normalise(
    disparity: Float32[np.ndarray, "h w"], percentiles: tuple[float, float] = (1.0, 99.0), bounds: Bounds | None = None
) -> DisparityMap:
    """(disparity - low) / (high - low), clipped to 0..1; low and high are `percentiles` of the image, or `bounds`.

    `disparity` may have any scale and offset, the larger the nearer. NaN and infinities mean "not known": they count
    in no percentile, and become 0 (farthest) and not valid, so the unknown is never put in front of the known. A map
    that is flat but for rounding, or wholly unknown, becomes 0 everywhere: what tells nothing puts nothing in front.
    Where the percentiles fall together but the map is not flat (one small object), minimum and maximum take their
    place. The result never holds NaN, keeps the order of any two pixels, and without `bounds` does not change when
    the disparity is multiplied by a positive number or shifted.
    """
    valid = np.isfinite(disparity)
    bounds = find_bounds(disparity[valid], percentiles) if bounds is None else bounds
    values = np.zeros(disparity.shape, np.float32)
    if bounds is not None and not _flat(bounds):
        low, high = bounds
        # float64, in which neither the range of float32 numbers nor the difference of close ones is lost
        values[valid] = np.clip((disparity[valid].astype(np.float64) - low) / (high - low), 0, 1)
    return DisparityMap(values, valid)


def find_bounds(values: Float32[np.ndarray, " n"], percentiles: tuple[float, float]) -> Bounds | None:
    """The percentiles of finite disparities, or the minimum and maximum if those are equal; None of no values."""
    if not values.size:
        return None
    low, high = (float(value) for value in np.percentile(values.astype(np.float64), percentiles))
    return (float(values.min()), float(values.max())) if _flat((low, high)) else (low, high)


def summary(disparity: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, " n"]:
    """Evenly spaced quantiles of the valid disparities, minimum and maximum included; nothing if none is valid.

    Together those of many images give the percentiles of a dataset in which every image counts alike.
    """
    ordered = np.sort(disparity[np.isfinite(disparity)])
    ranks = np.linspace(0, ordered.size - 1, _SUMMARY).round().astype(np.int64)
    return ordered[ranks] if ordered.size else ordered


def _flat(bounds: Bounds) -> bool:
    return bounds[1] - bounds[0] <= _ROUNDING * max(abs(bounds[0]), abs(bounds[1]))
