"""All textures of a town in one picture, each with its smaller copies (mip-maps), so that one gather colours a frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Int32, UInt8

from fathomseg.data.world.canvas import Texture

_MARGIN = 2
"""Texels repeated around every copy, so that bilinear filtering never reads a neighbour's texels."""
_WIDTH = 2048


@dataclass(frozen=True)
class Atlas:
    """The picture and where each copy lies. Copy `first[t] + level` is texture t reduced `level` times by two."""

    rgba: UInt8[np.ndarray, "h w 4"]
    index: Mapping[str, int]
    size: Float32[np.ndarray, "t 2"]
    """(width, height) of each texture in texels."""
    first: Int32[np.ndarray, t]
    levels: Int32[np.ndarray, t]
    origin: Float32[np.ndarray, "k 2"]
    """(x, y) of the outer corner of the first texel of each copy."""
    extent: Float32[np.ndarray, "k 2"]
    """(width, height) of each copy in texels."""
    covers: tuple[tuple[UInt8[np.ndarray, "h w"], ...] | None, ...]
    """For each texture with holes: its cover at every level."""


def pack(textures: Mapping[str, Texture]) -> Atlas:
    """Reduce, pad and place all textures on shelves, tallest first."""
    names = sorted(textures)
    pyramids = [_pyramid(textures[name].rgba) for name in names]
    counts = np.array([len(p) for p in pyramids], np.int32)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int32)
    copies = [
        (first[t] + level, _padded(image, textures[name].wraps))
        for t, name in enumerate(names)
        for level, image in enumerate(pyramids[t])
    ]
    places, height = _shelves([(int(k), image.shape[0], image.shape[1]) for k, image in copies])
    canvas = np.zeros((height, _WIDTH, 4), np.uint8)
    origin, extent = np.zeros((len(copies), 2), np.float32), np.zeros((len(copies), 2), np.float32)
    for k, image in copies:
        x, y = places[int(k)]
        canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
        origin[k] = x + _MARGIN, y + _MARGIN
        extent[k] = image.shape[1] - 2 * _MARGIN, image.shape[0] - 2 * _MARGIN
    covers = tuple(_cover_pyramid(textures[name].cover, len(pyramids[t])) for t, name in enumerate(names))
    size = np.array([[p[0].shape[1], p[0].shape[0]] for p in pyramids], np.float32)
    return Atlas(canvas, {n: t for t, n in enumerate(names)}, size, first, counts, origin, extent, covers)


def _pyramid(image: UInt8[np.ndarray, "h w 4"]) -> list[UInt8[np.ndarray, "h w 4"]]:
    levels = [image]
    while min(levels[-1].shape[:2]) >= 4:
        levels.append(_halved(levels[-1]))
    return levels


def _cover_pyramid(cover: UInt8[np.ndarray, "h w"] | None, count: int) -> tuple[UInt8[np.ndarray, "h w"], ...] | None:
    """Reduced covers keep the covered area: the threshold 127 is moved to the quantile that does."""
    if cover is None:
        return None
    area = float((cover > 127).mean())
    levels = [cover]
    for _ in range(count - 1):
        levels.append(_halved(levels[-1]))
    kept = [np.clip(level.astype(np.float32) - np.quantile(level, 1 - area) + 128, 0, 255) for level in levels[1:]]
    return (cover, *(np.ascontiguousarray(k.astype(np.uint8)) for k in kept))


def _halved(image: UInt8[np.ndarray, "h w ..."]) -> UInt8[np.ndarray, "h w ..."]:
    size = (max(image.shape[1] // 2, 1), max(image.shape[0] // 2, 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _padded(image: UInt8[np.ndarray, "h w 4"], wraps: bool) -> UInt8[np.ndarray, "h w 4"]:
    border = cv2.BORDER_WRAP if wraps else cv2.BORDER_REPLICATE
    return np.asarray(cv2.copyMakeBorder(image, _MARGIN, _MARGIN, _MARGIN, _MARGIN, border), np.uint8)


def _shelves(boxes: list[tuple[int, int, int]]) -> tuple[dict[int, tuple[int, int]], int]:
    """Place (key, height, width) boxes left to right on shelves; returns the (x, y) of each and the total height."""
    places: dict[int, tuple[int, int]] = {}
    x = y = shelf = 0
    for key, height, width in sorted(boxes, key=lambda box: (-box[1], -box[2], box[0])):
        if x + width > _WIDTH:
            x, y, shelf = 0, y + shelf, 0
        places[key] = (x, y)
        x, shelf = x + width, max(shelf, height)
    return places, y + shelf
