"""Flat four-cornered surfaces in arrays, and a sketch pad to collect them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Int32, UInt8

from fathomseg.data.world.atlas import Atlas
from fathomseg.data.world.domains import RGB

Point = tuple[float, float, float]
"""(right, up, forward) in metres."""
Repeat = tuple[float, float, float, float]
"""Texture coordinates (left, top, right, bottom), 1 = one whole texture."""

WHITE: RGB = (1.0, 1.0, 1.0)


def paint(colour: RGB) -> RGB:
    """A colour (0..255) as a tint: the gain on the near-white of what takes paint."""
    return colour[0] / 215, colour[1] / 215, colour[2] / 215


@dataclass(frozen=True)
class Quads:
    """`n` planar convex quads. Corners run bottom left, bottom right, top right, top left as seen from the front."""

    corners: Float64[np.ndarray, "n 4 3"]
    """x right, y down, z forward, metres."""
    uv: Float32[np.ndarray, "n 3 2"]
    """Texels at the bottom left, bottom right and top left corner; linear in between."""
    tint: Float32[np.ndarray, "n 3"]
    """Gain on the texture where it takes paint."""
    texture: Int32[np.ndarray, " n"]
    label: UInt8[np.ndarray, " n"]
    ground: UInt8[np.ndarray, " n"]
    """1 = road level, 2 = kerb level: where cast shadows fall; 0 = everything else."""
    thin: Bool[np.ndarray, " n"]
    """Seen from both sides and lit alike (leaves, people, signs)."""
    moving: Bool[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.label)

    def placed(self, x: float, z: float, heading: float = 0.0, up: float = 0.0) -> Quads:
        """The same surfaces turned by `heading` (radians, towards +x) about the vertical and put down at (x, z)."""
        return replace(self, corners=self.corners @ turn(heading).T + np.array([x, -up, z]))

    def taken(self, rows: Int[np.ndarray, " m"]) -> Quads:
        """Only these surfaces, in this order."""
        return Quads(*(getattr(self, f.name)[rows] for f in fields(Quads)))

    def tinted(self, tint: RGB) -> Quads:
        """The same surfaces with every tint multiplied."""
        return replace(self, tint=self.tint * np.array(tint, np.float32))


def turn(heading: float) -> Float64[np.ndarray, "3 3"]:
    """The rotation that takes +z to (sin heading, 0, cos heading)."""
    c, s = np.cos(heading), np.sin(heading)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def join(parts: Iterable[Quads]) -> Quads:
    """All quads of all parts, in order."""
    listed = list(parts)
    return Quads(*(np.concatenate([getattr(part, f.name) for part in listed]) for f in fields(Quads)))


class Sketch:
    """Collects quads one by one; textures are named."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._corners: list[Sequence[Point]] = []
        self._rest: list[tuple[int, Repeat, RGB, int, int, bool]] = []

    def quad(
        self,
        corners: Sequence[Point],
        texture: str,
        label: int,
        repeat: Repeat = (0.0, 0.0, 1.0, 1.0),
        tint: RGB = WHITE,
        ground: int = 0,
        thin: bool = False,
    ) -> None:
        """One quad by its four corners (bottom left, bottom right, top right, top left from the front)."""
        self._corners.append(corners)
        self._rest.append((self._atlas.index[texture], repeat, tint, label, ground, thin))

    def wall(
        self,
        left: tuple[float, float],
        right: tuple[float, float],
        low: float,
        high: float,
        texture: str,
        label: int,
        repeat: Repeat = (0.0, 0.0, 1.0, 1.0),
        tint: RGB = WHITE,
        thin: bool = False,
    ) -> None:
        """An upright rectangle from `left` to `right`, given as (right, forward), seen from its front."""
        (x0, z0), (x1, z1) = left, right
        corners = ((x0, low, z0), (x1, low, z1), (x1, high, z1), (x0, high, z0))
        self.quad(corners, texture, label, repeat, tint, thin=thin)

    def box(
        self,
        x: tuple[float, float],
        up: tuple[float, float],
        z: tuple[float, float],
        texture: str,
        label: int,
        tint: RGB = WHITE,
        top: str | None = None,
    ) -> None:
        """The four sides and the top of a box; there is no bottom."""
        (x0, x1), (low, high), (z0, z1) = x, up, z
        ring = ((x0, z0), (x1, z0), (x1, z1), (x0, z1))
        for side in range(4):
            self.wall(ring[side], ring[(side + 1) % 4], low, high, texture, label, tint=tint)
        corners = ((x0, high, z0), (x1, high, z0), (x1, high, z1), (x0, high, z1))
        self.quad(corners, top or texture, label, tint=tint)

    def build(self) -> Quads:
        """Everything drawn so far, as arrays."""
        count = len(self._corners)
        corners = np.array(self._corners, np.float64).reshape(count, 4, 3) * np.array([1.0, -1.0, 1.0])
        texture, repeat, tint, label, ground, thin = zip(*self._rest, strict=True) if count else ((),) * 6
        index = np.array(texture, np.int32)
        r = np.array(repeat, np.float32).reshape(count, 4)
        uv = np.stack([r[:, [0, 3]], r[:, [2, 3]], r[:, [0, 1]]], axis=1) * self._atlas.size[index][:, None]
        return Quads(
            corners=corners,
            uv=uv,
            tint=np.array(tint, np.float32).reshape(count, 3),
            texture=index,
            label=np.array(label, np.uint8),
            ground=np.array(ground, np.uint8),
            thin=np.array(thin, np.bool_),
            moving=np.zeros(count, np.bool_),
        )
