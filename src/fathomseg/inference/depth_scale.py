"""How long one unit of a network's depth is, with what it was found from; a card that knows it is one in metres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from pydantic import Field, PositiveFloat

from fathomseg.config import Part

ScaleSource = Literal["poses", "speed", "camera_height"]

WORDS: Final[dict[ScaleSource, str]] = {
    "poses": "the poses of the clips: true over predicted distance from frame to frame",
    "speed": "the known mean distance over the predicted one from frame to frame",
    "camera_height": "the camera's height above the ground that the predicted depth shows (Xue et al. 2020)",
}
AGREE: Final = 1.2
"""Two sources whose scales differ by a larger factor contradict each other."""
LEAST: Final = 5
"""Fewer measurements are no scale."""
MAX_SPREAD: Final = 0.5
"""Measurements that differ by more than this are no scale: the network has hardly learned anything."""


class DepthScale(Part):
    """The scale of a depth that was learned without one."""

    metres_per_unit: PositiveFloat
    """One unit of length of the network as it was trained, in metres. The range of depths in the card has been
    multiplied by it; translations of the pose network have not."""
    source: ScaleSource
    """What it was found from."""
    measured: int = Field(ge=1)
    """Frames, or motions from frame to frame, it is the median of, or by speed the mean."""
    spread: float = Field(ge=0)
    """How much they differ: 1.48 times the median absolute deviation, as a share of the median. By speed, which is not
    the same everywhere: the standard error of the mean, as a share of it."""

    @property
    def reliable(self) -> bool:
        """Whether there are enough measurements that agree."""
        return self.measured >= LEAST and self.spread <= MAX_SPREAD

    def agrees(self, other: DepthScale) -> bool:
        """Whether both sources say the same, more or less."""
        return max(self.metres_per_unit, other.metres_per_unit) <= AGREE * min(
            self.metres_per_unit, other.metres_per_unit
        )

    def __str__(self) -> str:
        average = "mean" if self.source == "speed" else "median"
        return (
            f"1 unit = {self.metres_per_unit:.3g} m ({average} of {self.measured}, spread {100 * self.spread:.0f} %), "
            f"from {WORDS[self.source]}"
        )


def median_scale(ratios: Sequence[float], source: ScaleSource) -> DepthScale | None:
    """The median of metres per unit, as measured several times; what is not positive and finite is left out. None if
    nothing is left."""
    values = np.asarray(ratios, np.float64)
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        return None
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle))) / middle
    return DepthScale(metres_per_unit=middle, source=source, measured=values.size, spread=spread)


def mean_scale(distances: Sequence[Sequence[float]], metres: float) -> DepthScale | None:
    """`metres` over the mean of predicted `distances`, of which each group comes from one place in the video; None if
    there are none, or nothing moves."""
    groups = [np.mean(group) for group in distances if len(group)]
    every = np.concatenate([np.asarray(group, np.float64) for group in distances]) if groups else np.zeros(0)
    if not every.size or not (mean := float(every.mean())) > 0:
        return None
    spread = float(np.std(groups, ddof=1)) / np.sqrt(len(groups)) / mean if len(groups) > 1 else 0.0
    return DepthScale(metres_per_unit=metres / mean, source="speed", measured=every.size, spread=spread)
