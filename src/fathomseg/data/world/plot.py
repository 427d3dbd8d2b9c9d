"""The drawing board of one piece of street, with the strokes that every neighbourhood uses, and its shade.

The shade of a thing is the outline of it and of its top moved along the sunlight, as one convex polygon.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float64

from fathomseg.data.world import nature
from fathomseg.data.world.dice import Dice
from fathomseg.data.world.domains import PAINTS
from fathomseg.data.world.ground import CHUNK_M
from fathomseg.data.world.labels import ROAD, SIDEWALK
from fathomseg.data.world.mesh import Quads, Sketch, paint
from fathomseg.data.world.route import Clip, turns
from fathomseg.data.world.street import street
from fathomseg.data.world.town import atlas, vehicle
from fathomseg.data.world.weather import weather

KERB_M = 0.12
REACH_M = 64.0
"""How far the ground and what stands on it extend to either side."""

_CARS = ("hatch", "hatch", "sedan", "sedan", "suv", "suv", "wagon", "van")

Span = tuple[float, float]
Shadow = Float64[np.ndarray, "10 2"]
"""A convex outline (x, z) of ten corners; the last may repeat."""
Drift = Float64[np.ndarray, " 2"]
"""How far (x, z) the shade of a point moves per metre of its height."""


class Plot:
    """Sketch, loose models and shade of one chunk, in its own frame; `drift` = metres of shade per metre of height."""

    def __init__(self, clip: Clip, index: int) -> None:
        self.clip, self.index, self.street = clip, index, street(clip)
        self.atlas = atlas(clip.domain)
        self.sketch = Sketch(self.atlas)
        self.models: list[Quads] = []
        self.shadows: list[Shadow] = []
        self.drift = weather(clip).shadow_per_m(clip, index)
        self._first, self._last = turns(clip, index)

    def mitred(self, across: float, along: float) -> tuple[float, float]:
        """(x, z) of a place. Where chunks meet, their border is the bisector of the turn, so no gap opens."""
        slant = np.tan(self._first / 2) * (1 - along / CHUNK_M) - np.tan(self._last / 2) * along / CHUNK_M
        return across, along + across * float(slant)

    def ground(self, x: Span, z: Span, up: float, texture: str, label: int, tile_m: float) -> None:
        """A piece of ground whose square texture of `tile_m` metres is anchored to the street."""
        (x0, x1), (z0, z1) = x, z
        places = [self.mitred(*place) for place in ((x0, z0), (x1, z0), (x1, z1), (x0, z1))]
        repeat = (x0 / tile_m, -z1 / tile_m, x1 / tile_m, -z0 / tile_m)
        self.sketch.quad([(a, up, b) for a, b in places], texture, label, repeat, ground=1 if up == 0 else 2)

    def carriageway(self, texture: str) -> None:
        """The road from kerb to kerb; its texture covers the whole piece."""
        half = self.street.half
        ring = ((-half, 0.0), (half, 0.0), (half, CHUNK_M), (-half, CHUNK_M))
        corners = [(x, 0.0, z) for x, z in (self.mitred(*place) for place in ring)]
        self.sketch.quad(corners, texture, ROAD, ground=1)

    def kerb(self, left: tuple[float, float], right: tuple[float, float]) -> None:
        """The upright face of a kerb between two places (across, along), left to right as seen from the road."""
        length = float(np.hypot(right[0] - left[0], right[1] - left[1]))
        ends = self.mitred(*left), self.mitred(*right)
        self.sketch.wall(*ends, 0.0, KERB_M, "kerb", SIDEWALK, (0, 0, length / 2, 0.12))

    def street_kerb(self, side: int, z: Span) -> None:
        """The kerb along the street on one side."""
        x = side * self.street.half
        start, end = z if side < 0 else z[::-1]
        self.kerb((x, start), (x, end))

    def box_shade(self, x: float, z: float, size: tuple[float, float, float]) -> None:
        """The shade of a box of (half width, half length, height) around (x, z)."""
        wide, long, tall = size
        self.shadows.append(box_shadow((x - wide, x + wide), (z - long, z + long), tall, self.drift))

    def tree(self, x: float, z: float, height: float, dice: Dice) -> None:
        """A tree and its shade."""
        nature.tree(self.sketch, self.clip.look, x, z, height, dice)
        self.shadows.append(round_shadow((x, z), 0.3 * height, 0.65 * height, self.drift))
        self.box_shade(x, z, (0.2, 0.2, 0.6 * height))

    def parked(self, x: float, z: float, heading: float, dice: Dice, lorry: bool = False) -> None:
        """A parked vehicle of some kind and paint."""
        kind = "lorry" if lorry else dice.pick(_CARS)
        model = vehicle(self.clip.domain, kind).tinted(paint(dice.pick(PAINTS)))
        self.models.append(model.placed(x, z, heading))


def cast(points: Sequence[tuple[float, float]], height: float, drift: Drift) -> Shadow:
    """The shade of an upright prism over `points` on the ground, `height` metres high."""
    foot = np.array(points, np.float64)
    corners = np.concatenate([foot, foot + height * drift])
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
