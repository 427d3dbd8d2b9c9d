"""A piece of street that a side street crosses, with zebra crossings, corners and traffic lights."""

from __future__ import annotations

import numpy as np

from fathomseg.data.world import furniture
from fathomseg.data.world.dice import Dice
from fathomseg.data.world.facades import BAY_M, BAYS, FLOOR_M
from fathomseg.data.world.figures import CLOTHES, PEOPLE, PHASES
from fathomseg.data.world.ground import CHUNK_M
from fathomseg.data.world.labels import BUILDING, ROAD, SIDEWALK, VEGETATION
from fathomseg.data.world.plot import KERB_M, REACH_M, Plot, cast
from fathomseg.data.world.town import walker

_CORNERS = (4.0, 16.0)
"""Along: the kerbs of the side street."""


def junction(plot: Plot) -> None:
    """Draw the whole piece."""
    half, dice = plot.street.half, plot.clip.dice(12, plot.index)
    plot.carriageway("crossing")
    for side in (-1, 1):
        _ground(plot, side)
        _rails(plot, side, dice)
        _rows_of_houses(plot, side, dice)
        _side_street(plot, side, dice)
    lit = dice.below(3)
    furniture.traffic_light(plot.sketch, half + 0.5, 1.0, 1, lit)
    furniture.traffic_light(plot.sketch, half + 0.5, 16.8, 1, lit)
    furniture.traffic_light(plot.sketch, -half - 0.5, 16.8, -1, lit)


def _ground(plot: Plot, side: int) -> None:
    """The side street between two pavements."""
    half, (low, high) = plot.street.half, _CORNERS
    x = (half, REACH_M) if side > 0 else (-REACH_M, -half)
    plot.ground(x, _CORNERS, 0.0, "side_road", ROAD, 10.0)
    for z in ((0.0, low), (high, CHUNK_M)):
        plot.ground(x, z, KERB_M, f"pavement_{plot.street.kinds[1]}", SIDEWALK, 2.4)
        plot.street_kerb(side, z)
    plot.kerb((x[1], low), (x[0], low))
    plot.kerb((x[0], high), (x[1], high))


def _rails(plot: Plot, side: int, dice: Dice) -> None:
    """Guard rails that keep walkers to the crossings."""
    x = side * (plot.street.half + 0.3)
    for start, end in ((0.4, _CORNERS[0] - 0.4), (_CORNERS[1] + 0.4, CHUNK_M - 0.4)):
        if dice.chance(0.5):
            furniture.fence(plot.sketch, (x, start), (x, end), "rail", 1.1)


def _rows_of_houses(plot: Plot, side: int, dice: Dice) -> None:
    """The fronts that line the side street behind the corner houses, and the trees that end it."""
    sketch, start = plot.sketch, plot.street.edge + 12.0
    near, far = sorted((start * side, REACH_M * side))
    bays = (REACH_M - start) / (BAYS * BAY_M)
    for z, left, right in ((-0.02, far, near), (CHUNK_M + 0.02, near, far)):
        style, floors = dice.pick(plot.street.styles), 1.0 + 0.5 * dice.below(2)
        tint = dice.pick(plot.clip.look.wall_tints)
        ends = plot.mitred(left, z), plot.mitred(right, z)
        base, eaves = FLOOR_M + 0.5, FLOOR_M * (1 + 2 * floors) + 0.5
        sketch.wall(*ends, 0, base, f"shop_{style}", BUILDING, (0, 0, bays, 1), tint)
        sketch.wall(*ends, base, eaves, f"upper_{style}", BUILDING, (0, 0, bays, floors), tint)
        plot.shadows.append(cast(ends, eaves, plot.drift))
    x, ends_z = side * REACH_M, (-8.0, CHUNK_M + 8.0)
    left, right = ends_z if side < 0 else ends_z[::-1]
    sketch.wall((x, left), (x, right), 0, 9, "woods", VEGETATION, (0, 0, 2, 1), thin=True)


def _side_street(plot: Plot, side: int, dice: Dice) -> None:
    """Trees, parked cars and people along the side street; the people stand, seen from the side."""
    road = plot.street
    for along in (4.0, 14.0, 24.0):
        x, kerbside = side * (road.edge + along), dice.pick((2.6, 17.4))
        if dice.chance(road.trees):
            plot.tree(x, kerbside, dice.uniform(5, 7.5), dice)
        if dice.chance(road.parked):
            plot.parked(x + 3 * side, 5.2 if kerbside > 9 else 14.8, np.pi / 2, dice)
        if dice.chance(road.crowd):
            model = walker(plot.clip.domain, dice.below(PEOPLE), dice.below(PHASES), True).tinted(dice.pick(CLOTHES))
            place = x + dice.uniform(-6.0, 0.0), dice.pick((1.6, 18.4))
            plot.models.append(model.placed(*place, np.pi * dice.below(2), KERB_M))
