"""A trajectory seen from above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from fathomseg.evaluation.motion import Drive
from fathomseg.geometry.trajectory import align, from_first
from fathomseg.io.chart import ACCENT, INK, chart, svg


@dataclass(frozen=True, slots=True)
class Plan:
    """One clip: metres to the right and forward (x, z), seen from its first camera."""

    name: str
    truth: Float64[np.ndarray, "n 2"]
    predicted: Float64[np.ndarray, "n 2"]
    """Scaled to fit best, neither turned nor moved."""
    scale: float
    """True metres per predicted unit, as fitted."""

    @property
    def picture(self) -> str:
        """An SVG element: both paths on one scale, forward up."""
        with chart(4, 4) as figure:
            axes = figure.add_subplot(xlabel="m to the right", ylabel="m forward", aspect="equal", adjustable="datalim")
            axes.grid(axis="both")
            for path, colour, style in ((self.truth, INK, "-"), (self.predicted, ACCENT, "--")):
                axes.plot(*path.T, style, color=colour, linewidth=2.2)
                axes.plot(*path[-1], "o", color=colour)
            axes.plot(*self.truth[0], "o", markerfacecolor="white", markeredgecolor=INK)
            return svg(figure, inline=True)


def plan(drive: Drive) -> Plan:
    """Both paths of a clip from above."""
    predicted, scale = align(drive.predicted, drive.truth, "scale")
    truth, guess = (poses[:, [0, 2], 3] for poses in (from_first(drive.truth), predicted))
    return Plan(drive.ids[0], truth, guess, scale)
