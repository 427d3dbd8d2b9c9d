"""Shade on the ground: the outline of a thing and of its top moved along the sunlight, as one convex polygon."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float64

Shadow = Float64[np.ndarray, "10 2"]
"""A convex outline (x, z) of ten corners; the last may repeat."""
Drift = Float64[np.ndarray, " 2"]
"""How far (x, z) the shade of a point moves per metre of its height."""


def cast(points: Sequence[tuple[float, float]], height: float, drift: Drift, base: float = 0.0) -> Shadow:
    """The shade of an upright prism over `points`, from `base` to `height` metres."""
    foot = np.array(points, np.float64)
    corners = np.concatenate([foot + base * drift, foot + height * drift])
    hull = cv2.convexHull(corners.astype(np.float32))[:, 0].astype(np.float64)
    if len(hull) > 10:
        hull = hull[np.linspace(0, len(hull) - 1, 10).astype(int)]
    return np.concatenate([hull, np.repeat(hull[-1:], 10 - len(hull), axis=0)])


def box_shadow(x: tuple[float, float], z: tuple[float, float], height: float, drift: Drift) -> Shadow:
    """The shade of a box that stands on the ground."""
    return cast([(x[0], z[0]), (x[1], z[0]), (x[1], z[1]), (x[0], z[1])], height, drift)


def round_shadow(centre: tuple[float, float], radius: float, height: float, drift: Drift) -> Shadow:
    """The shade of a ball, as an ellipse drawn out along the light."""
    angle = np.arange(10) * (2 * np.pi / 10)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    length = float(np.hypot(*drift))
    along = drift / max(length, 1e-9)
    ring += (ring @ along)[:, None] * along * (np.hypot(1.0, length) - 1.0)
    return np.asarray(np.array(centre) + height * drift + radius * ring)
