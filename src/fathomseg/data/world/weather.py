"""The light of a clip: sun, clouds, fog and exposure, drawn once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64

from fathomseg.data.world.route import Clip, world_T_chunk


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
