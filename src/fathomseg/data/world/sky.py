"""The sky: a gradient and one layer of clouds at infinity, coloured by the direction of view alone."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from fathomseg.data.world.canvas import Texture, cloudy_noise
from fathomseg.data.world.domains import Domain

_SIZE = 512
_HEIGHT_SHARE = 0.22
"""How flat the cloud layer lies: smaller values crowd the clouds towards the horizon."""


def textures(domain: Domain) -> dict[str, Texture]:
    """Density of the clouds (in every channel); it repeats."""
    density = cloudy_noise(_SIZE, 500, [(4, 0.5), (9, 0.34), (19, 0.2), (41, 0.14), (90, 0.08), (200, 0.05)])
    grey = np.clip(127.5 + 127.5 * density, 0, 255).astype(np.uint8)
    return {"clouds": Texture(np.repeat(grey[..., None], 4, axis=2), wraps=True)}


def colour(
    rays: Float64[np.ndarray, "h w 3"],
    density: UInt8[np.ndarray, "s s"],
    domain: Domain,
    cover: float,
    drift: tuple[float, float],
    sun: Float64[np.ndarray, " 3"],
) -> Float32[np.ndarray, "h w 3"]:
    """RGB (0..255) of the sky along world directions (y down, any length).

    `density` is the repeating cloud picture (0..255), `cover` the share of the sky it closes (0..1), `drift` where in
    the picture the zenith lies (texels), `sun` the unit direction towards the sun.
    """
    unit = (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).astype(np.float32)
    up = np.maximum(-unit[..., 1], 0.0)
    haze = np.exp(-up * 5.0)[..., None]
    base = np.array(domain.zenith, np.float32) * (1 - haze) + np.array(domain.horizon, np.float32) * haze
    glow = np.maximum(unit @ sun.astype(np.float32), 0.0) ** 12
    base += 38.0 * glow[..., None] * np.array(domain.sun, np.float32) / max(domain.sun)
    scale = _SIZE * 0.3 / (up + _HEIGHT_SHARE)
    x = (unit[..., 0] * scale + np.float32(drift[0])) % _SIZE
    y = (unit[..., 2] * scale + np.float32(drift[1])) % _SIZE
    cloud = cv2.remap(density, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP).astype(np.float32)
    amount = np.clip((cloud / 255.0 - (0.86 - 0.72 * cover)) * 3.2, 0.0, 1.0)[..., None]
    lit = np.array(domain.cloud, np.float32) * (1.0 - 0.16 * np.clip(amount * 1.4 - 0.5, 0, 1))
    amount = amount * (0.35 + 0.65 * (1 - haze))
    return np.asarray(base * (1 - amount) + lit * amount, np.float32)
