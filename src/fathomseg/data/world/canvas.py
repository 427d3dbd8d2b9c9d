"""A small drawing board for textures: flat shapes at three times the size, then reduced, so that edges are smooth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from fathomseg.data.world.dice import white_noise
from fathomseg.data.world.domains import RGB

_OVERSAMPLE = 3
_SHIFT = 4
"""Fractional bits of OpenCV's sub-pixel coordinates."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Texture:
    """What is painted on a surface: RGB, and in the fourth channel how much of the surface's own tint it takes."""

    rgba: UInt8[np.ndarray, "h w 4"]
    cover: UInt8[np.ndarray, "h w"] | None = None
    """Where there is any surface at all (above 127); None = everywhere."""
    wraps: bool = False
    """Whether it repeats; sizes are then powers of two."""


class Canvas:
    """Draws in fractions of the width and height, (0, 0) = top left. Nothing is covered until something is drawn."""

    def __init__(self, height: int, width: int, ground: RGB | None = None, paint: float = 0.0) -> None:
        self.height, self.width = height, width
        shape = (height * _OVERSAMPLE, width * _OVERSAMPLE)
        self._rgba = np.zeros((*shape, 4), np.uint8)
        self._cover = np.zeros(shape, np.uint8)
        self._unit = np.array([shape[1], shape[0]], np.float64) * (1 << _SHIFT)
        if ground is not None:
            self.rect(0, 0, 1, 1, ground, paint)

    def poly(self, points: Sequence[Point], colour: RGB, paint: float = 0.0) -> None:
        """A filled polygon."""
        fixed = [np.round(np.array(points) * self._unit - (1 << (_SHIFT - 1))).astype(np.int32)]
        cv2.fillPoly(self._rgba, fixed, (*colour, paint * 255), cv2.LINE_8, _SHIFT)
        cv2.fillPoly(self._cover, fixed, 255, cv2.LINE_8, _SHIFT)

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: RGB, paint: float = 0.0) -> None:
        """A filled rectangle."""
        h, w = self._cover.shape
        window = (
            slice(max(round(y0 * h), 0), max(round(y1 * h), 0)),
            slice(max(round(x0 * w), 0), max(round(x1 * w), 0)),
        )
        self._rgba[window] = [*(int(c) for c in colour), int(paint * 255)]
        self._cover[window] = 255

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: RGB, paint: float = 0.0) -> None:
        """A filled ellipse with the given centre and radii."""
        angle = np.linspace(0.0, 2.0 * np.pi, 28, endpoint=False)
        self.poly([(x + rx * np.cos(a), y + ry * np.sin(a)) for a in angle], colour, paint)

    def line(self, start: Point, end: Point, width: float, colour: RGB, paint: float = 0.0) -> None:
        """A straight bar; `width` is a fraction of the canvas width."""
        size = np.array([self.width, self.height], np.float64)
        a, b = np.array(start) * size, np.array(end) * size
        along = (b - a) / max(float(np.hypot(*(b - a))), 1e-9)
        across = np.array([-along[1], along[0]]) * width * self.width / 2
        corners = [(a + across) / size, (b + across) / size, (b - across) / size, (a - across) / size]
        self.poly([(float(x), float(y)) for x, y in corners], colour, paint)

    def texture(self, grain: float = 0.0, key: int = 1, wraps: bool = False) -> Texture:
        """The finished texture, with `grain` levels of fine noise. Colours run on beyond what is covered."""
        size = (self.width, self.height)
        cover = cv2.resize(self._cover, size, interpolation=cv2.INTER_AREA)
        weight = (self._cover > 0).astype(np.float32)[..., None]
        solid = cv2.resize(self._rgba.astype(np.float32) * weight, size, interpolation=cv2.INTER_AREA)
        solid /= np.maximum(cover.astype(np.float32) / 255.0, 1e-3)[..., None]
        if cover.min() < 255:
            solid = _run_on(solid, cover)
        if grain:
            solid[..., :3] += grain * 3.4 * (white_noise((self.height, self.width, 1), key) - 0.5)
        rgba = np.clip(np.round(solid), 0, 255).astype(np.uint8)
        return Texture(rgba, cover if cover.min() < 255 else None, wraps)


def _run_on(rgba: Float32[np.ndarray, "h w 4"], cover: UInt8[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 4"]:
    """Fill what is not covered with the colours nearby, so that filtering at a silhouette mixes in nothing foreign."""
    inside = (cover > 127).astype(np.float32)
    near, weight = rgba * inside[..., None], inside.copy()
    result, known = near.copy(), inside > 0
    for radius in (3, 9, 33, 129):
        blurred, mass = cv2.blur(near, (radius, radius)), cv2.blur(weight, (radius, radius))
        fresh = ~known & (mass > 1e-4)
        result[fresh] = blurred[fresh] / mass[fresh][:, None]
        known |= fresh
    return result


def cloudy_noise(size: int, key: int, octaves: Sequence[tuple[int, float]]) -> Float32[np.ndarray, "size size"]:
    """Repeating smooth noise with mean about 0: a sum of (cells across, amplitude) octaves of interpolated noise."""
    total = np.zeros((size, size), np.float32)
    for index, (cells, amplitude) in enumerate(octaves):
        grid = np.pad(white_noise((cells, cells), key * 64 + index) - 0.5, 2, mode="wrap")
        scale = size / cells
        step = (np.arange(size, dtype=np.float32) + 0.5) / scale + 1.5
        x, y = np.meshgrid(step, step)
        total += np.float32(2.0 * amplitude) * cv2.remap(grid, x, y, cv2.INTER_CUBIC)
    return total
