"""What colour each sample has: texture, light on the surface, cast shade, fog, sky, and the camera's response.

Colours of samples are kept as planes (channel first), which numpy adds and multiplies fastest.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8

from fathomseg.data.world.atlas import Atlas
from fathomseg.data.world.dice import bell_noise
from fathomseg.data.world.domains import Domain
from fathomseg.data.world.raster import Seen
from fathomseg.data.world.view import Grid, View
from fathomseg.data.world.weather import Weather, sky_colour

Planes = Float32[np.ndarray, "3 h w"]
Index = Int64[np.ndarray, "h w"]

_SKY_STEP = 4
"""The sky is smooth: it is painted at every fourth sample and interpolated."""


def albedo(view: View, surface: Index, seen: Seen, atlas: Atlas, grid: Grid) -> UInt8[np.ndarray, "h w 4"]:
    """The texture at every sample, from the copy whose texels are about as large as the sample."""
    area = np.abs(np.linalg.det(np.concatenate([view.texel, view.inverse_depth[:, None]], axis=1)))
    texture = np.append(view.quads.texture, 0)
    depth = 1.0 / np.maximum(seen.inverse_depth, np.float32(1e-6))
    level = _level(_spread(area, surface) * depth * depth * depth)
    copy = (atlas.first[texture] + atlas.levels[texture] - 1).astype(np.intp).take(surface)
    np.minimum(copy, atlas.first[texture].astype(np.intp).take(surface) + level, out=copy)
    maps = []
    for axis in range(2):
        coordinate = _form(view.texel[:, axis] / atlas.size[view.quads.texture, axis, None], surface, grid)
        coordinate *= depth
        coordinate -= np.floor(coordinate)
        coordinate *= atlas.extent[:, axis].take(copy)
        coordinate += (atlas.origin[:, axis] - np.float32(0.5)).take(copy)
        maps.append(coordinate)
    return np.asarray(cv2.remap(atlas.rgba, maps[0], maps[1], cv2.INTER_LINEAR))


def _spread(values: Float64[np.ndarray, " n"], surface: Index) -> Float32[np.ndarray, "h w"]:
    """The value of the surface at each sample; 0 where there is none."""
    return np.append(values, 0.0).astype(np.float32).take(surface)


def _form(form: Float64[np.ndarray, "n 3"], surface: Index, grid: Grid) -> Float32[np.ndarray, "h w"]:
    """The linear form of the surface at each sample."""
    value = _spread(form[:, 0], surface)
    value *= np.arange(grid.width, dtype=np.float32)[None, :]
    value += _spread(form[:, 1], surface) * np.arange(grid.height, dtype=np.float32)[:, None]
    value += _spread(form[:, 2], surface)
    return value


def _level(area: Float32[np.ndarray, "h w"]) -> Int32[np.ndarray, "h w"]:
    """round(log2(area) / 2), at least 0, read off the exponent of the floating-point number."""
    exponent = ((area + area).view(np.int32) >> 23) - 127
    return np.asarray(np.maximum(exponent >> 1, 0))


def light(
    view: View, weather: Weather, domain: Domain, to_sun: Float64[np.ndarray, " 3"], up: Float64[np.ndarray, " 3"]
) -> Float64[np.ndarray, "n 3"]:
    """Gain on the colour of every surface: the sky from above, and the sun by the cosine of its angle.

    `to_sun` and `up` are unit vectors in camera axes. Thin surfaces scatter the light, the same to all sides.
    """
    facing = np.where(view.quads.thin, 0.5, np.maximum(view.normal @ to_sun, 0.0))
    open_sky = np.where(view.quads.thin, 0.92, 0.8 + 0.2 * (view.normal @ up))
    gain = open_sky[:, None] * np.array(domain.ambient) + facing[:, None] * np.array(domain.sun)
    return np.asarray(gain * weather.exposure)


def surfaces(
    view: View,
    surface: Index,
    texture: UInt8[np.ndarray, "h w 4"],
    gain: Float64[np.ndarray, "n 3"],
    brightness: Float32[np.ndarray, "h w"],
    clear: Float32[np.ndarray, "h w"],
    haze: tuple[float, float, float],
) -> Planes:
    """Textures lit, tinted where they take paint, times `brightness`, fading into `haze` by 1 - `clear`."""
    planes = np.empty((3, *surface.shape), np.float32)
    extra = gain * (view.quads.tint - 1.0) / 255.0
    paint, brightness, veil = texture[..., 3].astype(np.float32), brightness * clear, 1.0 - clear
    for channel, plane in enumerate(planes):
        np.multiply(_spread(extra[:, channel], surface), paint, out=plane)
        plane += _spread(gain[:, channel], surface)
        plane *= brightness
        plane *= texture[..., channel]
        plane += veil * np.float32(haze[channel])
    return planes


def paint_sky(
    planes: Planes,
    empty: Bool[np.ndarray, "h w"],
    grid: Grid,
    atlas: Atlas,
    domain: Domain,
    weather: Weather,
    world_R_cam: Float64[np.ndarray, "3 3"],
) -> None:
    """Fill the samples that see no surface."""
    rows = np.flatnonzero(empty.any(axis=1))
    if not len(rows):
        return
    height, width = int(rows[-1]) + 1, grid.width
    y = grid.y0 + _SKY_STEP * grid.dy * np.arange((height - 1) // _SKY_STEP + 2)
    x = grid.x0 + _SKY_STEP * grid.dx * np.arange((width - 1) // _SKY_STEP + 2)
    rays = np.stack(np.broadcast_arrays(x[None, :], y[:, None], 1.0), axis=2) @ world_R_cam.T
    first = atlas.first[atlas.index["clouds"]]
    (left, top), (w, h) = atlas.origin[first].astype(int), atlas.extent[first].astype(int)
    density = np.ascontiguousarray(atlas.rgba[top : top + h, left : left + w, 0])
    coarse = sky_colour(rays, density, domain, weather.cloud_cover, weather.cloud_drift, weather.to_sun)
    shrink = np.array([[1 / _SKY_STEP, 0, 0], [0, 1 / _SKY_STEP, 0]])
    fine = cv2.warpAffine(coarse, shrink, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    for channel in range(3):
        np.copyto(planes[channel, :height], fine[..., channel] * weather.exposure, where=empty[:height])


def develop(planes: Planes, weather: Weather, noise: float, key: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """From samples to the picture: a tent filter over 3x3 samples around each pixel, vignette, grain and shoulder."""
    height, width = (planes.shape[1] - 1) // 2, (planes.shape[2] - 1) // 2
    rows = 0.5 * planes[:, 1::2] + 0.25 * (planes[:, :-1:2] + planes[:, 2::2])
    pixels = 0.5 * rows[..., 1::2] + 0.25 * (rows[..., :-1:2] + rows[..., 2::2])
    y = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
    x = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :]
    pixels *= 1.0 - np.float32(weather.vignette) * (0.35 * y * y + 0.65 * x * x)
    pixels += bell_noise((height, width), key) * np.float32(noise)
    over = np.maximum(pixels - 200.0, 0.0)
    pixels -= over * over / (over + 90.0)
    return np.ascontiguousarray(np.clip(pixels + 0.5, 0.0, 255.0).astype(np.uint8).transpose(1, 2, 0))
