"""Pictures of house fronts, side walls and roofs."""

from __future__ import annotations

import numpy as np

from fathomseg.data.world.canvas import Canvas, Texture, cloudy_noise
from fathomseg.data.world.dice import Dice, white_noise
from fathomseg.data.world.domains import RGB, Domain, Facade

BAY_M = 2.4
FLOOR_M = 3.1
BAYS, FLOORS = 4, 2
"""Windows across and floors up one facade texture, so that neighbours differ."""


def textures(domain: Domain) -> dict[str, Texture]:
    """For each facade family: upper floors, two ground floors, a side, a blank wall of 4.8 m square; and the roof."""
    made: dict[str, Texture] = {}
    for k, facade in enumerate(domain.facades):
        made[f"upper_{k}"] = _upper_floors(facade, domain, key=100 + k)
        made[f"shop_{k}"] = _ground_floor(facade, domain, key=120 + k, shop=True)
        made[f"door_{k}"] = _ground_floor(facade, domain, key=140 + k, shop=False)
        made[f"side_{k}"] = _side_wall(facade, domain, key=160 + k)
        made[f"plain_{k}"] = _walled(Canvas(128, 128, facade.wall, 1.0).texture(wraps=True), facade, 190 + k)
    made["roof"] = _tiles(180)
    made["cornice"] = Canvas(16, 128, (214, 208, 198), 0.5).texture(grain=8, wraps=True)
    made["awning"] = _awning()
    return made


def _upper_floors(facade: Facade, domain: Domain, key: int) -> Texture:
    canvas, dice = Canvas(256, 256, facade.wall, 1.0), Dice(key)
    for floor in range(FLOORS):
        top = floor / FLOORS
        canvas.rect(0, top + 0.485, 1, top + 0.5, _dim(facade.wall, 0.86), 1.0)
        for bay in range(BAYS):
            w, h = facade.window[0] / BAYS, facade.window[1] / FLOORS
            x, y = (bay + 0.5) / BAYS - w / 2, top + 0.11
            _window(canvas, facade, x, y, w, h, dice, domain.lit_windows)
    return _walled(canvas.texture(wraps=True), facade, key)


def _side_wall(facade: Facade, domain: Domain, key: int) -> Texture:
    """A gable wall, two floors high: mostly blank, with a few small windows, a downpipe and patches of new plaster."""
    canvas, dice = Canvas(256, 256, facade.wall, 1.0), Dice(key)
    for _ in range(5):
        x, y = dice.uniform(0, 0.8), dice.uniform(0, 0.8)
        shade = _dim(facade.wall, dice.uniform(0.9, 1.06))
        canvas.rect(x, y, x + dice.uniform(0.1, 0.35), y + dice.uniform(0.08, 0.3), shade, 1.0)
    for floor in range(FLOORS):
        for bay in (0, 2):
            if dice.chance(0.75):
                _window(canvas, facade, (bay + 0.6) / BAYS, floor / FLOORS + 0.14, 0.08, 0.2, dice, domain.lit_windows)
    canvas.rect(0.93, 0, 0.945, 1, _dim(facade.wall, 0.55), 0.3)
    return _walled(canvas.texture(wraps=True), facade, key)


def _window(
    canvas: Canvas, facade: Facade, x: float, y: float, w: float, h: float, dice: Dice, lit_share: float
) -> None:
    """Reveal, frame, glass with the sky in its upper part, curtains or a lit room, bars, sill and shutters."""
    wall = facade.wall
    if facade.shutters is not None:
        for left in (x - 0.52 * w, x + 1.04 * w):
            canvas.rect(left, y, left + 0.46 * w, y + h, facade.shutters)
            for slat in range(5):
                top, bottom = y + h * (slat + 0.5) / 5, y + h * (slat + 0.62) / 5
                canvas.rect(left, top, left + 0.46 * w, bottom, _dim(facade.shutters, 0.75))
    if facade.arched:
        canvas.ellipse(x + w / 2, y + 0.02, 0.56 * w, 0.045, _dim(wall, 1.1), 1.0)
        canvas.ellipse(x + w / 2, y + 0.022, 0.46 * w, 0.035, (66, 76, 88))
    canvas.rect(x - 0.09 * w, y - 0.012, x + 1.09 * w, y + h + 0.008, _dim(wall, 1.1), 1.0)
    canvas.rect(x, y, x + w, y + h, facade.frame)
    lit = dice.chance(lit_share)
    for pane in range(2):
        x0, x1 = x + w * (0.08 + 0.46 * pane), x + w * (0.46 + 0.46 * pane)
        glass, top = (252.0, 214.0, 140.0), y + 0.05 * h
        if not lit:
            glass = 54 + dice.uniform(0, 26), 64 + dice.uniform(0, 26), 76 + dice.uniform(0, 30)
        canvas.rect(x0, top, x1, y + 0.94 * h, glass)
        if not lit:
            canvas.poly([(x0, top), (x1, top), (x1, y + 0.2 * h), (x0, y + 0.5 * h)], _dim(glass, 1.55))
        if dice.chance(0.5):
            canvas.rect(x0, top, x1, y + h * dice.uniform(0.2, 0.75), (244, 190, 110) if lit else (214, 208, 196))
    canvas.rect(x, y + 0.36 * h, x + w, y + 0.4 * h, facade.frame)
    canvas.rect(x - 0.12 * w, y + h, x + 1.12 * w, y + h + 0.02, _dim(wall, 1.14), 0.6)
    canvas.rect(x - 0.12 * w, y + h + 0.02, x + 1.12 * w, y + h + 0.028, _dim(wall, 0.66), 1.0)


def _ground_floor(facade: Facade, domain: Domain, key: int, shop: bool) -> Texture:
    """A plinth with either a shop (big panes, sign board, door) or a house door between windows."""
    canvas, dice = Canvas(128, 256, facade.wall, 1.0), Dice(key)
    canvas.rect(0, 0.9, 1, 1, _dim(facade.wall, 0.62), 0.7)
    if shop:
        accent = dice.pick(((132, 34, 38), (26, 62, 104), (34, 84, 64), (58, 52, 50), (196, 140, 44)))
        canvas.rect(0.03, 0.1, 0.97, 0.27, accent)
        for letter in range(14):
            x = 0.22 + 0.04 * letter
            canvas.rect(x, 0.14 + dice.uniform(0, 0.03), x + 0.024, 0.23, (240, 234, 220))
        for x0, x1 in ((0.05, 0.4), (0.6, 0.95)):
            canvas.rect(x0, 0.3, x1, 0.88, (62, 60, 60))
            canvas.rect(
                x0 + 0.012, 0.32, x1 - 0.012, 0.86, (74, 84, 92) if domain.lit_windows < 0.2 else (226, 186, 120)
            )
            for item in range(6):
                x = x0 + 0.02 + item * (x1 - x0 - 0.04) / 6
                goods = (dice.uniform(70, 220), dice.uniform(60, 190), dice.uniform(60, 180))
                canvas.rect(x, dice.uniform(0.5, 0.7), x + 0.035, 0.86, goods)
            canvas.poly([(x0 + 0.02, 0.33), (x0 + 0.14, 0.33), (x0 + 0.04, 0.84), (x0 + 0.02, 0.84)], (150, 164, 174))
        door = (0.43, 0.57)
    else:
        for bay in (0, 2, 3):
            _window(canvas, facade, (bay + 0.28) / BAYS, 0.24, 0.44 / BAYS, 0.46, dice, domain.lit_windows)
        door = (0.3, 0.43)
    wood = dice.pick(((92, 58, 38), (44, 62, 52), (52, 50, 56), (110, 36, 32)))
    canvas.rect(door[0] - 0.012, 0.27, door[1] + 0.012, 1, _dim(facade.wall, 1.12), 0.6)
    canvas.rect(door[0], 0.3, door[1], 1, wood)
    canvas.rect(door[0] + 0.02, 0.34, door[1] - 0.02, 0.55, (84, 92, 100))
    canvas.rect(door[0] + 0.02, 0.62, door[1] - 0.02, 0.92, _dim(wood, 0.8))
    return _walled(canvas.texture(wraps=True), facade, key)


def _walled(texture: Texture, facade: Facade, key: int) -> Texture:
    """The texture with the grain of its wall, courses of brick or boards, and streaks of weather."""
    rgba = texture.rgba.astype(np.float32)
    height, width = rgba.shape[:2]
    shade = 0.05 * (white_noise((height, width), key) - 0.5) * 2
    shade += cloudy_noise(256, key, [(3, 0.05), (11, 0.05), (64, 0.06), (128, 0.05)])[:height, :width]
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    if facade.surface == "brick":
        course = rows // 4
        shade = shade - 0.16 * (rows % 4 == 0) - 0.1 * ((columns + 4 * (course % 2)) % 8 == 0)
        shade = shade + 0.16 * (
            white_noise((64, 64), key + 7)[course % 64, (columns + 4 * (course % 2)) // 8 % 64] - 0.5
        )
    elif facade.surface == "boards":
        shade = shade - 0.22 * (columns % 8 == 0) + 0.12 * (white_noise((1, 32), key + 7)[0, columns // 8 % 32] - 0.5)
    elif facade.surface == "concrete":
        shade = shade - 0.13 * ((rows % 64 == 0) | (columns % 64 == 0))
    on_wall = rgba[..., 3] > 127
    rgba[..., :3] *= np.where(on_wall, 1 + shade, 1 + 0.3 * shade)[..., None]
    return Texture(np.clip(np.round(rgba), 0, 255).astype(np.uint8), wraps=True)


def _tiles(key: int) -> Texture:
    """Roof tiles, painted grey and tinted by the roof; one texture is 4 m square."""
    image = np.full((128, 128), 205, np.float32)
    rows, columns = np.arange(128)[:, None], np.arange(128)[None, :]
    image += 60 * (white_noise((16, 16), key)[rows // 8, (columns + 4 * (rows // 8 % 2)) // 8 % 16] - 0.5)
    image -= 70 * (rows % 8 == 7) + 40 * ((columns + 4 * (rows // 8 % 2)) % 8 == 0)
    image += cloudy_noise(128, key, [(4, 10), (32, 12)])
    rgba = np.repeat(image[..., None], 4, axis=2)
    rgba[..., 3] = 255
    return Texture(np.clip(rgba, 0, 255).astype(np.uint8), wraps=True)


def _awning() -> Texture:
    canvas = Canvas(32, 128, (238, 234, 226))
    for stripe in range(8):
        canvas.rect(stripe / 8, 0, stripe / 8 + 0.0625, 1, (240, 240, 240), 1.0)
    return canvas.texture(grain=5, wraps=True)


def _dim(colour: RGB, factor: float) -> RGB:
    return min(colour[0] * factor, 255.0), min(colour[1] * factor, 255.0), min(colour[2] * factor, 255.0)
