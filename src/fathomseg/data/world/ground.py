"""What the ground is made of: asphalt with lane markings, pavements, kerbs, grass and paving."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32

from fathomseg.data.world.canvas import Texture, cloudy_noise
from fathomseg.data.world.dice import Dice, white_noise
from fathomseg.data.world.domains import RGB, Domain

CHUNK_M = 20.0
"""Length of one piece of street, and of the road texture."""
LANE_SHARE = 0.62
"""Part of the half road width that belongs to the moving lane; the rest is the parking lane."""

_ROAD = 512
Image = Float32[np.ndarray, "h w 3"]


def textures(domain: Domain) -> dict[str, Texture]:
    """All ground textures by name."""
    made: dict[str, Texture] = {}
    for variant in range(2):
        made[f"road_parking_{variant}"] = _finish(_marked(_asphalt(domain, 10 + variant), parking=True))
        made[f"road_plain_{variant}"] = _finish(_marked(_asphalt(domain, 20 + variant), parking=False))
    made["crossing"] = _finish(_crossing(_asphalt(domain, 30)))
    made["side_road"] = _finish(_asphalt(domain, 31)[::2, ::2])
    for variant in range(2):
        made[f"pavement_{variant}"] = _finish(_slabs(domain.pavement, rows=4 + 4 * variant, key=40 + variant))
    made["paving"] = _finish(_slabs(_scaled(domain.pavement, 0.86), rows=8, key=44))
    made["kerb"] = _finish(_kerb(domain.pavement))
    made["grass"] = _finish(_grass(domain.grass, 50))
    made["soil"] = _finish(_grass(_scaled(domain.grass, 0.9), 51))
    return made


def _finish(image: Image) -> Texture:
    rgba = np.zeros((*image.shape[:2], 4), np.uint8)
    rgba[..., :3] = np.clip(np.round(image), 0, 255)
    return Texture(rgba, wraps=True)


def _scaled(colour: RGB, factor: float) -> RGB:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def _flat(size: int, colour: RGB) -> Image:
    return np.broadcast_to(np.array(colour, np.float32), (size, size, 3)).copy()


def _asphalt(domain: Domain, key: int) -> Image:
    """Aggregate, wheel tracks, stains, patches of newer tar, cracks and manhole covers."""
    image, dice = _flat(_ROAD, domain.asphalt), Dice(key)
    image += cloudy_noise(_ROAD, key, [(5, 9), (17, 9), (53, 9), (128, 12)])[..., None]
    image += 26 * (white_noise((_ROAD, _ROAD, 1), key) - 0.5)
    across = (np.arange(_ROAD, dtype=np.float32) + 0.5) / _ROAD * 2 - 1
    for track in (-0.45, -0.17, 0.17, 0.45):
        image -= 7 * np.exp(-(((across - track) / 0.05) ** 2))[None, :, None]
    for _ in range(5):
        x, y, w, h = dice.below(_ROAD), dice.below(_ROAD), 24 + dice.below(90), 30 + dice.below(120)
        image[y : y + h, x : x + w] += dice.uniform(-22, 10)
    for _ in range(9):
        points = np.cumsum([[dice.below(_ROAD), dice.below(_ROAD)]] + [
            [dice.uniform(-16, 16), dice.uniform(4, 26)] for _ in range(10)
        ], axis=0)  # fmt: skip
        cv2.polylines(image, [points.astype(np.int32)], False, _scaled(domain.asphalt, 0.7), 1, cv2.LINE_AA)
    for _ in range(2):
        centre, dark = (dice.below(_ROAD), dice.below(_ROAD)), _scaled(domain.asphalt, 0.5)
        cv2.ellipse(image, centre, (15, 9), 0, 0, 360, dark, -1, cv2.LINE_AA)
        cv2.ellipse(image, centre, (11, 6), 0, 0, 360, _scaled(domain.asphalt, 0.72), 2, cv2.LINE_AA)
    return image


def _worn(image: Image, mask: Float32[np.ndarray, "h w"], key: int) -> Image:
    """Paint the mask in road white, with the asphalt showing through where it is worn."""
    wear = np.clip(0.86 + cloudy_noise(_ROAD, key, [(40, 0.3), (128, 0.35)]), 0, 1) * mask
    return np.asarray(image + wear[..., None] * (np.float32(226) - image), np.float32)


def _bars(spans: list[tuple[float, float, float, float]]) -> Float32[np.ndarray, "h w"]:
    """A mask of rectangles (x0, x1, y0, y1) in fractions."""
    mask = np.zeros((_ROAD, _ROAD), np.float32)
    for x0, x1, y0, y1 in spans:
        mask[round(y0 * _ROAD) : round(y1 * _ROAD), round(x0 * _ROAD) : round(x1 * _ROAD)] = 1
    return mask


def _marked(image: Image, parking: bool) -> Image:
    """A dashed centre line (3 m on, 3.7 m off); beside the lane either a parking line or a solid edge line."""
    spans = [(0.494, 0.506, k / 3 + 0.05, k / 3 + 0.2) for k in range(3)]
    if parking:
        image[:, : round((0.5 - LANE_SHARE / 2) * _ROAD)] += 9
        image[:, round((0.5 + LANE_SHARE / 2) * _ROAD) :] += 9
        for edge in (0.5 - LANE_SHARE / 2, 0.5 + LANE_SHARE / 2):
            spans += [(edge - 0.006, edge + 0.006, k / 12, k / 12 + 0.05) for k in range(12)]
    else:
        spans += [(0.028, 0.04, 0.0, 1.0), (0.96, 0.972, 0.0, 1.0)]
    return _worn(image, _bars(spans), 60 + parking)


def _crossing(image: Image) -> Image:
    """Stop lines and two zebra crossings with the junction between them; the top of the texture is the far end."""
    zebra = [(k / 12 + 0.02, k / 12 + 0.062, y, y + 0.15) for k in range(12) for y in (0.03, 0.82)]
    return _worn(image, _bars([*zebra, (0.52, 0.97, 0.985, 1.0), (0.03, 0.48, 0.0, 0.015)]), 70)


def _slabs(colour: RGB, rows: int, key: int) -> Image:
    """Paving slabs in staggered rows, each of its own grey, with dark joints. One texture is 2.4 m square."""
    size, dice = 256, Dice(key)
    image, step = _flat(size, colour), 256 // rows
    for row in range(rows):
        for column in range(rows):
            x = column * step + (row % 2) * step // 2
            window = np.arange(x, x + step) % size
            image[row * step : (row + 1) * step, window] += dice.uniform(-15, 15)
            image[row * step : (row + 1) * step, window[:1]] -= 40
        image[row * step] -= 40
    image += cloudy_noise(size, key, [(3, 9), (16, 8), (64, 9)])[..., None]
    return np.asarray(image + 16 * (white_noise((size, size, 1), key) - 0.5), np.float32)


def _kerb(colour: RGB) -> Image:
    image = _flat(128, _scaled(colour, 1.06)) + cloudy_noise(128, 80, [(8, 12), (64, 14)])[..., None]
    image[:, ::64] -= 60
    return np.asarray(image, np.float32)


def _grass(colour: RGB, key: int) -> Image:
    """Tufts at three scales; blades lean, so the finest noise is stretched along one axis."""
    size = 256
    shade = cloudy_noise(size, key, [(4, 0.14), (13, 0.13), (48, 0.16), (128, 0.18)])
    blades = cv2.blur(white_noise((size, size), key) - 0.5, (1, 3), borderType=cv2.BORDER_REFLECT)
    hue = cloudy_noise(size, key + 100, [(6, 9), (32, 9)])[..., None] * np.array([1.0, 0.25, -0.3], np.float32)
    return np.asarray(_flat(size, colour) * (1 + shade + 0.45 * blades)[..., None] + hue, np.float32)
