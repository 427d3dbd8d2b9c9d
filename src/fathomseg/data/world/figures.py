"""People on foot and on bicycles: flat painted figures with legs that move."""

from __future__ import annotations

import numpy as np

from fathomseg.data.world.canvas import Canvas, Point, Texture
from fathomseg.data.world.domains import RGB
from fathomseg.data.world.labels import BICYCLE, PERSON, RIDER
from fathomseg.data.world.mesh import Sketch

PEOPLE = 4
"""Different outfits."""
PHASES = 4
"""Pictures of one stride."""
CLOTHES = ((0.75, 0.2, 0.18), (0.2, 0.3, 0.55), (0.25, 0.25, 0.27), (0.85, 0.8, 0.7), (0.3, 0.45, 0.3), (0.8, 0.6, 0.2))
"""Tints of clothes, and of bicycles."""

_SKIN: tuple[RGB, ...] = ((224, 178, 148), (196, 144, 112), (134, 92, 66), (232, 190, 164))
_HAIR: tuple[RGB, ...] = ((60, 42, 30), (28, 26, 26), (36, 28, 24), (176, 136, 80))
_LEGS: tuple[RGB, ...] = ((44, 52, 78), (40, 40, 44), (112, 98, 80), (62, 66, 84))
_CLOTH: RGB = (220, 220, 220)


def textures() -> dict[str, Texture]:
    """Each outfit from the front and from the side in every phase, a rider from both views, and a bicycle."""
    made: dict[str, Texture] = {}
    for outfit in range(PEOPLE):
        for phase in range(PHASES):
            made[f"person_front_{outfit}_{phase}"] = _person_front(outfit, phase)
            made[f"person_side_{outfit}_{phase}"] = _person_side(outfit, phase)
    for phase in range(PHASES):
        made[f"rider_side_{phase}"] = _rider_side(phase)
        made[f"rider_back_{phase}"] = _rider_back(phase)
    made["bicycle"] = _bicycle()
    made["bicycle_back"] = _bicycle_back()
    return made


def _person_front(outfit: int, phase: int) -> Texture:
    """72 x 160 texels for 0.8 x 1.78 m, seen from the front or the back."""
    canvas, skin, legs = Canvas(160, 72), _SKIN[outfit], _LEGS[outfit]
    swing = float(np.sin(2 * np.pi * phase / PHASES))
    for sign in (-1, 1):
        lift = 0.035 * max(sign * swing, 0.0)
        hip, foot = 0.5 + 0.085 * sign, 0.5 + 0.1 * sign
        canvas.line((hip, 0.5), (foot, 0.94 - lift), 0.155, legs)
        canvas.ellipse(foot + 0.015 * sign, 0.965 - lift, 0.085, 0.03, (40, 34, 32))
        hand = (0.5 + 0.31 * sign, 0.52 - 0.03 * sign * swing)
        canvas.line((0.5 + 0.22 * sign, 0.21), hand, 0.11, (196, 196, 196), 1.0)
        canvas.ellipse(hand[0], hand[1] + 0.012, 0.05, 0.022, skin)
    if outfit == 3:
        canvas.poly([(0.33, 0.44), (0.67, 0.44), (0.76, 0.72), (0.24, 0.72)], (196, 196, 196), 1.0)
    canvas.poly([(0.28, 0.19), (0.42, 0.165), (0.58, 0.165), (0.72, 0.19), (0.68, 0.53), (0.32, 0.53)], _CLOTH, 1.0)
    canvas.rect(0.49, 0.18, 0.51, 0.52, (150, 150, 150), 1.0)
    if outfit == 1:
        canvas.rect(0.36, 0.22, 0.64, 0.44, (70, 54, 44))
    canvas.rect(0.44, 0.13, 0.56, 0.18, skin)
    canvas.ellipse(0.5, 0.085, 0.135, 0.072, skin)
    canvas.ellipse(0.5, 0.06, 0.145, 0.056, _HAIR[outfit])
    return canvas.texture(grain=7, key=300 + outfit)


def _person_side(outfit: int, phase: int) -> Texture:
    """The same person from the side, walking to the right."""
    canvas, skin, legs = Canvas(160, 96), _SKIN[outfit], _LEGS[outfit]
    swing = float(np.cos(2 * np.pi * phase / PHASES))
    for sign in (-1, 1):
        stride = 0.24 * sign * swing
        knee, foot = (0.5 + 0.5 * stride + 0.03, 0.73), (0.5 + stride, 0.945 - 0.03 * max(-stride, 0))
        shade = tuple(c * (0.8 if sign < 0 else 1.0) for c in legs)
        canvas.line((0.5, 0.48), knee, 0.15, (shade[0], shade[1], shade[2]))
        canvas.line(knee, foot, 0.12, (shade[0], shade[1], shade[2]))
        canvas.ellipse(foot[0] + 0.035, 0.965, 0.09, 0.028, (40, 34, 32))
    canvas.poly([(0.4, 0.18), (0.56, 0.17), (0.62, 0.3), (0.6, 0.53), (0.39, 0.53)], _CLOTH, 1.0)
    hand = (0.5 - 0.2 * swing, 0.5)
    canvas.line((0.49, 0.21), hand, 0.09, (190, 190, 190), 1.0)
    canvas.ellipse(*hand, 0.04, 0.024, skin)
    canvas.rect(0.45, 0.13, 0.54, 0.18, skin)
    canvas.ellipse(0.51, 0.085, 0.1, 0.072, skin)
    canvas.ellipse(0.475, 0.068, 0.1, 0.064, _HAIR[outfit])
    return canvas.texture(grain=7, key=310 + outfit)


def _rider_side(phase: int) -> Texture:
    """A rider facing right, drawn on the square of the bicycle's texture (1.8 m)."""
    canvas = Canvas(128, 128)
    turn = 2 * np.pi * phase / PHASES
    for sign, shade in ((-1, 0.75), (1, 1.0)):
        foot = (0.47 + 0.085 * sign * float(np.cos(turn)), 0.8 + 0.085 * sign * float(np.sin(turn)))
        knee = (0.52 + 0.3 * (foot[0] - 0.4), 0.6 + 0.4 * (foot[1] - 0.8))
        cloth = (52 * shade, 56 * shade, 76 * shade)
        canvas.line((0.36, 0.47), knee, 0.085, cloth)
        canvas.line(knee, foot, 0.065, cloth)
        canvas.ellipse(foot[0] + 0.02, foot[1] + 0.01, 0.045, 0.02, (36, 34, 34))
    canvas.poly([(0.32, 0.5), (0.36, 0.3), (0.47, 0.2), (0.55, 0.22), (0.5, 0.36), (0.43, 0.5)], _CLOTH, 1.0)
    canvas.line((0.5, 0.25), (0.63, 0.4), 0.05, (190, 190, 190), 1.0)
    canvas.line((0.62, 0.39), (0.69, 0.42), 0.04, _SKIN[0])
    canvas.ellipse(0.555, 0.135, 0.055, 0.062, _SKIN[0])
    canvas.ellipse(0.545, 0.105, 0.065, 0.045, (226, 226, 230), 0.6)
    return canvas.texture(grain=7, key=320)


def _rider_back(phase: int) -> Texture:
    """A rider from behind, 0.8 x 1.8 m."""
    canvas = Canvas(128, 64)
    swing = float(np.sin(2 * np.pi * phase / PHASES))
    for sign in (-1, 1):
        x = 0.5 + 0.14 * sign
        canvas.line((x, 0.48), (x, 0.78 + 0.06 * sign * swing), 0.16, (50, 54, 74))
        canvas.line((0.5 + 0.24 * sign, 0.25), (0.5 + 0.36 * sign, 0.42), 0.1, (190, 190, 190), 1.0)
    canvas.poly([(0.26, 0.23), (0.42, 0.19), (0.58, 0.19), (0.74, 0.23), (0.68, 0.53), (0.32, 0.53)], _CLOTH, 1.0)
    canvas.ellipse(0.5, 0.13, 0.13, 0.065, _SKIN[1])
    canvas.ellipse(0.5, 0.11, 0.15, 0.055, (226, 226, 230), 0.6)
    return canvas.texture(grain=7, key=330)


def _bicycle() -> Texture:
    """A bicycle facing right in the lower half of a square of 1.8 m, so that the rider's square lies on it."""
    canvas, dark = Canvas(128, 128), (34, 34, 38)
    for x in (0.21, 0.77):
        for ring in range(40):
            a, b = 2 * np.pi * ring / 40, 2 * np.pi * (ring + 1) / 40
            start, end = ((x + 0.175 * np.cos(t), 0.81 + 0.175 * np.sin(t)) for t in (a, b))
            canvas.line(start, end, 0.042, dark)
        for spoke in range(6):
            a = np.pi * spoke / 6
            dx, dy = 0.17 * float(np.cos(a)), 0.17 * float(np.sin(a))
            canvas.line((x - dx, 0.81 - dy), (x + dx, 0.81 + dy), 0.012, (150, 150, 150))
    tubes: list[tuple[Point, Point]] = [
        ((0.21, 0.81), (0.46, 0.82)),
        ((0.46, 0.82), (0.38, 0.54)),
        ((0.21, 0.81), (0.4, 0.58)),
        ((0.4, 0.58), (0.68, 0.53)),
        ((0.46, 0.82), (0.69, 0.56)),
        ((0.77, 0.81), (0.67, 0.46)),
    ]
    for end, other in tubes:
        canvas.line(end, other, 0.036, (216, 216, 216), 1.0)
    canvas.line((0.38, 0.54), (0.365, 0.49), 0.03, dark)
    canvas.ellipse(0.36, 0.48, 0.07, 0.022, dark)
    canvas.line((0.6, 0.44), (0.7, 0.43), 0.032, dark)
    canvas.ellipse(0.46, 0.82, 0.045, 0.045, (90, 90, 94))
    return canvas.texture(grain=5)


def _bicycle_back() -> Texture:
    """A bicycle from behind, 0.8 x 1.8 m: wheel, mudguard, rear light, handlebar."""
    canvas = Canvas(128, 64)
    canvas.ellipse(0.5, 0.81, 0.055, 0.185, (30, 30, 34))
    canvas.rect(0.45, 0.6, 0.55, 0.72, (70, 70, 74))
    canvas.ellipse(0.5, 0.66, 0.06, 0.025, (196, 30, 26))
    canvas.line((0.12, 0.44), (0.88, 0.44), 0.06, (44, 44, 48))
    canvas.line((0.3, 0.83), (0.7, 0.83), 0.05, (60, 60, 64))
    return canvas.texture(grain=5)


def person(sketch: Sketch, outfit: int, phase: int, side_on: bool) -> None:
    """A person at the origin, facing along the street, or (side on) walking towards +x."""
    view, half = ("side", 0.53) if side_on else ("front", 0.4)
    name = f"person_{view}_{outfit % PEOPLE}_{phase % PHASES}"
    sketch.wall((-half, 0), (half, 0), 0, 1.78, name, PERSON, thin=True)


def bicycle(sketch: Sketch, frame: RGB) -> None:
    """A parked bicycle along x, facing +x."""
    sketch.wall((-0.9, 0), (0.9, 0), 0, 1.8, "bicycle", BICYCLE, tint=frame, thin=True)


def cyclist(sketch: Sketch, phase: int, cloth: RGB, frame: RGB) -> None:
    """A rider and bicycle heading forward: one screen along the street and one across it, for each."""
    sketch.wall((0, -0.9), (0, 0.9), 0, 1.8, "bicycle", BICYCLE, tint=frame, thin=True)
    sketch.wall((-0.4, -0.3), (0.4, -0.3), 0, 1.8, "bicycle_back", BICYCLE, tint=frame, thin=True)
    sketch.wall((0.01, -0.9), (0.01, 0.9), 0, 1.8, f"rider_side_{phase % PHASES}", RIDER, tint=cloth, thin=True)
    sketch.wall((-0.4, 0.1), (0.4, 0.1), 0, 1.8, f"rider_back_{phase % PHASES}", RIDER, tint=cloth, thin=True)
