"""Maps of many classes at the size of a photograph, strip by strip, so that all of them never exist at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from fathomseg.types import Size

_STRIP: Final = {"cpu": 2**19, "cuda": 2**26}
"""Scores held at once at the size of the given image, by kind of device: what stays in a CPU's cache, and no more than
that a photograph of 100 megapixels fits."""


def strips(one: Float32[Tensor, "c h w"], size: Size) -> Iterator[tuple[slice, Float32[Tensor, "c rows w2"]]]:
    """`one` resampled to `size` (bilinear, align_corners=False) in strips of rows, so that memory stays bounded."""
    height, width = size
    wide = F.interpolate(one[None], (one.shape[1], width), mode="bilinear", align_corners=False)[0]
    step = max(1, _STRIP.get(one.device.type, _STRIP["cpu"]) // (len(one) * width))
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        yield rows, _rows(wide, height, rows)


def _rows(x: Float32[Tensor, "c h w"], height: int, rows: slice) -> Float32[Tensor, "c rows w"]:
    """Some rows of `x` resized to `height` rows, as F.interpolate(mode="bilinear", align_corners=False) makes them.

    A product with a narrow matrix, two weights a row: one pass over the result, a third of the time of picking rows.
    """
    source = ((torch.arange(rows.start, rows.stop) + 0.5) * (x.shape[1] / height) - 0.5).clamp(min=0)
    above = source.long().clamp(max=x.shape[1] - 1)
    below, first = (above + 1).clamp(max=x.shape[1] - 1), int(above[0])
    weights = torch.zeros(len(source), int(below[-1]) + 1 - first)
    weights.scatter_add_(1, (above - first)[:, None], (1 - (source - above))[:, None])
    weights.scatter_add_(1, (below - first)[:, None], (source - above)[:, None])
    return torch.matmul(weights.to(x.device, non_blocking=True), x[:, first : first + weights.shape[1]])
