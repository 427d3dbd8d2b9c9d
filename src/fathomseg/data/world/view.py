"""Surfaces as the camera sees them: depth, texture and edges as linear forms on the places of samples.

A ray is r = (x, y, 1) with point = z * r. A plane through p with normal n is n.point = n.p, so inverse depth along a
ray is the linear form w = (n / n.p).r. A sample lies inside the edge from a to b where (a x b).r has the sign of n.p
(Olano and Greer, 1997): homogeneous, so surfaces that reach behind the camera need no clipping.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int32

from fathomseg.data.world.mesh import Quads

NEAR_M = 0.15
"""Nothing nearer than this is looked for."""


@dataclass(frozen=True)
class Grid:
    """Where samples lie: sample (row, column) looks along (x0 + column * dx, y0 + row * dy, 1)."""

    height: int
    width: int
    x0: float
    y0: float
    dx: float
    dy: float

    @property
    def to_samples(self) -> Float64[np.ndarray, "3 3"]:
        """A linear form on rays (as a row vector) times this is the form on (column, row, 1)."""
        return np.array([[self.dx, 0.0, self.x0], [0.0, self.dy, self.y0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class View:
    """The surfaces that may be seen, as linear forms on (column, row, 1)."""

    quads: Quads
    inverse_depth: Float64[np.ndarray, "n 3"]
    texel: Float64[np.ndarray, "n 2 3"]
    """Texture coordinates times inverse depth."""
    edges: Float64[np.ndarray, "n 4 3"]
    """Not negative inside."""
    box: Int32[np.ndarray, "n 4"]
    """First and end row, first and end column."""
    normal: Float64[np.ndarray, "n 3"]
    """Unit, camera axes, on the side that is seen."""
    level: Int32[np.ndarray, " n"]
    """The texture copy that suits the surface on the whole; holes are cut by it."""


def look(quads: Quads, grid: Grid) -> View:
    """Prepare surfaces in camera axes for drawing, leaving out those that face away or lie outside the image."""
    quads = quads.taken(np.flatnonzero(_in_sight(quads.corners, grid)))
    corner = quads.corners[:, 0]
    right, up = quads.corners[:, 1] - corner, quads.corners[:, 3] - corner
    normal = np.cross(right, up)
    distance = np.einsum("ni,ni->n", normal, corner)
    box = _boxes(quads.corners, grid)
    seen = (box[:, 1] > box[:, 0]) & (box[:, 3] > box[:, 2]) & ((distance < -1e-9) | (quads.thin & (distance > 1e-9)))
    keep = np.flatnonzero(seen)
    quads = quads.taken(keep)
    corner, right, up, normal, distance, box = (a[keep] for a in (corner, right, up, normal, distance, box))
    forms = grid.to_samples
    plane = normal / distance[:, None]
    edges = np.cross(quads.corners, np.roll(quads.corners, -1, axis=1)) * np.sign(distance)[:, None, None]
    texel = _texel_forms(quads, corner, right, up, plane)
    inverse_depth, texel = plane @ forms, texel @ forms
    facing = -normal * (np.sign(distance) / np.linalg.norm(normal, axis=1))[:, None]
    level = _levels(inverse_depth, texel, box)
    return View(quads, inverse_depth, texel, edges @ forms, box, facing, level)


def _in_sight(corners: Float64[np.ndarray, "n 4 3"], grid: Grid) -> Bool[np.ndarray, " n"]:
    """False for quads that lie wholly behind the camera or beyond one side of the image."""
    x, y, z = (np.ascontiguousarray(corners[..., k]) for k in range(3))
    x1, y1 = grid.x0 + grid.width * grid.dx, grid.y0 + grid.height * grid.dy
    inside = [z > NEAR_M, x > grid.x0 * z, x < x1 * z, y > grid.y0 * z, y < y1 * z]
    return np.asarray(np.logical_and.reduce([side.any(axis=1) for side in inside]))


def _boxes(corners: Float64[np.ndarray, "n 4 3"], grid: Grid) -> Int32[np.ndarray, "n 4"]:
    """The sample rows and columns a quad can touch: those of its corners in front, and of its cuts near the camera."""
    z = corners[..., 2]
    following = np.roll(corners, -1, axis=1)
    step = following[..., 2] - z
    share = np.clip((NEAR_M - z) / np.where(np.abs(step) < 1e-9, 1e-9, step), 0.0, 1.0)
    cut = corners + share[..., None] * (following - corners)
    points = np.concatenate([corners, cut], axis=1)
    crosses = (z < NEAR_M) != (following[..., 2] < NEAR_M)
    valid = np.concatenate([z >= NEAR_M, crosses], axis=1)
    depth = np.maximum(points[..., 2], NEAR_M)
    column = (points[..., 0] / depth - grid.x0) / grid.dx
    row = (points[..., 1] / depth - grid.y0) / grid.dy
    limits = [
        np.ceil(np.where(valid, row, np.inf).min(axis=1)),
        np.floor(np.where(valid, row, -np.inf).max(axis=1)) + 1,
        np.ceil(np.where(valid, column, np.inf).min(axis=1)),
        np.floor(np.where(valid, column, -np.inf).max(axis=1)) + 1,
    ]
    high = np.array([grid.height, grid.height, grid.width, grid.width])
    return np.asarray(np.clip(np.stack(limits, axis=1), 0, high), np.int32)


def _texel_forms(
    quads: Quads,
    corner: Float64[np.ndarray, "n 3"],
    right: Float64[np.ndarray, "n 3"],
    up: Float64[np.ndarray, "n 3"],
    plane: Float64[np.ndarray, "n 3"],
) -> Float64[np.ndarray, "n 2 3"]:
    """Texture coordinates over depth, as forms on rays: u = u0 + g.(point - corner), g from the dual basis."""
    rr, ru, uu = (np.einsum("ni,ni->n", a, b) for a, b in ((right, right), (right, up), (up, up)))
    det = np.maximum(rr * uu - ru * ru, 1e-12)[:, None]
    along = (uu[:, None] * right - ru[:, None] * up) / det
    upward = (rr[:, None] * up - ru[:, None] * right) / det
    uv = quads.uv.astype(np.float64)
    gradient = (uv[:, 1] - uv[:, 0])[:, :, None] * along[:, None] + (uv[:, 2] - uv[:, 0])[:, :, None] * upward[:, None]
    offset = uv[:, 0] - np.einsum("nki,ni->nk", gradient, corner)
    return np.asarray(gradient + offset[:, :, None] * plane[:, None])


def _levels(
    inverse_depth: Float64[np.ndarray, "n 3"], texel: Float64[np.ndarray, "n 2 3"], box: Int32[np.ndarray, "n 4"]
) -> Int32[np.ndarray, " n"]:
    """Half the binary logarithm of texels per sample in the middle of each box."""
    middle = np.stack([box[:, 2:].mean(axis=1), box[:, :2].mean(axis=1), np.ones(len(box))], axis=1)
    depth = 1.0 / np.maximum(np.einsum("ni,ni->n", inverse_depth, middle), 1e-4)
    area = np.abs(np.linalg.det(np.concatenate([texel, inverse_depth[:, None]], axis=1))) * depth**3
    return np.asarray(np.maximum(np.round(0.5 * np.log2(np.maximum(area, 1e-6))), 0), np.int32)
