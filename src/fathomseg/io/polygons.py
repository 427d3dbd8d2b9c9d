"""Polygons and pixels, exactly: a pixel belongs to a polygon if its centre lies inside (even-odd rule).

Coordinates are continuous, as annotation tools and COCO use them: x from 0 at the left edge of the first pixel to the
width at the right edge of the last, y the same downwards, so that pixel (row, column) has its centre at
(column + 0.5, row + 0.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float64, UInt8

from fathomseg.types import Size

Ring = Float64[np.ndarray, "n 2"]
"""The corners (x, y) of a polygon, in order; the last is joined to the first."""


_FARTHEST: Final = 1e6
"""Pixels."""


class Patch(NamedTuple):
    """Pixels of an image: a mask that lies at `top` and `left`."""

    top: int
    left: int
    mask: Bool[np.ndarray, "h w"]


class Region(NamedTuple):
    """One labelled part of an image: the union of its patches, which have the class index `value`."""

    value: int
    patches: tuple[Patch, ...]


def as_ring(corners: Any) -> Ring:
    """The corners of a polygon from a file: a list of [x, y], or of x, y, x, y ...

    Raises `ValueError` for fewer than three, and for numbers that are none of pixels.
    """
    try:
        ring = np.array(corners, np.float64)
    except (TypeError, ValueError, OverflowError):
        ring = np.empty(0)
    if ring.ndim not in (1, 2) or ring.size < 6 or ring.size % 2 or (ring.ndim == 2 and ring.shape[1] != 2):
        raise ValueError("has no usable corners; expected the x and y of three or more")
    if not np.abs(ring).max() < _FARTHEST:  # NaN neither
        raise ValueError("has corners far outside any image")
    return ring.reshape(-1, 2)


def fill(ring: Ring, size: Size) -> Patch:
    """The pixels of an image of (height, width) `size` whose centres lie inside the polygon; parts beyond the image are
    cut off."""
    (left, top), (right, bottom) = (
        np.clip(np.ceil(corner - 0.5), 0, size[::-1]).astype(int) for corner in (ring.min(0), ring.max(0))
    )
    start, end = ring, np.roll(ring, -1, axis=0)
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    first = np.clip(np.ceil(low - 0.5), top, bottom).astype(int)
    counts = np.clip(np.ceil(high - 0.5), top, bottom).astype(int) - first  # rows whose centres an edge passes
    edge = np.repeat(np.arange(len(ring)), counts)
    row = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts) + first[edge]
    (x0, y0), (x1, y1) = start[edge].T, end[edge].T
    crossing = x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0)
    column = np.clip(np.ceil(crossing - 0.5), left, right).astype(int)
    height, width = bottom - top, right - left
    flips = np.bincount((row - top) * (width + 1) + column - left, minlength=height * (width + 1))
    inside: Bool[np.ndarray, "h w"] = (flips.reshape(height, width + 1)[:, :width].cumsum(1) & 1).astype(bool)
    return Patch(int(top), int(left), inside)


def outlines(label: UInt8[np.ndarray, "h w"]) -> list[tuple[int, Ring]]:
    """(value, polygon) of every 4-connected area of one value, the largest polygon first; holes are not left out.

    Painted in this order, each over those before it, the polygons give back every pixel of the label: what lies in a
    hole has a smaller polygon than what lies around it. The polygons run a quarter of a pixel inside the areas' edges,
    so that coordinates may be rounded.
    """
    found: list[tuple[float, int, Ring]] = []
    for value in np.unique(label).tolist():
        count, areas, boxes, _ = cv2.connectedComponentsWithStats((label == value).astype(np.uint8), connectivity=4)
        for area in range(1, count):
            left, top, width, height = boxes[area, :4].tolist()
            part = areas[top : top + height, left : left + width] == area
            double = part.astype(np.uint8).repeat(2, 0).repeat(2, 1)
            (contour,), _ = cv2.findContours(double, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            ring = (contour.reshape(-1, 2) + 0.5) / 2 + (left, top)
            found.append((cv2.contourArea(contour), value, ring))
    return [(value, ring) for _, value, ring in sorted(found, key=lambda one: -one[0])]


def largest_first(regions: Iterable[Region]) -> list[Region]:
    """The order in which regions of formats without one are painted: small things stay visible on large ones."""
    return sorted(regions, key=lambda one: -sum(int(patch.mask.sum()) for patch in one.patches))


def paint(regions: Sequence[Region], size: Size, unpainted: int) -> UInt8[np.ndarray, "h w"]:
    """The label of (height, width) `size` made of regions, each painted over those before it."""
    label = np.full(size, unpainted, np.uint8)
    for index, patches in regions:
        for top, left, mask in patches:
            label[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = index
    return label
