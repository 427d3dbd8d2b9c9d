"""The section on camera motion: errors of the trajectories, and the paths from above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float64

from fathomseg.evaluation.motion import MEANING, Drive
from fathomseg.geometry.trajectory import SNIPPET, align, from_first
from fathomseg.io.chart import ACCENT, INK, chart, svg
from fathomseg.report.section import Card, Section, number, table

MEASURES: Final = {
    "ate_m": "ATE of 5 frames (m)",
    "rotation_deg": "rotation error per frame (°)",
    "direction_deg": "direction of travel error (°)",
    "t_rel_percent": "KITTI translation error (%)",
    "r_rel_deg_per_100m": "KITTI rotation error (° per 100 m)",
    "scale": "metres per unit",
}
_SPREAD: Final = {"scale_spread": "spread of that scale between clips"}

_PLANS: Final = 6
"""Trajectories that are drawn at most: the longest."""


def motion_section(motion: Mapping[str, Any], drives: Sequence[Drive] = ()) -> Section:
    """The section of `motion_scores`; `drives` are what is drawn."""
    found, short = motion["all"], motion["all"]["clips_too_short"]
    longest = sorted((one for one in drives if len(one.ids) >= SNIPPET), key=lambda one: -len(one.ids))[:_PLANS]
    rows = [[text, number(found[key])] for key, text in (MEASURES | _SPREAD).items()]
    return Section(
        title="Camera motion",
        template="motion.html",
        headline=f"ATE {number(found['ate_m'])} m",
        facts=[f"{found['clips']} clips with camera poses", f"{found['frames']} frames"],
        cards=[
            Card("ATE of 5 frames", number(found["ate_m"]), "m", MEANING["ate_m"]),
            Card("rotation error", number(found["rotation_deg"]), "°", MEANING["rotation_deg"]),
            Card("direction of travel error", number(found["direction_deg"], 1), "°", MEANING["direction_deg"]),
        ],
        meaning=MEANING,
        shown={"motion": motion, "measures": MEASURES, "plans": [plan(drive) for drive in longest]},
        settings=[("clips too short", f"{short} have fewer than {SNIPPET} frames and count nowhere")] if short else [],
        tables=[table("measure", ["over all clips"], rows, "camera motion")],
        notes=[f"Camera motion over {found['clips']} clips, {found['frames']} frames."],
    )


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
