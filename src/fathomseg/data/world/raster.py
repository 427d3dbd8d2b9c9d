"""Which surface each sample of the image sees: a depth buffer, exact at every sample."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

from fathomseg.data.world.atlas import Atlas
from fathomseg.data.world.view import Grid, View

_SMALL = 220
"""Bounding boxes of at most this many samples are drawn all together."""


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
