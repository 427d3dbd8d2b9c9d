"""The colours of depth: one map in all pages, `turbo`, near = red, and bars that say what they mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, UInt8

from fathomseg.io import draw
from fathomseg.report.html import uri

_METRES: Final = (2, 5, 10, 20, 40, 80)
_MIDDLE_M: Final = math.sqrt(draw.NEAREST_M * draw.FARTHEST_M)
"""The depth in the middle of the scale."""


@dataclass(frozen=True, slots=True)
class ColourScale:
    """The colours as a picture, and what lies where along them."""

    picture: str
    """A data URI."""
    ticks: Sequence[tuple[str, float]]
    """A text, and where it belongs in per cent of the width."""
    what: str
    name: str = draw.DEPTH_MAP


def metric_scale() -> ColourScale:
    """Depth in metres."""
    return ColourScale(_ramp(), [(str(m), _place(m)) for m in _METRES], "Depth in metres.")


def relative_scale() -> ColourScale:
    """Depth whose scale is open, by the median of each picture."""
    ticks = [(words, _place(_MIDDLE_M * share)) for words, share in _SHARES.items()]
    return ColourScale(_ramp(), ticks, "Depth by the median of the picture: video does not tell metres.")


_SHARES: Final = {"⅙": 1 / 6, "½": 0.5, "median": 1.0, "2 ×": 2.0, "6 ×": 6.0}


def disparity_scale() -> ColourScale:
    """Normalised disparity, 0..1, as `draw.disparity_picture` shows it."""
    ramp = uri(draw.disparity_picture(np.linspace(1, 0, 256, dtype=np.float32)[None]), ".png")
    ticks = [("1 (nearest)", 0.0), ("0.5", 50.0), ("0 (farthest)", 100.0)]
    return ColourScale(ramp, ticks, "Disparity, 0 to 1 in each picture.")


def relative_picture(depth: Float32[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Depth of any unit (0 = unknown) with its median in the middle of the scale."""
    known = depth[depth > 0]
    return draw.depth_picture(depth * np.float32(_MIDDLE_M / np.median(known)) if known.size else depth)


def _ramp() -> str:
    metres: Float[np.ndarray, " n"] = np.geomspace(draw.NEAREST_M, draw.FARTHEST_M, 256)
    return uri(draw.depth_picture(metres[None]), ".png")


def _place(metres: float) -> float:
    return 100 * math.log(metres / draw.NEAREST_M) / math.log(draw.FARTHEST_M / draw.NEAREST_M)
