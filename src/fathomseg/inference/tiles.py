"""Large images in tiles at their own scale: what is finished leaves, so that memory does not grow with the height."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby, pairwise

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from fathomseg.inference.settings import Window
from fathomseg.types import Size

Views = Callable[[Float[Tensor, "b 3 h w"]], Float[Tensor, "b c h w"]]
"""Images 0..1 to what may be averaged of them, at their size."""


def strips(
    image: UInt8[np.ndarray, "h w 3"], window: Window, size: Size, views: Views, device: torch.device, batch: int = 1
) -> Iterator[tuple[slice, Float32[Tensor, "c rows w"]]]:
    """The average of all tiles, strip by strip from the top: rows, and the finished map of these rows.

    Tiles have the (height, width) `size` in pixels of the image, or less where the image ends, and overlap as `window`
    says; `batch` of a row go through the network at once. At any time the sums of one row of tiles are held, c + 1
    numbers for each of its pixels, and never the map of the whole image.
    """
    boxes = Window(size=size, stride=window.stride).boxes((image.shape[0], image.shape[1]))
    rows = [(top, [left for _, left, _, _ in row]) for top, row in groupby(boxes, key=lambda box: box[0])]
    (_, _, height, across), width = boxes[0], image.shape[1]
    hat = falling(height, device)[:, None] * falling(across, device)
    weight = torch.zeros(height, width, device=device)
    total: Tensor | None = None
    for (top, lefts), after in pairwise([*rows, (image.shape[0], [])]):
        for chunk in (lefts[start : start + batch] for start in range(0, len(lefts), batch)):
            tiles = np.stack([image[top : top + height, left : left + across] for left in chunk])
            inputs = torch.from_numpy(tiles).to(device).permute(0, 3, 1, 2).float().div(255)
            seen = views(inputs.contiguous(memory_format=torch.channels_last))
            total = seen.new_zeros(seen.shape[1], height, width) if total is None else total
            for left, view in zip(chunk, seen, strict=True):
                total[..., left : left + across] += hat * view
                weight[:, left : left + across] += hat
        assert total is not None, "every row has a tile"
        done = min(after[0] - top, height)
        yield slice(top, top + done), total[:, :done] / weight[:done]
        total, weight = _moved(total, done), _moved(weight[None], done)[0]


def falling(length: int, device: torch.device) -> Float32[Tensor, " length"]:
    """Weights that rise evenly from the ends of a window to its middle, where the network sees most context."""
    ramp = torch.arange(1, length + 1, device=device, dtype=torch.float32)
    return torch.minimum(ramp, ramp.flip(0)) / length


def _moved(sums: Float32[Tensor, "c h w"], done: int) -> Float32[Tensor, "c h w"]:
    """Sums of the next row of tiles: what overlaps it, and zeros below."""
    moved = torch.zeros_like(sums)
    moved[:, : sums.shape[1] - done] = sums[:, done:]
    return moved
