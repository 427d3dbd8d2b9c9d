"""Houses: walls, roof, cornice, and perhaps an awning, a dormer and a chimney."""

from __future__ import annotations

from dataclasses import dataclass

from fathomseg.data.world.domains import RGB, Domain
from fathomseg.data.world.facades import BAY_M, BAYS, FLOOR_M, FLOORS
from fathomseg.data.world.labels import BUILDING
from fathomseg.data.world.mesh import Sketch

Span = tuple[float, float]


@dataclass(frozen=True)
class House:
    """One house: which side of the street (-1 left, 1 right), its front line and its size in metres."""

    side: int
    along: Span
    front: float
    floors: int
    depth: float
    style: int
    tint: RGB
    roof_tint: RGB
    shop: bool

    @property
    def eaves(self) -> float:
        """Height of the wall."""
        return self.floors * FLOOR_M + 0.5


def build(house: House, sketch: Sketch, domain: Domain) -> None:
    """Put up walls, roof, cornice, and perhaps an awning, dormers and a chimney."""
    near, far = house.front * house.side, (house.front + house.depth) * house.side
    s0, s1 = house.along
    left, right = ((near, s0), (near, s1)) if house.side < 0 else ((near, s1), (near, s0))
    bays = max(round((s1 - s0) / BAY_M), 1) / BAYS
    ground = FLOOR_M + 0.5
    base = "shop" if house.shop else "door"
    sketch.wall(left, right, 0, ground, f"{base}_{house.style}", BUILDING, (0, 0, max(round(bays), 1), 1), house.tint)
    upper = (0.0, 0.0, bays, (house.floors - 1) / FLOORS)
    sketch.wall(left, right, ground, house.eaves, f"upper_{house.style}", BUILDING, upper, house.tint)
    _sides(house, sketch, near, far)
    trim = (min(near, near - 0.3 * house.side), max(near, near - 0.3 * house.side))
    sketch.box(trim, (house.eaves - 0.3, house.eaves), (s0, s1), "cornice", BUILDING, house.tint)
    if house.shop and house.style % 2 == 0:
        out = near - 1.1 * house.side
        a, b = (s0 + 0.4, s1 - 0.4) if house.side < 0 else (s1 - 0.4, s0 + 0.4)
        corners = ((out, 2.45, a), (out, 2.45, b), (near, 3.0, b), (near, 3.0, a))
        sketch.quad(corners, "awning", BUILDING, (0, 0, abs(b - a) / 4, 1), house.roof_tint, thin=True)
    if domain.roof == "gable":
        _gable(house, sketch, near, far)
    else:
        x, up = (min(near, far), max(near, far)), (house.eaves, house.eaves + 0.7)
        sketch.box(x, up, (s0, s1), f"plain_{house.style}", BUILDING, house.tint, top="roof")


def _sides(house: House, sketch: Sketch, near: float, far: float) -> None:
    """Both walls across the street's direction and the back."""
    low, high = min(near, far), max(near, far)
    (s0, s1), name = house.along, f"side_{house.style}"
    tile = BAYS * BAY_M, FLOORS * FLOOR_M
    repeat = (0.0, -house.eaves / tile[1], house.depth / tile[0], 0.0)
    sketch.wall((low, s0), (high, s0), 0, house.eaves, name, BUILDING, repeat, house.tint)
    sketch.wall((high, s1), (low, s1), 0, house.eaves, name, BUILDING, repeat, house.tint)
    ends = ((far, s1), (far, s0)) if house.side < 0 else ((far, s0), (far, s1))
    sketch.wall(*ends, 0, house.eaves, name, BUILDING, (0, -house.eaves / tile[1], (s1 - s0) / tile[0], 0), house.tint)


def _gable(house: House, sketch: Sketch, near: float, far: float) -> None:
    """Two slopes with the ridge along the street, the gables below them, one chimney and, on wide houses, a dormer."""
    (s0, s1), eaves, plain = house.along, house.eaves, f"plain_{house.style}"
    middle, ridge = (near + far) / 2, house.eaves + 0.42 * house.depth
    a, b = (s0, s1) if house.side < 0 else (s1, s0)
    repeat = (0.0, 0.0, (s1 - s0) / 4, 0.65 * house.depth / 4)
    front = ((near, eaves, a), (near, eaves, b), (middle, ridge, b), (middle, ridge, a))
    back = ((far, eaves, b), (far, eaves, a), (middle, ridge, a), (middle, ridge, b))
    sketch.quad(front, "roof", BUILDING, repeat, house.roof_tint)
    sketch.quad(back, "roof", BUILDING, repeat, house.roof_tint)
    low, high = min(near, far), max(near, far)
    for (x0, x1), s in (((low, high), s0), ((high, low), s1)):
        corners = ((x0, eaves, s), (x1, eaves, s), (middle, ridge, s), (middle, ridge, s))
        sketch.quad(corners, plain, BUILDING, (0, 0, house.depth / 4.8, (ridge - eaves) / 4.8), house.tint)
    chimney, c = (middle - 0.4, middle + 0.4), s0 + 0.25 * (s1 - s0)
    sketch.box(chimney, (ridge - 1, ridge + 0.9), (c, c + 0.7), plain, BUILDING, (0.75, 0.62, 0.56))
    if s1 - s0 > 6.5:
        m, inner = (s0 + s1) / 2, near + 0.22 * house.depth * house.side
        x = (min(inner, middle), max(inner, middle))
        up = (eaves + 0.1 * house.depth, eaves + 0.1 * house.depth + 1.7)
        sketch.box(x, up, (m - 0.8, m + 0.8), plain, BUILDING, house.tint, top="roof")
        ends = ((inner - 0.03 * house.side, m - 0.7), (inner - 0.03 * house.side, m + 0.7))
        pane = (0.02, 0.02, 0.23, 0.46)
        sketch.wall(*(ends if house.side < 0 else ends[::-1]), *up, f"upper_{house.style}", BUILDING, pane, house.tint)
