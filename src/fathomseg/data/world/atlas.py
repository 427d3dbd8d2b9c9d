"""All textures of a town in one picture, each with smaller copies (mip-maps), so that one gather colours a frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

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
    first: Int32[np.ndarray, " t"]
    levels: Int32[np.ndarray, " t"]
    origin: Float32[np.ndarray, "k 2"]
    """(x, y) of the outer corner of the first texel of each copy."""
    extent: Float32[np.ndarray, "k 2"]
    """(width, height) of each copy in texels."""
    cover: UInt8[np.ndarray, "h w"]
    """Beside `rgba`: where there is any surface (above 127)."""
    holed: Bool[np.ndarray, " t"]
    """Which textures have holes."""

    @cached_property
    def covers(self) -> tuple[UInt8[np.ndarray, "h w"], ...]:
        """The cover of every copy."""
        boxes = np.concatenate([self.origin, self.extent], axis=1).astype(int).tolist()
        return tuple(self.cover[y : y + h, x : x + w] for x, y, w, h in boxes)


def pack(textures: Mapping[str, Texture]) -> Atlas:
    """Reduce, pad and place all textures on shelves, tallest first."""
    names = sorted(textures)
    pyramids = [_pyramid(textures[name]) for name in names]
    counts = np.array([len(p) for p in pyramids], np.int32)
    copies = [_padded(image, textures[name].wraps) for name, p in zip(names, pyramids, strict=True) for image in p]
    places, height = _shelves([image.shape[:2] for image in copies])
    sheet = np.zeros((height, _WIDTH, 5), np.uint8)
    for (x, y), image in zip(places, copies, strict=True):
        sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
    return Atlas(
        rgba=np.ascontiguousarray(sheet[..., :4]),
        index={name: t for t, name in enumerate(names)},
        size=np.array([p[0].shape[1::-1] for p in pyramids], np.float32),
        first=(np.cumsum(counts) - counts).astype(np.int32),
        levels=counts,
        origin=np.array(places, np.float32) + _MARGIN,
        extent=np.array([image.shape[1::-1] for image in copies], np.float32) - 2 * _MARGIN,
        cover=np.ascontiguousarray(sheet[..., 4]),
        holed=np.array([textures[name].cover is not None for name in names]),
    )


def _pyramid(texture: Texture) -> list[UInt8[np.ndarray, "h w 5"]]:
    """Colour, paint and cover, reduced by two until one side is below 4 texels.

    Reduced covers keep the covered area: their threshold of 127 is moved to the quantile that does.
    """
    cover = np.full(texture.rgba.shape[:2], 255, np.uint8) if texture.cover is None else texture.cover
    area = float((cover > 127).mean())
    colours, covers = [texture.rgba], [cover]
    while min(covers[-1].shape) >= 4:
        colours.append(_halved(colours[-1]))
        covers.append(_halved(covers[-1]))
    shifted = [
        np.clip(c.astype(np.float32) - np.quantile(c, 1 - area) + 128, 0, 255).astype(np.uint8) for c in covers[1:]
    ]
    kept = covers if texture.cover is None else [cover, *shifted]
    return [np.dstack([rgba, c]) for rgba, c in zip(colours, kept, strict=True)]


def _halved(image: UInt8[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h2 w2 *c"]:
    size = (max(image.shape[1] // 2, 1), max(image.shape[0] // 2, 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _padded(image: UInt8[np.ndarray, "h w c"], wraps: bool) -> UInt8[np.ndarray, "h2 w2 c"]:
    """The image with a margin that repeats it where it wraps, and its border elsewhere."""
    return np.pad(image, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), mode="wrap" if wraps else "edge")


def _shelves(sizes: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], int]:
    """Place boxes of (height, width) left to right on shelves; the (x, y) of each, and the total height."""
    places = [(0, 0)] * len(sizes)
    x = y = shelf = 0
    for k in sorted(range(len(sizes)), key=lambda k: (-sizes[k][0], -sizes[k][1], k)):
        height, width = sizes[k]
        if x + width > _WIDTH:
            x, y, shelf = 0, y + shelf, 0
        places[k] = (x, y)
        x, shelf = x + width, max(shelf, height)
    return places, y + shelf
