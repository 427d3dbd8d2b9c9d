"""What stands still along the street, chunk by chunk: ground, houses, parks, junctions, trees, posts, parked cars."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from fathomseg.data.world import facades, furniture, nature
from fathomseg.data.world.dice import Dice
from fathomseg.data.world.figures import PEOPLE, bicycle
from fathomseg.data.world.ground import CHUNK_M, LANE_SHARE
from fathomseg.data.world.labels import BUILDING, ROAD, SIDEWALK, TERRAIN, VEGETATION
from fathomseg.data.world.mesh import Quads, Sketch, join
from fathomseg.data.world.route import Clip, turns
from fathomseg.data.world.shadow import Shadow, box_shadow, cast, round_shadow
from fathomseg.data.world.town import Town, town, vehicle, walker
from fathomseg.data.world.weather import weather

KERB_M = 0.12
REACH_M = 64.0
"""How far the ground and what stands on it extend to either side."""

CLOTHES = ((0.75, 0.2, 0.18), (0.2, 0.3, 0.55), (0.25, 0.25, 0.27), (0.85, 0.8, 0.7), (0.3, 0.45, 0.3), (0.8, 0.6, 0.2))
_CARS = ("hatch", "hatch", "sedan", "sedan", "suv", "suv", "wagon", "van")


@dataclass(frozen=True)
class Street:
    """The cross-section and the character of a clip's street, the same from end to end. Lengths in metres."""

    half: float
    """From the middle line to the kerb."""
    parking: bool
    verge: float
    """Width of the grass strip between kerb and pavement; 0 = none."""
    pavement: float
    kinds: tuple[int, int]
    """Which pictures of road and pavement."""
    styles: tuple[int, ...]
    """Facade families of the quarter."""
    parked: float
    trees: float
    green: float
    villas: float
    shops: float
    crowd: float
    traffic: float
    cycling: float
    junction: tuple[int, int]
    """Every how many chunks, and at which remainder."""
    dark_posts: bool

    @property
    def lane(self) -> float:
        """Distance of the middle of a lane from the middle line."""
        return self.half * (LANE_SHARE / 2 if self.parking else 0.47)

    @property
    def edge(self) -> float:
        """From the middle line to the far side of the pavement."""
        return self.half + self.verge + self.pavement

    def is_junction(self, index: int) -> bool:
        """Whether a side street crosses in this chunk."""
        return index % self.junction[0] == self.junction[1]


@lru_cache(maxsize=1024)
def street(clip: Clip) -> Street:
    """Draw the street of a clip."""
    dice = clip.dice(1)
    parking = dice.chance(0.65)
    every = 3 + dice.below(3)
    families = len(clip.look.facades)
    return Street(
        half=(5.6 if parking else 3.9) * dice.uniform(0.95, 1.1),
        parking=parking,
        verge=1.6 if dice.chance(0.3) else 0.0,
        pavement=dice.uniform(2.2, 3.8),
        kinds=(dice.below(2), dice.below(2)),
        styles=tuple(dice.below(families) for _ in range(4)),
        parked=dice.uniform(0.25, 0.8),
        trees=dice.uniform(0.2, 0.95),
        green=dice.uniform(0.12, 0.4),
        villas=dice.uniform(0.1, 0.4),
        shops=dice.uniform(0.15, 0.7),
        crowd=dice.uniform(0.2, 0.7),
        traffic=dice.uniform(0.25, 0.65),
        cycling=dice.uniform(0.15, 0.5),
        junction=(every, dice.below(every)),
        dark_posts=dice.chance(0.5),
    )


@dataclass(frozen=True)
class Chunk:
    """The still things of one piece of street, in the chunk's own frame."""

    quads: Quads
    shadows: Float64[np.ndarray, "k 10 2"]
    """Convex outlines (x, z) of the shade on the ground."""


class _Plot:
    """The drawing board of one chunk: sketch, loose models and shadows together."""

    def __init__(self, clip: Clip, index: int) -> None:
        self.clip, self.index, self.street = clip, index, street(clip)
        self.town: Town = town(clip.domain)
        self.sketch = Sketch(self.town.atlas)
        self.models: list[Quads] = []
        self.shadows: list[Shadow] = []
        self.sun = weather(clip).shadow_per_m(clip, index)
        self.first, self.last = turns(clip, index)

    def mitred(self, across: float, along: float) -> tuple[float, float]:
        """(x, z) of a place whose chunk border runs along the bisector of the turn, so that chunks meet."""
        slant = np.tan(self.first / 2) * (1 - along / CHUNK_M) - np.tan(self.last / 2) * along / CHUNK_M
        return across, along + across * float(slant)


@lru_cache(maxsize=1536)
def chunk(clip: Clip, index: int) -> Chunk:
    """Everything that stands still in a chunk; a pure function of the clip and the index."""
    plot = _Plot(clip, index)
    if plot.street.is_junction(index):
        _junction(plot)
    else:
        road = plot.street
        _carriageway(plot, f"road_{'parking' if road.parking else 'plain'}_{road.kinds[0]}")
        for side in (-1, 1):
            _roadside(plot, side, clip.dice(10, index, side))
    quads = join([plot.sketch.build(), *plot.models])
    shadows = np.array(plot.shadows, np.float64).reshape(-1, 10, 2)
    return Chunk(quads, shadows)


def _strip(
    plot: _Plot,
    x: tuple[float, float],
    z: tuple[float, float],
    up: float,
    texture: str,
    label: int,
    tile: tuple[float, float],
) -> None:
    """A piece of ground; `tile` is the size of one texture in metres (across, along), anchored to the street."""
    (x0, x1), (z0, z1) = x, z
    corners = [(*plot.mitred(a, b), a, b) for a, b in ((x0, z0), (x1, z0), (x1, z1), (x0, z1))]
    points = [(px, up, pz) for px, pz, _, _ in corners]
    repeat = (x0 / tile[0], -z1 / tile[1], x1 / tile[0], -z0 / tile[1])
    plot.sketch.quad(points, texture, label, repeat, ground=1 if up == 0 else 2)


def _carriageway(plot: _Plot, texture: str) -> None:
    half = plot.street.half
    ring = ((-half, 0.0), (half, 0.0), (half, CHUNK_M), (-half, CHUNK_M))
    corners = [(x, 0.0, z) for x, z in (plot.mitred(across, along) for across, along in ring)]
    plot.sketch.quad(corners, texture, ROAD, ground=1)


def _kerb(plot: _Plot, side: int, x: float, z: tuple[float, float]) -> None:
    """The upright face of the kerb along the street; belongs to the pavement."""
    a, b = z if side < 0 else z[::-1]
    left, right = plot.mitred(x * side, a), plot.mitred(x * side, b)
    plot.sketch.wall(left, right, 0.0, KERB_M, "kerb", SIDEWALK, (0, 0, abs(b - a) / 2, 0.12))


def _pavements(plot: _Plot, side: int, z: tuple[float, float], behind: str, behind_label: int) -> None:
    """Kerb, verge, pavement and what lies behind it, on one side."""
    road = plot.street
    inner, outer = road.half + road.verge, road.edge

    def strip(near: float, far: float, texture: str, label: int, size: float) -> None:
        x = (near, far) if side > 0 else (-far, -near)
        _strip(plot, x, z, KERB_M, texture, label, (size, size))

    _kerb(plot, side, road.half, z)
    strip(road.half, road.half + 0.16, "kerb", SIDEWALK, 2.0)
    if road.verge:
        strip(road.half + 0.16, inner, "grass", TERRAIN, 4.0)
    strip(max(inner, road.half + 0.16), outer, f"pavement_{road.kinds[1]}", SIDEWALK, 2.4)
    strip(outer, REACH_M, behind, behind_label, 4.0)


def _roadside(plot: _Plot, side: int, dice: Dice) -> None:
    """One side of an ordinary chunk. What kind of neighbourhood it is lasts for two chunks."""
    kind = plot.clip.dice(11, plot.index // 2, side).uniform()
    road = plot.street
    full = (0.0, CHUNK_M)
    if kind < road.green:
        _pavements(plot, side, full, "grass", TERRAIN)
        _park(plot, side, dice)
    elif kind < road.green + road.villas:
        _pavements(plot, side, full, "grass", TERRAIN)
        _villas(plot, side, dice)
    else:
        _pavements(plot, side, full, "paving", SIDEWALK)
        _terrace(plot, side, dice)
    if road.parking:
        _parked_cars(plot, side, dice)
    _street_trees(plot, side, dice)
    _posts(plot, side, dice)
    _bystanders(plot, side, dice)
    if kind < road.green + road.villas:
        _backdrop(plot, side, dice)


def _house(plot: _Plot, house: facades.House) -> None:
    facades.build(house, plot.sketch, plot.town.domain)
    x = sorted((house.front * house.side, (house.front + house.depth) * house.side))
    plot.shadows.append(box_shadow((x[0], x[1]), house.along, house.eaves + 0.8, plot.sun))


def _draw_house(plot: _Plot, side: int, along: tuple[float, float], front: float, dice: Dice, villa: bool) -> None:
    look, road = plot.town.domain, plot.street
    low, high = look.floors
    floors = low if villa else low + dice.below(high - low + 1)
    _house(plot, facades.House(
        side=side, along=along, front=front, floors=floors, depth=dice.uniform(9.0, 12.0), style=dice.pick(road.styles),
        tint=dice.pick(look.wall_tints), roof_tint=_gain(dice.pick(look.roof_colours)),
        shop=not villa and dice.chance(road.shops),
    ))  # fmt: skip


def _gain(colour: tuple[float, float, float]) -> tuple[float, float, float]:
    """A colour as a gain on the near-white of painted textures."""
    return colour[0] / 215, colour[1] / 215, colour[2] / 215


def _terrace(plot: _Plot, side: int, dice: Dice) -> None:
    """Houses wall to wall; now and then a gap closed by a fence."""
    cuts = dice.pick(((0.0, 20.0), (0.0, 9.6, 20.0), (0.0, 7.2, 14.4, 20.0), (0.0, 12.0, 20.0), (0.0, 6.4, 12.8, 20.0)))
    for start, end in pairwise(cuts):
        if end - start < 8 and dice.chance(0.12):
            x = plot.street.edge * side
            furniture.fence(plot.sketch, (x, start), (x, end), dice.pick(("wood", "mesh")), 2.0)
            nature.tree(plot.sketch, plot.town.domain, x + 5 * side, (start + end) / 2, dice.uniform(5, 8), dice)
        else:
            _draw_house(plot, side, (start, end), plot.street.edge + dice.pick((0.0, 0.0, 0.5)), dice, villa=False)


def _villas(plot: _Plot, side: int, dice: Dice) -> None:
    """Detached houses behind a front garden with a hedge, a fence or a low wall."""
    edge = plot.street.edge
    border = dice.below(3)
    for start in (0.0, 10.0):
        width = dice.uniform(7.0, 8.4)
        offset = start + dice.uniform(0.3, 1.2)
        _draw_house(plot, side, (offset, offset + width), edge + dice.uniform(3.5, 6.0), dice, villa=True)
        _garden_border(plot, side, (start + 0.2, start + 8.4), border, dice)
        x = side * (edge + dice.uniform(1.6, 2.8))
        if dice.chance(0.6):
            _tree(plot, x, start + dice.uniform(1, 9), dice.uniform(4.0, 6.5), dice)
        else:
            nature.bush(plot.sketch, x, start + dice.uniform(1, 9), dice.uniform(0.7, 1.2), dice)


def _garden_border(plot: _Plot, side: int, along: tuple[float, float], kind: int, dice: Dice) -> None:
    x = plot.street.edge * side
    band = (min(x, x + 0.5 * side), max(x, x + 0.5 * side))
    if kind == 0:
        nature.hedge(plot.sketch, band, along, dice.uniform(1.0, 1.6))
    elif kind == 1:
        furniture.fence(plot.sketch, (x, along[0]), (x, along[1]), dice.pick(("iron", "wood")), dice.uniform(1.1, 1.6))
    else:
        furniture.garden_wall(plot.sketch, band, along, dice.uniform(0.7, 1.1))


def _park(plot: _Plot, side: int, dice: Dice) -> None:
    """Lawn with trees and bushes behind railings or a hedge."""
    edge = plot.street.edge
    x = edge * side
    if dice.chance(0.8):
        furniture.fence(plot.sketch, (x, 0.0), (x, CHUNK_M), "iron", 1.25)
    else:
        nature.hedge(plot.sketch, (min(x, x + 0.6 * side), max(x, x + 0.6 * side)), (0.0, CHUNK_M), 0.9)
    for _ in range(5):
        _tree(plot, side * (edge + dice.uniform(2.5, 20.0)), dice.uniform(0.5, 19.5), dice.uniform(6.0, 10.0), dice)
    for _ in range(3):
        nature.bush(
            plot.sketch, side * (edge + dice.uniform(1.2, 9.0)), dice.uniform(0.5, 19.5), dice.uniform(0.7, 1.3), dice
        )


def _backdrop(plot: _Plot, side: int, dice: Dice) -> None:
    """What closes the view far behind gardens: woods, or the backs of the next street's houses."""
    x = side * (plot.street.edge + 26.0)
    ends = ((x, 0.0), (x, CHUNK_M)) if side < 0 else ((x, CHUNK_M), (x, 0.0))
    if dice.chance(0.6):
        plot.sketch.wall(*ends, 0, dice.uniform(8, 12), "woods", VEGETATION, thin=True)
    else:
        style, floors = dice.pick(plot.street.styles), 1.0 + 0.5 * dice.below(2)
        plot.sketch.wall(
            *ends, 0, 7 * floors, f"upper_{style}", BUILDING, (0, 0, 2, floors), dice.pick(plot.town.domain.wall_tints)
        )


def _tree(plot: _Plot, x: float, z: float, height: float, dice: Dice) -> None:
    nature.tree(plot.sketch, plot.town.domain, x, z, height, dice)
    plot.shadows.append(round_shadow((x, z), 0.3 * height, 0.65 * height, plot.sun))
    plot.shadows.append(box_shadow((x - 0.2, x + 0.2), (z - 0.2, z + 0.2), 0.6 * height, plot.sun))


def _street_trees(plot: _Plot, side: int, dice: Dice) -> None:
    road = plot.street
    x = side * (road.half + (0.8 if road.verge else 0.75))
    for z in (5.0, 15.0):
        if dice.chance(road.trees):
            _tree(plot, x, z + dice.uniform(-0.6, 0.6), dice.uniform(5.5, 8.5), dice)


def _parked_cars(plot: _Plot, side: int, dice: Dice) -> None:
    """Cars in the parking lane, the odd lorry among them, all facing the way of their lane."""
    look = plot.town.domain
    x = side * plot.street.half * (1 + LANE_SHARE) / 2
    z = dice.uniform(0.2, 1.5)
    while z < CHUNK_M - 5.0:
        big = dice.chance(0.06) and z < CHUNK_M - 8.0
        length = 8.0 if big else 5.3
        if dice.chance(plot.street.parked):
            kind = "lorry" if big else dice.pick(_CARS)
            heading = (0.0 if side > 0 else np.pi) + dice.uniform(-0.02, 0.02)
            model = vehicle(plot.clip.domain, kind).tinted(_gain(dice.pick(look.paints)))
            aside = x + dice.uniform(-0.1, 0.1)
            plot.models.append(model.placed(aside, z + length / 2, heading))
            tall = 3.2 if big else 1.4
            plot.shadows.append(box_shadow((aside - 0.9, aside + 0.9), (z + 0.4, z + length - 0.4), tall, plot.sun))
            plot.shadows.append(box_shadow((aside - 0.85, aside + 0.85), (z + 0.5, z + length - 0.5), 0.3, plot.sun))
        z += length + dice.uniform(0.0, 0.9)


def _posts(plot: _Plot, side: int, dice: Dice) -> None:
    """A lamp every second chunk, signs, bollards, bicycles at a rack."""
    road, sketch = plot.street, plot.sketch
    x = side * (road.half + 0.45)
    if (plot.index + (side > 0)) % 2 == 0:
        furniture.lamp(sketch, x, 10.0, side, 6.5, road.dark_posts)
        plot.shadows.append(box_shadow((x - 0.07, x + 0.07), (9.93, 10.07), 6.5, plot.sun))
    if dice.chance(0.5):
        furniture.sign(sketch, x, dice.pick((2.0, 8.0, 12.5, 18.0)), dice)
    if dice.chance(0.1):
        furniture.big_sign(sketch, side * (road.half + 0.6), 17.0, side)
    if dice.chance(0.25):
        for k in range(6):
            furniture.post(sketch, x, 0.8 + 1.5 * k, 1.0, 0.06, dark=True)
    if dice.chance(0.5):
        z = dice.uniform(3.0, 17.0)
        for k in range(2 + dice.below(4)):
            rack = Sketch(plot.town.atlas)
            bicycle(rack, dice.pick(CLOTHES))
            turned = np.pi * dice.below(2) + dice.uniform(-0.25, 0.25)
            plot.models.append(rack.build().placed(side * (road.edge - 1.0), z + 0.55 * k, turned, KERB_M))


def _bystanders(plot: _Plot, side: int, dice: Dice) -> None:
    """People who stand and talk."""
    road = plot.street
    if dice.chance(0.3 * road.crowd):
        x, z = side * (road.edge - dice.uniform(0.5, 1.5)), dice.uniform(1, 19)
        for k in range(1 + dice.below(3)):
            model = walker(plot.clip.domain, dice.below(PEOPLE), 0, False).tinted(dice.pick(CLOTHES))
            place = (x + 0.55 * k - 0.4, z + dice.uniform(-0.3, 0.3))
            plot.models.append(model.placed(*place, dice.uniform(-0.5, 0.5), KERB_M))
            plot.shadows.append(
                box_shadow((place[0] - 0.2, place[0] + 0.2), (place[1] - 0.1, place[1] + 0.1), 1.7, plot.sun)
            )


def _junction(plot: _Plot) -> None:
    """A side street across the whole chunk, with crossings, corners, traffic lights and houses along it."""
    road, sketch, dice = plot.street, plot.sketch, plot.clip.dice(12, plot.index)
    half, corner = road.half, (4.0, 16.0)
    _carriageway(plot, "crossing")
    lit = plot.clip.dice(13, plot.index).below(3)
    for side in (-1, 1):
        x = (half, REACH_M) if side > 0 else (-REACH_M, -half)
        _strip(plot, x, corner, 0.0, "side_road", ROAD, (10.0, 10.0))
        for z in ((0.0, corner[0]), (corner[1], CHUNK_M)):
            _strip(plot, x, z, KERB_M, f"pavement_{road.kinds[1]}", SIDEWALK, (2.4, 2.4))
            _kerb(plot, side, half, z)
            if dice.chance(0.5):
                furniture.fence(
                    sketch, (side * (half + 0.3), z[0] + 0.4), (side * (half + 0.3), z[1] - 0.4), "rail", 1.1
                )
        for border, ends in ((corner[0], x[::-1]), (corner[1], x)):
            sketch.wall((ends[0], border), (ends[1], border), 0.0, KERB_M, "kerb", SIDEWALK, (0, 0, 30, 0.12))
        _side_street(plot, side, dice)
    furniture.traffic_light(sketch, half + 0.5, 1.0, 1, lit)
    furniture.traffic_light(sketch, half + 0.5, 16.8, 1, lit)
    furniture.traffic_light(sketch, -half - 0.5, 16.8, -1, lit)


def _side_street(plot: _Plot, side: int, dice: Dice) -> None:
    """The rows of houses that line the side street behind the corner houses, its end, trees and parked cars."""
    look, sketch = plot.town.domain, plot.sketch
    start = plot.street.edge + 12.0
    near, far = sorted((start * side, REACH_M * side))
    bays = (REACH_M - start) / (4 * facades.BAY_M)
    for z, left, right in ((-0.02, far, near), (CHUNK_M + 0.02, near, far)):
        style, floors, tint = dice.pick(plot.street.styles), 1.0 + 0.5 * dice.below(2), dice.pick(look.wall_tints)
        base, eaves = facades.FLOOR_M + 0.5, facades.FLOOR_M * (1 + 2 * floors) + 0.5
        sketch.wall((left, z), (right, z), 0, base, f"shop_{style}", BUILDING, (0, 0, bays, 1), tint)
        sketch.wall((left, z), (right, z), base, eaves, f"upper_{style}", BUILDING, (0, 0, bays, floors), tint)
        plot.shadows.append(cast([(left, z), (right, z)], eaves, plot.sun))
    end, z0, z1 = side * REACH_M, -8.0, CHUNK_M + 8.0
    left, right = (z0, z1) if side < 0 else (z1, z0)
    sketch.wall((end, left), (end, right), 0, 9, "woods", VEGETATION, (0, 0, 2, 1), thin=True)
    for x in (plot.street.edge + 4.0, plot.street.edge + 14.0, plot.street.edge + 24.0):
        kerbside = dice.pick((2.6, 17.4))
        if dice.chance(plot.street.trees):
            _tree(plot, side * x, kerbside, dice.uniform(5, 7.5), dice)
        if dice.chance(plot.street.parked):
            model = vehicle(plot.clip.domain, dice.pick(_CARS)).tinted(_gain(dice.pick(look.paints)))
            plot.models.append(model.placed(side * (x + 3), 5.2 if kerbside > 9 else 14.8, np.pi / 2))
