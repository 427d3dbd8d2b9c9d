"""What stands on pavements: lamps, posts, signs, traffic lights, fences and walls of gardens."""

from __future__ import annotations

import numpy as np

from fathomseg.data.world.canvas import Canvas, Texture
from fathomseg.data.world.dice import Dice
from fathomseg.data.world.labels import BUILDING, FENCE, LIGHT, POLE, SIGN
from fathomseg.data.world.mesh import Sketch

SIGNS = ("limit", "stop", "yield", "priority", "parking", "one_way", "direction")

_OCTAGON = [(0.5 + 0.53 * np.cos(a), 0.5 + 0.53 * np.sin(a)) for a in np.pi / 8 + np.arange(8) * np.pi / 4]


def textures() -> dict[str, Texture]:
    """Signs, lamps, lights, posts and fences."""
    made = {f"sign_{name}": _sign(name) for name in SIGNS}
    made["sign_back"] = Canvas(32, 32, (128, 130, 134)).texture(grain=8)
    made["post"] = Canvas(32, 16, (128, 130, 132)).texture(grain=14, wraps=True)
    made["post_dark"] = Canvas(32, 16, (62, 66, 66)).texture(grain=12, wraps=True)
    made["lamp"] = Canvas(16, 32, (226, 222, 208)).texture(grain=6)
    for colour in range(3):
        made[f"light_{colour}"] = _traffic_light(colour)
    made["light_back"] = Canvas(64, 32, (38, 40, 40)).texture(grain=8)
    made["fence_iron"], made["fence_wood"], made["fence_mesh"] = _iron(), _wood(), _mesh()
    made["fence_rail"] = _rail()
    made["garden_wall"] = _garden_wall()
    return made


def _sign(name: str) -> Texture:
    canvas, white, red, blue = Canvas(64, 64), (244, 244, 240), (200, 28, 34), (26, 78, 164)
    if name == "limit":
        canvas.ellipse(0.5, 0.5, 0.5, 0.5, red)
        canvas.ellipse(0.5, 0.5, 0.36, 0.36, white)
        canvas.rect(0.28, 0.34, 0.45, 0.66, (30, 30, 30))
        canvas.rect(0.54, 0.34, 0.71, 0.66, (30, 30, 30))
    elif name == "stop":
        canvas.poly(_OCTAGON, red)
        canvas.rect(0.14, 0.4, 0.86, 0.6, white)
    elif name == "yield":
        canvas.poly([(0, 0.05), (1, 0.05), (0.5, 0.95)], red)
        canvas.poly([(0.2, 0.17), (0.8, 0.17), (0.5, 0.71)], white)
    elif name == "priority":
        canvas.poly([(0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)], white)
        canvas.poly([(0.5, 0.14), (0.86, 0.5), (0.5, 0.86), (0.14, 0.5)], (246, 196, 36))
    elif name == "parking":
        canvas.rect(0, 0, 1, 1, blue)
        canvas.rect(0.3, 0.16, 0.44, 0.84, white)
        canvas.ellipse(0.5, 0.36, 0.24, 0.2, white)
        canvas.ellipse(0.5, 0.36, 0.1, 0.08, blue)
    elif name == "one_way":
        canvas.ellipse(0.5, 0.5, 0.5, 0.5, blue)
        canvas.poly(
            [(0.42, 0.84), (0.42, 0.44), (0.28, 0.44), (0.5, 0.16), (0.72, 0.44), (0.58, 0.44), (0.58, 0.84)], white
        )
    else:
        canvas.rect(0, 0.1, 1, 0.9, (246, 204, 40))
        canvas.rect(0.08, 0.24, 0.7, 0.42, (36, 36, 36))
        canvas.rect(0.08, 0.58, 0.56, 0.76, (36, 36, 36))
        canvas.poly([(0.74, 0.3), (0.95, 0.5), (0.74, 0.7)], (36, 36, 36))
    return canvas.texture(grain=5)


def _traffic_light(lit: int) -> Texture:
    """The head from the front; lit = 0 red, 1 yellow, 2 green."""
    canvas = Canvas(96, 48, (34, 36, 36))
    colours = ((246, 44, 34), (250, 190, 40), (52, 232, 130))
    for k, colour in enumerate(colours):
        dark = (colour[0] * 0.26, colour[1] * 0.26, colour[2] * 0.26)
        canvas.ellipse(0.5, 0.18 + 0.32 * k, 0.3, 0.135, colour if k == lit else dark)
    return canvas.texture(grain=5)


def _iron() -> Texture:
    """Iron railings: 2 m wide, 1.2 m high, with bars 12 cm apart on a low wall."""
    canvas = Canvas(64, 128)
    for bar in range(16):
        canvas.rect(bar / 16 + 0.02, 0.04, bar / 16 + 0.044, 1, (52, 56, 56))
    for y in (0.1, 0.72):
        canvas.rect(0, y, 1, y + 0.06, (46, 50, 50))
    canvas.rect(0, 0.78, 1, 1, (156, 148, 138))
    return canvas.texture(grain=8, wraps=True)


def _rail() -> Texture:
    """A pedestrian guard rail of round tubes, 2 m wide and 1.1 m high."""
    canvas, metal = Canvas(64, 128), (168, 172, 174)
    for bar in range(14):
        canvas.rect(bar / 14 + 0.02, 0.1, bar / 14 + 0.042, 0.92, metal)
    for y in (0.02, 0.14, 0.86):
        canvas.rect(0, y, 1, y + 0.06, metal)
    for x in (0.0, 0.48, 0.96):
        canvas.rect(x, 0.02, x + 0.04, 1, (120, 124, 126))
    return canvas.texture(grain=8, wraps=True)


def _wood() -> Texture:
    """Boards with narrow gaps: 2 m wide, 1.5 m high."""
    canvas, dice = Canvas(64, 128), Dice(410)
    for board in range(12):
        light, top = dice.uniform(0.8, 1.1), 0.03 + dice.uniform(0, 0.03)
        canvas.rect(board / 12 + 0.006, top, (board + 1) / 12, 1, (152 * light, 118 * light, 84 * light))
    for y in (0.2, 0.75):
        canvas.rect(0, y, 1, y + 0.06, (112, 84, 60))
    return canvas.texture(grain=14, wraps=True)


def _mesh() -> Texture:
    """A building-site fence: wide steel mesh in a frame with a banner; 2 m wide."""
    canvas = Canvas(64, 128)
    for bar in range(10):
        canvas.rect(bar / 10, 0, bar / 10 + 0.03, 1, (150, 154, 156))
    for bar in range(4):
        canvas.rect(0, bar / 4, 1, bar / 4 + 0.06, (150, 154, 156))
    canvas.rect(0.12, 0.28, 0.88, 0.72, (222, 224, 220))
    canvas.rect(0.16, 0.4, 0.7, 0.5, (200, 40, 36))
    canvas.rect(0.0, 0.93, 1.0, 1.0, (120, 120, 118))
    return canvas.texture(grain=8, wraps=True)


def _garden_wall() -> Texture:
    canvas, dice = Canvas(64, 128, (120, 112, 104)), Dice(420)
    for row in range(6):
        for column in range(8):
            x, light = (column + 0.5 * (row % 2)) / 8, dice.uniform(0.8, 1.15)
            stone = (168 * light, 156 * light, 140 * light)
            canvas.rect(x + 0.006, row / 6 + 0.015, x + 0.118, (row + 1) / 6 - 0.01, stone, 0.8)
    return canvas.texture(grain=16, wraps=True)


def post(sketch: Sketch, x: float, z: float, height: float, radius: float, dark: bool = False) -> None:
    """An upright pole."""
    name = "post_dark" if dark else "post"
    sketch.box((x - radius, x + radius), (0, height), (z - radius, z + radius), name, POLE)


def lamp(sketch: Sketch, x: float, z: float, side: int, height: float, dark: bool) -> None:
    """A street lamp with an arm over the road; `side` is the side of the street it stands on."""
    post(sketch, x, z, height, 0.085, dark)
    reach = x - 1.7 * side
    name = "post_dark" if dark else "post"
    sketch.box((min(x, reach), max(x, reach)), (height - 0.12, height), (z - 0.05, z + 0.05), name, POLE)
    end = reach + 0.5 * side
    sketch.box((min(end, reach), max(end, reach)), (height - 0.24, height - 0.1), (z - 0.13, z + 0.13), "lamp", POLE)


def sign(sketch: Sketch, x: float, z: float, dice: Dice) -> None:
    """A post with one or two signs facing oncoming drivers of the right-hand lane, grey from behind."""
    size = dice.uniform(0.33, 0.42)
    top = dice.uniform(2.5, 3.0)
    post(sketch, x, z, top + size, 0.04)
    for k in range(1 + dice.chance(0.35)):
        middle = top - 2.1 * size * k
        name = f"sign_{dice.pick(SIGNS)}"
        left, right = (x - size, z - 0.05), (x + size, z - 0.05)
        sketch.wall(left, right, middle - size, middle + size, name, SIGN, thin=True)


def big_sign(sketch: Sketch, x: float, z: float, inward: int) -> None:
    """A direction sign on two posts, reaching `inward` over the verge."""
    x0, x1 = min(x, x + 1.9 * inward), max(x, x + 1.9 * inward)
    for leg in (x0 + 0.2, x1 - 0.2):
        post(sketch, leg, z, 3.5, 0.05)
    sketch.wall((x0, z - 0.08), (x1, z - 0.08), 2.3, 3.6, "sign_direction", SIGN, thin=True)


def traffic_light(sketch: Sketch, x: float, z: float, side: int, lit: int) -> None:
    """A post with one head on it and one on an arm over the lane, facing the right-hand traffic."""
    post(sketch, x, z, 5.6, 0.09, dark=True)
    reach = x - 3.4 * side
    sketch.box((min(x, reach), max(x, reach)), (5.4, 5.54), (z - 0.06, z + 0.06), "post_dark", POLE)
    for centre, middle in ((x - 0.02 * side, 2.9), (reach, 5.3)):
        _head(sketch, centre, middle, z - 0.14, lit)


def _head(sketch: Sketch, x: float, up: float, z: float, lit: int) -> None:
    half = 0.24
    sketch.box((x - half, x + half), (up - 0.58, up + 0.58), (z - 0.02, z + 0.22), "light_back", LIGHT)
    sketch.wall((x - half, z - 0.03), (x + half, z - 0.03), up - 0.58, up + 0.58, f"light_{lit}", LIGHT)


def fence(sketch: Sketch, start: tuple[float, float], end: tuple[float, float], kind: str, height: float) -> None:
    """A fence from `start` to `end`, given as (right, forward), seen from both sides."""
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    sketch.wall(start, end, 0, height, f"fence_{kind}", FENCE, (0, 0, length / 2, 1), thin=True)


def garden_wall(sketch: Sketch, x: tuple[float, float], z: tuple[float, float], height: float) -> None:
    """A low stone wall; it counts as building, since the town has no class for walls."""
    sketch.box(x, (0, height), z, "garden_wall", BUILDING)
