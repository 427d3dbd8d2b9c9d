"""Which surface each sample of the image sees: planes, edges and a depth buffer, exact at every sample.

A ray is r = (x, y, 1) with point = z * r. A plane through p with normal n is n.point = n.p, so inverse depth along a
ray is the linear form w = (n / n.p).r. A sample lies inside the edge from a to b where (a x b).r has the sign of n.p
(Olano and Greer, 1997): homogeneous, so surfaces that reach behind the camera need no clipping.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

from fathomseg.data.world.atlas import Atlas
from fathomseg.data.world.mesh import Quads

_NEAR_M = 0.15
_SMALL = 220
"""Bounding boxes of at most this many samples are drawn all together."""


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
    inside = [z > _NEAR_M, x > grid.x0 * z, x < x1 * z, y > grid.y0 * z, y < y1 * z]
    return np.asarray(np.logical_and.reduce([side.any(axis=1) for side in inside]))


def _boxes(corners: Float64[np.ndarray, "n 4 3"], grid: Grid) -> Int32[np.ndarray, "n 4"]:
    """The sample rows and columns a quad can touch: those of its corners in front, and of its cuts near the camera."""
    z = corners[..., 2]
    following = np.roll(corners, -1, axis=1)
    step = following[..., 2] - z
    share = np.clip((_NEAR_M - z) / np.where(np.abs(step) < 1e-9, 1e-9, step), 0.0, 1.0)
    cut = corners + share[..., None] * (following - corners)
    points = np.concatenate([corners, cut], axis=1)
    crosses = (z < _NEAR_M) != (following[..., 2] < _NEAR_M)
    valid = np.concatenate([z >= _NEAR_M, crosses], axis=1)
    depth = np.maximum(points[..., 2], _NEAR_M)
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


@dataclass(frozen=True)
class Seen:
    """The nearest surface at every sample; where there is none, inverse depth is 0 and the surface is `len(quads)`."""

    inverse_depth: Float32[np.ndarray, "h w"]
    surface: Int32[np.ndarray, "h w"]


def rasterise(view: View, atlas: Atlas, grid: Grid) -> Seen:
    """Find the nearest surface at every sample: large quads one by one, nearest first, then the small ones at once."""
    shape = (grid.height, grid.width)
    seen = Seen(np.zeros(shape, np.float32), np.full(shape, len(view.quads), np.int32))
    rows = _Rows(view)
    area = (view.box[:, 1] - view.box[:, 0]) * (view.box[:, 3] - view.box[:, 2])
    _draw_large(seen, view, rows, atlas, np.flatnonzero(area > _SMALL))
    _draw_small(seen, view, rows, atlas, area <= _SMALL)
    return seen


def _nearest(view: View) -> Float64[np.ndarray, " n"]:
    """The largest inverse depth of each quad's plane within its box (of linear forms: at a corner), with some slack."""
    form, box = view.inverse_depth, view.box
    column = np.where(form[:, 0] > 0, box[:, 3], box[:, 2])
    row = np.where(form[:, 1] > 0, box[:, 1], box[:, 0])
    return np.asarray(1.0001 * (form[:, 0] * column + form[:, 1] * row + form[:, 2]))


class _Rows:
    """For every row of every quad's box: the columns inside, and the inverse depth at column 0."""

    def __init__(self, view: View) -> None:
        self.count = (view.box[:, 1] - view.box[:, 0]).astype(np.int64)
        self.offset = np.cumsum(self.count) - self.count
        quad = np.repeat(np.arange(len(self.count)), self.count)
        row = np.arange(len(quad)) - np.repeat(self.offset - view.box[:, 0], self.count)
        edge = view.edges[quad]
        slope, value = edge[..., 0], edge[..., 1] * row[:, None] + edge[..., 2]
        flat = np.abs(slope) < 1e-12
        bound = -value / np.where(flat, 1.0, slope)
        low, high = np.where(slope > 0, bound, -np.inf), np.where(slope < 0, bound, np.inf)
        low[flat], high[flat] = np.where(value[flat] < 0, np.inf, -np.inf), np.inf
        box, form = view.box[quad], view.inverse_depth[quad]
        self.quad, self.row = quad, row
        self.first = np.clip(np.ceil(low.max(axis=1)), box[:, 2], box[:, 3]).astype(np.float32)
        self.end = np.clip(np.floor(high.min(axis=1)) + 1, box[:, 2], box[:, 3]).astype(np.float32)
        self.start = (form[:, 1] * row + form[:, 2]).astype(np.float32)


def _draw_large(seen: Seen, view: View, rows: _Rows, atlas: Atlas, chosen: Int64[np.ndarray, " k"]) -> None:
    """Draw quads one by one into their boxes, nearest first, leaving out those that something nearer hides."""
    nearest = _nearest(view)[chosen].astype(np.float32)
    order = np.argsort(-nearest, kind="stable")
    chosen = chosen[order]
    holes = _hole_forms(view, atlas, chosen)
    slope, ramp = view.inverse_depth[chosen, 0].astype(np.float32), np.arange(seen.surface.shape[1], dtype=np.float32)
    begin, boxes = rows.offset[chosen].tolist(), view.box[chosen].tolist()
    copies = np.where(atlas.holed[view.quads.texture[chosen]], _copy(view, atlas, chosen), -1).tolist()
    for k, (q, near) in enumerate(zip(chosen.tolist(), nearest[order], strict=True)):
        top, bottom, left, right = boxes[k]
        buffer, column = seen.inverse_depth[top:bottom, left:right], ramp[left:right]
        if near <= buffer.min():
            continue
        own = slice(begin[k], begin[k] + bottom - top)
        inverse_depth = np.add.outer(rows.start[own], slope[k] * column)
        visible = inverse_depth > buffer
        visible &= np.less_equal.outer(rows.first[own], column)
        visible &= np.greater.outer(rows.end[own], column)
        if copies[k] >= 0:
            size, flags = (right - left, bottom - top), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            cover = cv2.warpPerspective(
                atlas.covers[copies[k]], holes[k], size, flags=flags, borderMode=cv2.BORDER_WRAP
            )
            visible &= cover > 127
        np.copyto(buffer, inverse_depth, where=visible)
        np.copyto(seen.surface[top:bottom, left:right], np.int32(q), where=visible)


def _copy(view: View, atlas: Atlas, chosen: Int64[np.ndarray, " k"]) -> Int64[np.ndarray, " k"]:
    """The reduced copy of the texture by which each quad's holes are cut."""
    texture = view.quads.texture[chosen]
    return np.asarray(atlas.first[texture] + np.minimum(view.level[chosen], atlas.levels[texture] - 1), np.int64)


def _hole_forms(view: View, atlas: Atlas, chosen: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, "k 3 3"]:
    """Homographies from (column, row) within each quad's box to texels of the copy that cuts its holes."""
    shrink = atlas.extent[_copy(view, atlas, chosen)] / atlas.size[view.quads.texture[chosen]]
    depth = view.inverse_depth[chosen, None]
    form = np.concatenate([view.texel[chosen] * shrink[:, :, None] - 0.5 * depth, depth], axis=1)
    box = view.box[chosen].astype(np.float64)
    form[:, :, 2] += form[:, :, 0] * box[:, 2, None] + form[:, :, 1] * box[:, 0, None]
    return form


def _draw_small(seen: Seen, view: View, rows: _Rows, atlas: Atlas, small: Bool[np.ndarray, " n"]) -> None:
    """Draw many little quads at once: list their samples, sort by depth, and let the nearest be written last."""
    row = np.flatnonzero(small[rows.quad] & (rows.end > rows.first))
    length = (rows.end[row] - rows.first[row]).astype(np.int64)
    begin = np.repeat(np.cumsum(length) - length, length)
    row = np.repeat(row, length)
    column = np.arange(len(row)) - begin + rows.first[row].astype(np.int64)
    quad = rows.quad[row]
    inverse_depth = rows.start[row] + view.inverse_depth[quad, 0].astype(np.float32) * column.astype(np.float32)
    place = rows.row[row] * seen.surface.shape[1] + column
    keep = np.flatnonzero(inverse_depth > seen.inverse_depth.reshape(-1)[place])
    keep = keep[_solid(view, atlas, quad[keep], column[keep], rows.row[row[keep]], inverse_depth[keep])]
    keep = keep[np.argsort(inverse_depth[keep], kind="stable")]
    seen.inverse_depth.reshape(-1)[place[keep]] = inverse_depth[keep]
    seen.surface.reshape(-1)[place[keep]] = quad[keep]


def _solid(
    view: View,
    atlas: Atlas,
    quad: Int64[np.ndarray, " m"],
    column: Int64[np.ndarray, " m"],
    row: Int64[np.ndarray, " m"],
    inverse_depth: Float32[np.ndarray, " m"],
) -> Bool[np.ndarray, " m"]:
    """Whether the texture of each sample's quad has no hole there."""
    solid = np.ones(len(quad), np.bool_)
    at = np.flatnonzero(atlas.holed[view.quads.texture[quad]])
    quad, column, row, inverse_depth = quad[at], column[at], row[at], inverse_depth[at]
    form, copy = view.texel[quad], _copy(view, atlas, quad)
    texel = form[:, :, 0] * column[:, None] + form[:, :, 1] * row[:, None] + form[:, :, 2]
    extent = atlas.extent[copy]
    texel *= extent / (atlas.size[view.quads.texture[quad]] * inverse_depth[:, None])
    texel -= extent * np.floor(texel / extent)
    x, y = (texel + atlas.origin[copy]).astype(np.int64).T
    solid[at] = atlas.cover[y, x] > 127
    return solid
