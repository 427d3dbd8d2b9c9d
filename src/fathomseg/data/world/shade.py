"""What colour each sample has: texture, light on the surface, cast shade, fog, sky, and at last the camera's response."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

from fathomseg.data.world import sky
from fathomseg.data.world.atlas import Atlas
from fathomseg.data.world.dice import white_noise
from fathomseg.data.world.domains import Domain
from fathomseg.data.world.raster import Grid, Seen, View
from fathomseg.data.world.weather import Weather

Colour = Float32[np.ndarray, "h w 3"]


def albedo(view: View, seen: Seen, atlas: Atlas, grid: Grid) -> UInt8[np.ndarray, "h w 4"]:
    """The texture at every sample, from the copy whose texels are about as large as the sample."""
    forms = np.concatenate([view.texel.reshape(-1, 6), np.zeros((len(view.quads), 1))], axis=1)
    forms[:, 6] = np.abs(np.linalg.det(np.concatenate([view.texel, view.inverse_depth[:, None]], axis=1)))
    table = np.concatenate([forms, np.zeros((1, 7))]).astype(np.float32).T.copy()
    texture = np.append(view.quads.texture, 0)
    surface, depth = seen.surface, 1.0 / np.maximum(seen.inverse_depth, np.float32(1e-6))
    column = np.arange(grid.width, dtype=np.float32)[None, :]
    row = np.arange(grid.height, dtype=np.float32)[:, None]
    place = []
    for k in (0, 3):
        coordinate = table[k][surface] * column
        coordinate += table[k + 1][surface] * row
        coordinate += table[k + 2][surface]
        coordinate *= depth
        place.append(coordinate)
    level = _level(table[6][surface] * depth * depth * depth)
    np.minimum(level, (atlas.levels[texture] - 1)[surface], out=level)
    copy = atlas.first[texture][surface] + level
    shrink = np.ldexp(np.float32(1.0), -level)
    maps = []
    for axis, coordinate in enumerate(place):
        coordinate *= shrink
        extent = atlas.extent[:, axis][copy]
        coordinate -= extent * np.floor(coordinate / extent)
        coordinate += (atlas.origin[:, axis] - np.float32(0.5))[copy]
        maps.append(coordinate)
    return np.asarray(cv2.remap(atlas.rgba, maps[0], maps[1], cv2.INTER_LINEAR))


def _level(area: Float32[np.ndarray, "h w"]) -> Int32[np.ndarray, "h w"]:
    """round(log2(area) / 2), at least 0, read off the exponent of the floating-point number."""
    exponent = ((area + area).view(np.int32) >> 23) - 127
    return np.maximum(exponent >> 1, 0)


def light(
    view: View, weather: Weather, domain: Domain, to_sun: Float64[np.ndarray, 3], up: Float64[np.ndarray, 3]
) -> Float32[np.ndarray, "n 3"]:
    """Gain on the colour of every surface: the sky from above, and the sun by the cosine of its angle.

    `to_sun` and `up` are unit vectors in camera axes. Thin surfaces scatter the light, so they get the same from all sides.
    """
    facing = np.maximum(view.normal @ to_sun, 0.0)
    facing = np.where(view.quads.thin, 0.5, facing)
    open_sky = np.where(view.quads.thin, 0.92, 0.8 + 0.2 * (view.normal @ up))
    gain = open_sky[:, None] * np.array(domain.ambient) + facing[:, None] * np.array(domain.sun)
    return (gain * weather.exposure).astype(np.float32)


def surfaces(
    view: View,
    seen: Seen,
    texture: UInt8[np.ndarray, "h w 4"],
    gain: Float32[np.ndarray, "n 3"],
    shade: Float32[np.ndarray, "h w"],
    fog_per_m: float,
    haze: Float32[np.ndarray, 3],
) -> Colour:
    """Textures lit, tinted where they take paint, darkened by `shade` (a factor), and fading into `haze` with distance."""
    black = np.zeros((1, 3), np.float32)
    plain = np.concatenate([gain, black])
    extra = np.concatenate([gain * (view.quads.tint - 1.0) / np.float32(255.0), black])
    factor = extra[seen.surface]
    factor *= texture[..., 3:]
    factor += plain[seen.surface]
    clear = np.exp(-np.float32(fog_per_m) / np.maximum(seen.inverse_depth, np.float32(1e-4)))
    factor *= (shade * clear)[..., None]
    factor *= texture[..., :3]
    factor += (1.0 - clear)[..., None] * haze
    return np.asarray(factor, np.float32)


def paint_sky(
    colour: Colour, empty: Bool[np.ndarray, "h w"], grid: Grid, atlas: Atlas, domain: Domain, weather: Weather,
    world_R_cam: Float64[np.ndarray, "3 3"],
) -> None:  # fmt: skip
    """Fill the samples that see no surface."""
    row, column = np.nonzero(empty)
    if not len(row):
        return
    rays = np.stack([grid.x0 + column * grid.dx, grid.y0 + row * grid.dy, np.ones(len(row))], axis=1) @ world_R_cam.T
    first = atlas.first[atlas.index["clouds"]]
    x, y = (int(v) for v in atlas.origin[first])
    w, h = (int(v) for v in atlas.extent[first])
    density = np.ascontiguousarray(atlas.rgba[y : y + h, x : x + w, 0])
    found = sky.colour(rays, density, domain, weather.cloud_cover, weather.cloud_drift, weather.to_sun)
    colour[row, column] = found * np.float32(weather.exposure)


def develop(colour: Colour, weather: Weather, noise: float, key: int) -> UInt8[np.ndarray, "h w 3"]:
    """From samples to the picture: a tent filter over 3x3 samples around each pixel centre, vignette, grain, shoulder."""
    height, width = (colour.shape[0] - 1) // 2, (colour.shape[1] - 1) // 2
    rows = 0.5 * colour[1::2] + 0.25 * (colour[:-1:2] + colour[2::2])
    pixels = 0.5 * rows[:, 1::2] + 0.25 * (rows[:, :-1:2] + rows[:, 2::2])
    y = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
    x = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :]
    pixels *= (1.0 - np.float32(weather.vignette) * (0.35 * y * y + 0.65 * x * x))[..., None]
    pixels += (
        np.float32(noise * 2.45) * (_grain((height, width), key) + _grain((height, width), key + 1) - 1.0)[..., None]
    )
    over = np.maximum(pixels - 200.0, 0.0)
    pixels -= over * over / (over + 90.0)
    return np.clip(pixels + 0.5, 0.0, 255.0).astype(np.uint8)


def _grain(shape: tuple[int, int], key: int) -> Float32[np.ndarray, "h w"]:
    return white_noise(shape, key)
