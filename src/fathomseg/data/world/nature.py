"""Trees, bushes and hedges. A crown is three leafy screens one behind the other, fixed in the world: it has depth."""

from __future__ import annotations

import numpy as np

from fathomseg.data.world.canvas import Canvas, Texture, cloudy_noise
from fathomseg.data.world.dice import Dice, white_noise
from fathomseg.data.world.domains import RGB, Domain
from fathomseg.data.world.labels import VEGETATION
from fathomseg.data.world.mesh import WHITE, Sketch

Span = tuple[float, float]

CROWNS = 4
"""Number of different crown textures."""


def textures(domain: Domain) -> dict[str, Texture]:
    """Crowns, bushes, a hedge, bark and the distant row of trees."""
    crown = _palm if domain.tree == "palm" else _crown
    made = {f"crown_{k}": crown(domain.leaves[k % len(domain.leaves)], 200 + k) for k in range(CROWNS)}
    made["bush"] = _crown(domain.leaves[0], 210, flat_bottom=True)
    made["hedge"] = _foliage(domain.leaves[-1], 211)
    made["woods"] = _tree_line(domain.leaves, 212)
    made["bark"] = _bark((104, 88, 72) if domain.tree == "round" else (142, 118, 90))
    return made


def _leaf(base: RGB, light: float, dice: Dice) -> RGB:
    shift = dice.uniform(-12, 12)
    r, g, b = (c * light for c in base)
    return min(max(r + shift, 0), 255), min(max(g + 0.6 * shift, 0), 255), max(b, 0)


def _crown(base: RGB, key: int, flat_bottom: bool = False) -> Texture:
    """Clumps of leaves, dark ones first and bright ones towards the top, inside a lumpy outline."""
    canvas, dice = Canvas(128, 128), Dice(key)
    lumps, wide = [(0.5, 0.52, 0.3)], dice.uniform(0.22, 0.3)
    for k in range(9):
        angle, far = 2 * np.pi * (k + dice.uniform(0, 0.6)) / 9, dice.uniform(0.8, 1.1)
        lumps.append((0.5 + wide * far * np.cos(angle), 0.5 + 0.29 * far * np.sin(angle), dice.uniform(0.11, 0.19)))
    for layer in range(5):
        for _ in range(190):
            x, y, radius = dice.pick(lumps)
            angle, reach = dice.uniform(0, 2 * np.pi), radius * dice.uniform(0.2, 1.0) ** 0.5
            x, y = x + reach * np.cos(angle), y + reach * np.sin(angle) - 0.012 * layer
            if flat_bottom:
                y = 0.25 + 0.75 * y
            light = 0.5 + 0.14 * layer + 0.4 * (0.5 - y) + dice.uniform(-0.1, 0.1)
            size = dice.uniform(0.009, 0.023)
            canvas.ellipse(x, y, size, size * dice.uniform(0.6, 1.0), _leaf(base, light, dice), 0.6)
    return canvas.texture(grain=12, key=key)


def _palm(base: RGB, key: int) -> Texture:
    """Fronds arching from one point, each a rib with leaflets."""
    canvas, dice = Canvas(128, 128), Dice(key)
    fronds = 17
    for k in range(fronds):
        angle = np.pi * (k / (fronds - 1) * 1.5 - 0.25)
        if abs(np.cos(angle)) < 0.3:
            continue
        length, x, y = dice.uniform(0.36, 0.48), 0.5, 0.45
        step = np.array([np.cos(angle), -np.sin(angle)]) * length / 10
        colour = _leaf(base, dice.uniform(0.7, 1.15), dice)
        for joint in range(10):
            step[1] += 0.0036 * (1 + 0.5 * joint) * abs(np.cos(angle)) + 0.001
            canvas.line((x, y), (x + step[0], y + step[1]), 0.022, colour, 0.5)
            for sign in (-1, 1):
                tip = (x + 0.9 * step[0] - sign * 0.9 * step[1], y + 0.9 * step[1] + sign * 0.8 * step[0] + 0.016)
                canvas.line((x, y), tip, 0.014, _leaf(base, dice.uniform(0.65, 1.2), dice), 0.5)
            x, y = x + step[0], y + step[1]
    return canvas.texture(grain=10, key=key)


def _foliage(base: RGB, key: int) -> Texture:
    """Dense leaves that repeat, for hedges; 2 m square."""
    shade = 1 + cloudy_noise(128, key, [(6, 0.2), (20, 0.3), (64, 0.35)]) + 0.3 * (white_noise((128, 128), key) - 0.5)
    rgba = np.empty((128, 128, 4), np.float32)
    rgba[..., :3] = shade[..., None] * np.array(base, np.float32)
    rgba[..., 3] = 150
    return Texture(np.clip(rgba, 0, 255).astype(np.uint8), wraps=True)


def _tree_line(leaves: tuple[RGB, ...], key: int) -> Texture:
    """A row of crowns from a distance, uneven on top; 20 m wide, repeating."""
    canvas, dice = Canvas(128, 256), Dice(key)
    for row in range(3):
        for k in range(9):
            x, top = (k + dice.uniform(-0.3, 0.3)) / 8, 0.14 + 0.12 * row + dice.uniform(0, 0.22)
            base = dice.pick(leaves)
            canvas.rect(x - 0.05, top + 0.2, x + 0.12, 1, _leaf(base, 0.55, dice), 0.5)
            for _ in range(46):
                angle, reach = dice.uniform(0, 2 * np.pi), dice.uniform(0, 1) ** 0.5
                dx, dy = 0.075 * reach * np.cos(angle), 0.2 * reach * np.sin(angle)
                light = 0.72 + 0.12 * row - 0.9 * dy + dice.uniform(-0.12, 0.12)
                canvas.ellipse((x + dx) % 1.0, top + 0.2 + dy, 0.013, 0.02, _leaf(base, light, dice), 0.5)
    return canvas.texture(grain=10, key=key, wraps=True)


def _bark(base: RGB) -> Texture:
    rgba = np.empty((64, 32, 4), np.float32)
    stripes = white_noise((8, 32), 220).repeat(8, axis=0) + white_noise((64, 32), 221)
    rgba[..., :3] = (0.62 + 0.38 * stripes)[..., None] * np.array(base, np.float32)
    rgba[..., 3] = 0
    return Texture(np.clip(rgba, 0, 255).astype(np.uint8), wraps=True)


def tree(sketch: Sketch, domain: Domain, x: float, z: float, height: float, dice: Dice) -> None:
    """A trunk and three screens of leaves; a palm has a long trunk and two screens."""
    tint, crown = _tint(dice), dice.below(CROWNS)
    screens: tuple[tuple[float, float], ...]
    if domain.tree == "palm":
        radius, middle, screens = 0.3 * height + 0.6, height - 0.35, ((-0.25, 1.0), (0.2, 1.0))
        trunk, top = 0.13, height
    else:
        radius, screens = height * dice.uniform(0.28, 0.36), ((-0.55, 0.86), (0.0, 1.0), (0.5, 0.86))
        middle, trunk, top = height - 0.95 * radius, 0.15 + 0.01 * height, height - 1.3 * radius
    sketch.box((x - trunk, x + trunk), (0, top), (z - trunk, z + trunk), "bark", VEGETATION)
    for depth, share in screens:
        r, aside = share * radius, dice.uniform(-0.15, 0.15) * radius
        repeat = (1.0, 0.0, 0.0, 1.0) if dice.chance(0.5) else (0.0, 0.0, 1.0, 1.0)
        left, right = (x + aside - r, z + depth * radius), (x + aside + r, z + depth * radius)
        sketch.wall(left, right, middle - r, middle + r, f"crown_{crown}", VEGETATION, repeat, tint, thin=True)


def bush(sketch: Sketch, x: float, z: float, size: float, dice: Dice) -> None:
    """Two low screens of leaves standing on the ground."""
    tint = _tint(dice)
    for depth in (-0.25, 0.2):
        sketch.wall(
            (x - size, z + depth), (x + size, z + depth), -0.05, 1.3 * size, "bush", VEGETATION, tint=tint, thin=True
        )


def hedge(sketch: Sketch, x: Span, z: Span, height: float) -> None:
    """A clipped hedge: a box of leaves."""
    (x0, x1), (z0, z1) = x, z
    ring = ((x0, z0), (x1, z0), (x1, z1), (x0, z1))
    for side in range(4):
        start, end = ring[side], ring[(side + 1) % 4]
        length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
        sketch.wall(start, end, 0, height, "hedge", VEGETATION, (0, 0, length / 2, height / 2))
    corners = ((x0, height, z0), (x1, height, z0), (x1, height, z1), (x0, height, z1))
    sketch.quad(corners, "hedge", VEGETATION, (0, 0, (x1 - x0) / 2, (z1 - z0) / 2), (1.25, 1.25, 1.2))


def _tint(dice: Dice) -> RGB:
    if dice.chance(0.2):
        return WHITE
    return dice.uniform(0.8, 1.2), dice.uniform(0.85, 1.1), dice.uniform(0.8, 1.1)
