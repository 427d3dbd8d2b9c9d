"""Either side of an ordinary piece of street: terraces, villas, parks, and what stands on the pavement."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from fathomseg.data.world import furniture, houses, nature
from fathomseg.data.world.dice import Dice
from fathomseg.data.world.figures import CLOTHES, PEOPLE, bicycle
from fathomseg.data.world.ground import CHUNK_M, LANE_SHARE
from fathomseg.data.world.labels import BUILDING, SIDEWALK, TERRAIN, VEGETATION
from fathomseg.data.world.mesh import Sketch, paint
from fathomseg.data.world.plot import KERB_M, REACH_M, Plot, Span, box_shadow
from fathomseg.data.world.town import walker

_CUTS = ((0.0, 20.0), (0.0, 9.6, 20.0), (0.0, 7.2, 14.4, 20.0), (0.0, 12.0, 20.0), (0.0, 6.4, 12.8, 20.0))
"""Ways to divide a piece of street into lots."""


def roadside(plot: Plot, side: int) -> None:
    """Draw one side (-1 left, 1 right). What kind of neighbourhood it is lasts for two pieces."""
    dice, road = plot.clip.dice(10, plot.index, side), plot.street
    kind = plot.clip.dice(11, plot.index // 2, side).uniform()
    gardens = kind < road.green + road.villas
    _pavement(plot, side, *(("grass", TERRAIN) if gardens else ("paving", SIDEWALK)))
    if kind < road.green:
        _park(plot, side, dice)
    elif gardens:
        _villas(plot, side, dice)
    else:
        _terrace(plot, side, dice)
    if gardens:
        _backdrop(plot, side, dice)
    if road.parking:
        _parked_cars(plot, side, dice)
    _street_trees(plot, side, dice)
    _posts(plot, side, dice)
    _bicycles(plot, side, dice)
    _bystanders(plot, side, dice)


def _pavement(plot: Plot, side: int, behind: str, behind_label: int) -> None:
    """Kerb, verge, pavement and what lies behind it."""
    road, kerb = plot.street, plot.street.half + 0.16
    inner = max(road.half + road.verge, kerb)
    plot.street_kerb(side, (0.0, CHUNK_M))
    strips = [(road.half, kerb, "kerb", SIDEWALK, 2.0), (kerb, inner, "grass", TERRAIN, 4.0)]
    strips += [(inner, road.edge, f"pavement_{road.kinds[1]}", SIDEWALK, 2.4)]
    strips += [(road.edge, REACH_M, behind, behind_label, 4.0)]
    for near, far, texture, label, tile in strips:
        if far > near:
            x = (near, far) if side > 0 else (-far, -near)
            plot.ground(x, (0.0, CHUNK_M), KERB_M, texture, label, tile)


def _house(plot: Plot, side: int, along: Span, front: float, dice: Dice, villa: bool) -> None:
    """A house and its shade."""
    look, road = plot.clip.look, plot.street
    low, high = look.floors
    house = houses.House(
        side=side,
        along=along,
        front=front,
        floors=low if villa else low + dice.below(high - low + 1),
        depth=dice.uniform(9.0, 12.0),
        style=dice.pick(road.styles),
        tint=dice.pick(look.wall_tints),
        roof_tint=paint(dice.pick(look.roof_colours)),
        shop=not villa and dice.chance(road.shops),
    )
    houses.build(house, plot.sketch, look)
    near, far = sorted((side * front, side * (front + house.depth)))
    plot.shadows.append(box_shadow((near, far), along, house.eaves + 0.8, plot.drift))


def _terrace(plot: Plot, side: int, dice: Dice) -> None:
    """Houses wall to wall; now and then a gap closed by a fence."""
    x = side * plot.street.edge
    for start, end in pairwise(dice.pick(_CUTS)):
        if end - start < 8 and dice.chance(0.12):
            furniture.fence(plot.sketch, (x, start), (x, end), dice.pick(("wood", "mesh")), 2.0)
            plot.tree(x + 5 * side, (start + end) / 2, dice.uniform(5, 8), dice)
        else:
            _house(plot, side, (start, end), plot.street.edge + dice.pick((0.0, 0.0, 0.5)), dice, villa=False)


def _villas(plot: Plot, side: int, dice: Dice) -> None:
    """Detached houses behind a front garden with a hedge, a fence or a low wall."""
    edge, border = plot.street.edge, dice.below(3)
    for start in (0.0, 10.0):
        offset = start + dice.uniform(0.3, 1.2)
        along = (offset, offset + dice.uniform(7.0, 8.4))
        _house(plot, side, along, edge + dice.uniform(3.5, 6.0), dice, villa=True)
        _garden_border(plot, side, (start + 0.2, start + 8.4), border, dice)
        x, z = side * (edge + dice.uniform(1.6, 2.8)), start + dice.uniform(1, 9)
        if dice.chance(0.6):
            plot.tree(x, z, dice.uniform(4.0, 6.5), dice)
        else:
            nature.bush(plot.sketch, x, z, dice.uniform(0.7, 1.2), dice)


def _garden_border(plot: Plot, side: int, along: Span, kind: int, dice: Dice) -> None:
    x = plot.street.edge * side
    band = (min(x, x + 0.5 * side), max(x, x + 0.5 * side))
    if kind == 0:
        nature.hedge(plot.sketch, band, along, dice.uniform(1.0, 1.6))
    elif kind == 1:
        furniture.fence(plot.sketch, (x, along[0]), (x, along[1]), dice.pick(("iron", "wood")), dice.uniform(1.1, 1.6))
    else:
        furniture.garden_wall(plot.sketch, band, along, dice.uniform(0.7, 1.1))


def _park(plot: Plot, side: int, dice: Dice) -> None:
    """Lawn with trees and bushes behind railings or a hedge."""
    edge, x = plot.street.edge, side * plot.street.edge
    if dice.chance(0.8):
        furniture.fence(plot.sketch, (x, 0.0), (x, CHUNK_M), "iron", 1.25)
    else:
        nature.hedge(plot.sketch, (min(x, x + 0.6 * side), max(x, x + 0.6 * side)), (0.0, CHUNK_M), 0.9)
    for _ in range(5):
        place = side * (edge + dice.uniform(2.5, 20.0)), dice.uniform(0.5, 19.5)
        plot.tree(*place, dice.uniform(6.0, 10.0), dice)
    for _ in range(3):
        place = side * (edge + dice.uniform(1.2, 9.0)), dice.uniform(0.5, 19.5)
        nature.bush(plot.sketch, *place, dice.uniform(0.7, 1.3), dice)


def _backdrop(plot: Plot, side: int, dice: Dice) -> None:
    """What closes the view far behind gardens: woods, or the backs of the next street's houses."""
    x = side * (plot.street.edge + 26.0)
    start, end = (0.0, CHUNK_M) if side < 0 else (CHUNK_M, 0.0)
    if dice.chance(0.6):
        plot.sketch.wall((x, start), (x, end), 0, dice.uniform(8, 12), "woods", VEGETATION, thin=True)
    else:
        name, tint = f"upper_{dice.pick(plot.street.styles)}", dice.pick(plot.clip.look.wall_tints)
        floors = 1.0 + 0.5 * dice.below(2)
        plot.sketch.wall((x, start), (x, end), 0, 7 * floors, name, BUILDING, (0, 0, 2, floors), tint)


def _street_trees(plot: Plot, side: int, dice: Dice) -> None:
    x = side * (plot.street.half + 0.8)
    for z in (5.0, 15.0):
        if dice.chance(plot.street.trees):
            plot.tree(x, z + dice.uniform(-0.6, 0.6), dice.uniform(5.5, 8.5), dice)


def _parked_cars(plot: Plot, side: int, dice: Dice) -> None:
    """Cars in the parking lane, the odd lorry among them, all facing the way of their lane."""
    middle, z = side * plot.street.half * (1 + LANE_SHARE) / 2, dice.uniform(0.2, 1.5)
    while z < CHUNK_M - 5.0:
        lorry = dice.chance(0.06) and z < CHUNK_M - 8.0
        length, height = (8.0, 3.2) if lorry else (5.3, 1.4)
        if dice.chance(plot.street.parked):
            x, heading = middle + dice.uniform(-0.1, 0.1), dice.uniform(-0.02, 0.02)
            plot.parked(x, z + length / 2, heading if side > 0 else np.pi + heading, dice, lorry)
            plot.box_shade(x, z + length / 2, (0.9, length / 2 - 0.4, height))
        z += length + dice.uniform(0.0, 0.9)


def _posts(plot: Plot, side: int, dice: Dice) -> None:
    """A lamp every second piece, signs, bollards."""
    road, sketch, x = plot.street, plot.sketch, side * (plot.street.half + 0.45)
    if (plot.index + (side > 0)) % 2 == 0:
        furniture.lamp(sketch, x, 10.0, side, 6.5, road.dark_posts)
        plot.box_shade(x, 10.0, (0.07, 0.07, 6.5))
    if dice.chance(0.5):
        furniture.sign(sketch, x, dice.pick((2.0, 8.0, 12.5, 18.0)), dice)
    if dice.chance(0.1):
        furniture.big_sign(sketch, side * (road.half + 0.6), 17.0, side)
    if dice.chance(0.25):
        for k in range(6):
            furniture.post(sketch, x, 0.8 + 1.5 * k, 1.0, 0.06, dark=True)


def _bicycles(plot: Plot, side: int, dice: Dice) -> None:
    """Parked bicycles in a row, side on to the street."""
    if dice.chance(0.5):
        z = dice.uniform(3.0, 17.0)
        for k in range(2 + dice.below(4)):
            rack = Sketch(plot.atlas)
            bicycle(rack, dice.pick(CLOTHES))
            heading = np.pi * dice.below(2) + dice.uniform(-0.25, 0.25)
            plot.models.append(rack.build().placed(side * (plot.street.edge - 1.0), z + 0.55 * k, heading, KERB_M))


def _bystanders(plot: Plot, side: int, dice: Dice) -> None:
    """People who stand and talk."""
    if not dice.chance(0.3 * plot.street.crowd):
        return
    x, z = side * (plot.street.edge - dice.uniform(0.5, 1.5)), dice.uniform(1, 19)
    for k in range(1 + dice.below(3)):
        model = walker(plot.clip.domain, dice.below(PEOPLE), 0, False).tinted(dice.pick(CLOTHES))
        place = x + 0.55 * k - 0.4, z + dice.uniform(-0.3, 0.3)
        plot.models.append(model.placed(*place, dice.uniform(-0.5, 0.5), KERB_M))
        plot.box_shade(*place, (0.2, 0.1, 1.7))
