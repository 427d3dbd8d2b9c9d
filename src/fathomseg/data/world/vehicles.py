"""Cars, vans and lorries: a side profile carried across the width, with the windows leaning inwards."""

from __future__ import annotations

from dataclasses import dataclass

from fathomseg.data.world.canvas import Canvas, Point, Texture
from fathomseg.data.world.domains import RGB
from fathomseg.data.world.labels import CAR, TRUCK
from fathomseg.data.world.mesh import Sketch

_WHITE: RGB = (236, 236, 236)
_GLASS: RGB = (48, 56, 66)
_TYRE: RGB = (26, 26, 28)
_RIM: RGB = (150, 152, 156)


@dataclass(frozen=True)
class Body:
    """The profile of a vehicle from front to rear. Along = metres ahead of the middle; up = metres above the ground."""

    length: float
    width: float
    nose: float
    """Height of the front edge of the bonnet."""
    belt: float
    """Height of the lower edge of the windows."""
    roof: float
    cowl: float
    """Along: foot of the windscreen."""
    brow: float
    """Along: top of the windscreen."""
    tail: float
    """Along: top of the rear window."""
    deck: float
    """Along: foot of the rear window."""
    inset: float
    """How much narrower the roof is on each side, metres."""
    windows: str = "windows_car"


BODIES = {
    "hatch": Body(3.95, 1.74, 0.74, 0.94, 1.48, 1.05, 0.35, -1.45, -1.9, 0.2),
    "sedan": Body(4.6, 1.8, 0.72, 0.94, 1.44, 0.95, 0.2, -1.05, -1.7, 0.22),
    "suv": Body(4.5, 1.88, 0.92, 1.06, 1.7, 1.1, 0.5, -1.85, -2.15, 0.16),
    "wagon": Body(4.65, 1.8, 0.74, 0.95, 1.5, 1.0, 0.3, -1.8, -2.2, 0.2),
    "van": Body(5.1, 1.95, 1.05, 1.25, 2.25, 2.0, 1.35, -2.45, -2.53, 0.1, "windows_van"),
}


def textures() -> dict[str, Texture]:
    """Sides, ends and glass, painted white where the body takes its colour."""
    made = {f"flank_{name}": _flank(body) for name, body in BODIES.items()}
    made["windows_car"] = _side_windows(0.02, (0.36, 0.42, 0.74, 0.79))
    made["windows_van"] = _side_windows(0.02, (0.24, 0.28))
    made["front"], made["rear"] = _front(), _rear()
    made["screen"] = _glass(Canvas(64, 128, _GLASS))
    made["panel"] = _panel()
    made["cab_front"], made["cargo"], made["cargo_rear"], made["chassis"] = _lorry()
    return made


def _wheel(canvas: Canvas, x: float, radius: Point) -> None:
    rx, ry = radius
    canvas.ellipse(x, 1 - ry, rx * 1.12, ry * 1.12, (14, 14, 16))
    canvas.ellipse(x, 1 - ry, rx, ry, _TYRE)
    canvas.ellipse(x, 1 - ry, 0.64 * rx, 0.64 * ry, _RIM)
    canvas.ellipse(x, 1 - ry, 0.2 * rx, 0.2 * ry, (70, 72, 76))


def _flank(body: Body) -> Texture:
    """The side below the windows, front to the right, with wheels, door gaps, handles and a darker sill."""
    canvas, high = Canvas(64, 256), body.belt
    front, rear = (body.length / 2 + body.cowl) / body.length, (body.length / 2 + body.deck) / body.length
    sill = 1 - 0.24 / high
    roofline = [(-0.01, 0.0), (rear, 0.0), (front, 0.0), (1.01, 1 - body.nose / high)]
    canvas.poly([*roofline, (1.01, sill), (-0.01, sill)], _WHITE, 1.0)
    canvas.rect(0.02, 0.3, 0.98, 0.34, (206, 206, 206), 1.0)
    canvas.rect(0.02, 0.66, 0.98, sill, (176, 176, 176), 1.0)
    canvas.rect(0.02, sill - 0.05, 0.98, sill + 0.02, (50, 50, 52))
    for x in (front - 0.01, (front + rear) / 2 + 0.02, rear + 0.06):
        canvas.rect(x, 0.02, x + 0.006, 0.7, (110, 110, 110), 0.8)
    for x in (front - 0.09, (front + rear) / 2 - 0.06):
        canvas.rect(x, 0.16, x + 0.035, 0.21, (120, 120, 122), 0.4)
    canvas.rect(0.0, 0.12, 0.03, 0.32, (150, 24, 22))
    canvas.poly([(0.94, 1 - 0.86 * body.nose / high), (0.995, 0.5), (0.99, 0.58), (0.93, 0.44)], (232, 236, 236))
    radius = 0.33 if body.belt < 1.2 else 0.36
    for x in (0.19, 0.81):
        _wheel(canvas, x, (radius / body.length, radius / high))
    return canvas.texture(grain=4)


def _side_windows(edge: float, pillars: tuple[float, ...]) -> Texture:
    """Side glass in a painted frame with pillars; the reflected sky fades downwards."""
    canvas = Canvas(32, 128, _WHITE, 1.0)
    canvas.rect(edge + 0.03, 0.14, 1 - edge - 0.03, 0.94, _GLASS)
    canvas.poly([(0.1, 0.14), (0.97, 0.14), (0.97, 0.3), (0.1, 0.42)], (104, 118, 132))
    for left, right in zip(pillars[::2], pillars[1::2], strict=True):
        canvas.rect(left, 0.1, right, 1, (30, 30, 32))
    return canvas.texture(grain=4)


def _tyres(canvas: Canvas) -> None:
    for x in (0.05, 0.83):
        canvas.rect(x, 0.72, x + 0.12, 1, _TYRE)
    canvas.rect(0.17, 0.74, 0.83, 0.86, (24, 24, 26))


def _front() -> Texture:
    canvas = Canvas(64, 128)
    _tyres(canvas)
    canvas.rect(0.0, 0.0, 1.0, 0.8, _WHITE, 1.0)
    canvas.rect(0.26, 0.14, 0.74, 0.38, (28, 28, 30))
    for bar in range(3):
        canvas.rect(0.28, 0.18 + 0.07 * bar, 0.72, 0.2 + 0.07 * bar, (120, 122, 126))
    for x in (0.13, 0.87):
        canvas.ellipse(x, 0.24, 0.105, 0.12, (90, 92, 96))
        canvas.ellipse(x, 0.24, 0.09, 0.1, (246, 246, 236))
    canvas.rect(0.36, 0.46, 0.64, 0.58, (240, 240, 232))
    canvas.rect(0.2, 0.64, 0.8, 0.77, (40, 40, 42))
    return canvas.texture(grain=4)


def _rear() -> Texture:
    canvas = Canvas(64, 128)
    _tyres(canvas)
    canvas.rect(0.0, 0.0, 1.0, 0.8, _WHITE, 1.0)
    canvas.rect(0.0, 0.5, 1.0, 0.54, (150, 150, 150), 1.0)
    for x in (0.02, 0.8):
        canvas.rect(x, 0.1, x + 0.18, 0.36, (164, 22, 20))
        canvas.rect(x + 0.04, 0.28, x + 0.14, 0.36, (236, 150, 60))
    canvas.rect(0.35, 0.26, 0.65, 0.4, (238, 238, 230))
    canvas.rect(0.4, 0.3, 0.6, 0.36, (60, 60, 66))
    canvas.rect(0.06, 0.68, 0.94, 0.82, (46, 46, 48))
    return canvas.texture(grain=4)


def _glass(canvas: Canvas) -> Texture:
    canvas.rect(0, 0, 1, 0.07, _WHITE, 1.0)
    canvas.poly([(0.06, 0.1), (0.94, 0.1), (0.94, 0.34), (0.06, 0.52)], (112, 126, 140))
    canvas.poly([(0.3, 0.94), (0.4, 0.56), (0.46, 0.94)], (34, 38, 44))
    canvas.poly([(0.62, 0.94), (0.68, 0.5), (0.76, 0.94)], (34, 38, 44))
    canvas.rect(0, 0.0, 0.045, 1, _WHITE, 1.0)
    canvas.rect(0.955, 0.0, 1, 1, _WHITE, 1.0)
    return canvas.texture(grain=4)


def _panel() -> Texture:
    canvas = Canvas(64, 64, (226, 226, 226), 1.0)
    canvas.poly([(0.1, 0.0), (0.5, 0.0), (0.3, 1.0), (0.05, 1.0)], (244, 244, 244), 1.0)
    canvas.rect(0.0, 0.0, 1.0, 0.03, (150, 150, 150), 1.0)
    return canvas.texture(grain=6)


def _lorry() -> tuple[Texture, Texture, Texture, Texture]:
    cab = Canvas(128, 128, _WHITE, 1.0)
    cab.rect(0.06, 0.12, 0.94, 0.48, _GLASS)
    cab.poly([(0.06, 0.12), (0.94, 0.12), (0.94, 0.22), (0.06, 0.34)], (112, 126, 140))
    cab.rect(0.2, 0.58, 0.8, 0.74, (40, 40, 42))
    cab.rect(0.0, 0.8, 1.0, 1.0, (50, 50, 52))
    for x in (0.04, 0.8):
        cab.rect(x, 0.82, x + 0.16, 0.92, (244, 244, 232))
    cargo = Canvas(128, 256, (232, 232, 230), 0.25)
    for rib in range(16):
        cargo.rect(rib / 16, 0, rib / 16 + 0.005, 1, (176, 176, 176), 0.25)
    cargo.rect(0.0, 0.52, 1.0, 0.66, (236, 236, 236), 1.0)
    cargo.ellipse(0.5, 0.4, 0.14, 0.24, (236, 236, 236), 1.0)
    rear = Canvas(128, 128, (222, 222, 220), 0.25)
    rear.rect(0.49, 0, 0.51, 0.86, (96, 96, 96))
    for x in (0.38, 0.6):
        rear.rect(x, 0.05, x + 0.02, 0.82, (130, 130, 132))
    rear.rect(0, 0.86, 1, 1, (44, 44, 46))
    for x in (0.03, 0.81):
        rear.rect(x, 0.88, x + 0.16, 0.97, (190, 30, 26))
    under = Canvas(64, 256)
    under.rect(0.02, 0.0, 0.98, 0.35, (44, 44, 46))
    for x in (0.14, 0.68, 0.84):
        _wheel(under, x, (0.06, 0.46))
    return cab.texture(grain=4), cargo.texture(grain=5), rear.texture(grain=5), under.texture(grain=4)


def car(sketch: Sketch, kind: str) -> None:
    """A vehicle of the given body at the origin, its front towards forward."""
    b = BODIES[kind]
    half, top, end = b.width / 2, b.width / 2 - b.inset, b.length / 2
    profile = [
        ("front", end, 0.0, half, end, b.nose, half),
        ("panel", end, b.nose, half, b.cowl, b.belt, half),
        ("screen", b.cowl, b.belt, half, b.brow, b.roof, top),
        ("panel", b.brow, b.roof, top, b.tail, b.roof, top),
        # The back is seen from behind, so left and right change places.
        ("rear", -end, 0.0, -half, -end, b.belt - 0.02, -half),
        ("panel", -end, b.belt - 0.02, -half, b.deck, b.belt, -half),
        ("screen", b.deck, b.belt, -half, b.tail, b.roof, -top),
    ]
    for name, z0, low, w0, z1, high, w1 in profile:
        sketch.quad(((w0, low, z0), (-w0, low, z0), (-w1, high, z1), (w1, high, z1)), name, CAR)
    for side in (-1, 1):
        a, z, u = side * half, (-end, end)[::side], (0.0, 1.0)[::side]
        sketch.wall((a, z[0]), (a, z[1]), 0, b.belt, f"flank_{kind}", CAR, (u[0], 0, u[1], 1))
        foot, head, high = (b.deck, b.cowl)[::side], (b.tail, b.brow)[::side], side * top
        corners = ((a, b.belt, foot[0]), (a, b.belt, foot[1]), (high, b.roof, head[1]), (high, b.roof, head[0]))
        sketch.quad(corners, b.windows, CAR, (u[0], 0, u[1], 1))


def lorry(sketch: Sketch) -> None:
    """A delivery lorry, 7.4 m long, its front towards forward."""
    sketch.box((-1.2, 1.2), (0.85, 3.35), (-3.7, 1.6), "cargo", TRUCK)
    sketch.wall((-1.21, -3.71), (1.21, -3.71), 0.5, 3.35, "cargo_rear", TRUCK)
    sketch.box((-1.1, 1.1), (0.45, 2.6), (1.75, 3.7), "panel", TRUCK)
    sketch.wall((1.1, 3.71), (-1.1, 3.71), 0.35, 2.6, "cab_front", TRUCK)
    for side in (-1, 1):
        x, z = side * 1.11, (2.0, 3.3)[::side]
        sketch.wall((x, z[0]), (x, z[1]), 1.5, 2.4, "windows_van", TRUCK, (0.3, 0, 0.95, 1))
        ends, u = (-3.7, 3.7)[::side], (1.0, 0.0)[::side]
        sketch.wall((side * 1.12, ends[0]), (side * 1.12, ends[1]), 0.0, 0.95, "chassis", TRUCK, (u[0], 0, u[1], 1))
