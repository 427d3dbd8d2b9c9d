"""The light of a clip, drawn once, and its sky: a gradient and one layer of clouds at infinity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from fathomseg.data.world.canvas import Texture, cloudy_noise
from fathomseg.data.world.domains import Domain
from fathomseg.data.world.route import Clip, world_T_chunk

_SIZE = 512
_HEIGHT_SHARE = 0.22
"""How flat the cloud layer lies: smaller values crowd the clouds towards the horizon."""


@dataclass(frozen=True)
class Weather:
    """Angles in radians; `azimuth` is the heading of the sun, as for the street."""

    azimuth: float
    elevation: float
    shadow: float
    cloud_cover: float
    cloud_drift: tuple[float, float]
    fog_per_m: float
    exposure: float
    vignette: float

    @property
    def to_sun(self) -> Float64[np.ndarray, " 3"]:
        """Unit direction towards the sun in the world (y down)."""
        flat = np.cos(self.elevation)
        return np.array([flat * np.sin(self.azimuth), -np.sin(self.elevation), flat * np.cos(self.azimuth)])

    def shadow_per_m(self, clip: Clip, index: int) -> Float64[np.ndarray, " 2"]:
        """How far (x, z), in a chunk's own frame, the shade of a point moves per metre of its height."""
        local = world_T_chunk(clip, index).rotation.T @ self.to_sun
        return np.asarray(local[[0, 2]] / local[1])


@lru_cache(maxsize=1024)
def weather(clip: Clip) -> Weather:
    """Draw the light of a clip."""
    dice, look = clip.dice(5), clip.look
    return Weather(
        azimuth=dice.uniform(0.0, 2.0 * np.pi),
        elevation=float(np.deg2rad(dice.uniform(*look.sun_elevation_deg))),
        shadow=dice.uniform(*look.shadow),
        cloud_cover=dice.uniform(*look.cloud_cover),
        cloud_drift=(dice.uniform(0.0, 512.0), dice.uniform(0.0, 512.0)),
        fog_per_m=dice.uniform(*look.fog_per_m),
        exposure=dice.uniform(*look.exposure),
        vignette=dice.uniform(0.08, 0.22),
    )


def textures(domain: Domain) -> dict[str, Texture]:
    """Density of the clouds (in every channel); it repeats."""
    density = cloudy_noise(_SIZE, 500, [(4, 0.5), (9, 0.34), (19, 0.2), (41, 0.14), (90, 0.08), (200, 0.05)])
    grey = np.clip(127.5 + 127.5 * density, 0, 255).astype(np.uint8)
    return {"clouds": Texture(np.repeat(grey[..., None], 4, axis=2), wraps=True)}


def sky_colour(
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
