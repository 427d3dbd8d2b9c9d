"""What is infinitely far: its disparity pushed to zero, and a guess of where the sky is from two frames alone."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from fathomseg.geometry.numerics import full_precision
from fathomseg.types import SumCount

_SLACK: Final = 0.01
"""How much larger the photometric error at infinity may be: noise, clouds."""
_WINDOW: Final = 7
"""Pixels across which errors are averaged: one pixel matches by chance."""


@full_precision
def far_away(
    disparity: Float[Tensor, "b 1 h w"], where: Bool[Tensor, "b h w"], confidence: Float[Tensor, "b h w"]
) -> SumCount:
    """The sum of confidence times d / mean(d) over the pixels that are `where`, and their number.

    The mean, over the image, gets no gradient: nothing but these pixels is moved.
    """
    d = disparity / (disparity.detach().mean((2, 3), keepdim=True) + 1e-7)
    return torch.where(where, d[:, 0] * confidence, 0.0).sum(), where.sum().to(d.dtype)


@torch.no_grad()
def looks_far(
    error: Float[Tensor, "b h w"],
    at_infinity: Float[Tensor, "b h w"],
    image: Float[Tensor, "b 3 h w"],
    K: Float[Tensor, "b 3 3"],
) -> Bool[Tensor, "b h w"]:
    """Where the photometric error at infinite depth is not above that at the predicted one, with nothing but such
    pixels up to the top of the image.

    Above the horizon alone, which is taken to be the row of the principal point: plain road and walls look the same at
    any depth too. `image`: 0..1; errors are averaged over windows. Sky is reached from the top of its column.
    """
    pad = _WINDOW // 2
    gain = F.pad((at_infinity - error)[:, None], [pad] * 4, mode="replicate")
    free = F.avg_pool2d(gain, _WINDOW, 1)[:, 0] <= _SLACK
    row = torch.arange(image.shape[2], device=image.device).view(1, -1, 1)
    free = free & (row < K[:, 1, 2].view(-1, 1, 1))
    return free.int().cummin(1).values.bool()
