"""What is infinitely far: its disparity pushed to zero, and a guess of where the sky is from two frames alone."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from fathomseg.geometry.numerics import full_precision, size_of
from fathomseg.geometry.warp import locate
from fathomseg.losses.disparity import over_mean
from fathomseg.types import SumCount

_ENOUGH: Final = 0.1
"""The disparity, by the image's mean, that is taken for infinitely far."""
_SLACK: Final = 0.01
"""How much larger the photometric error at infinity may be: noise, clouds."""
_WINDOW: Final = 7
"""Pixels across which errors are averaged: one pixel matches by chance."""
_PARALLAX: Final = 1.0
"""Pixels by which a place at infinity must differ from one at the image's median depth to tell anything."""


@full_precision
def far_away(
    disparity: Float[Tensor, "b 1 h w"], where: Bool[Tensor, "b h w"], confidence: Float[Tensor, "b h w"]
) -> SumCount:
    """The sum of confidence times max(0, d / mean(d) - 0.1) over the pixels that are `where`, and their number.

    A tenth of the mean is far enough: what is pushed on saturates, and takes roofs and crowns along, whose depth is the
    inverse of what is left. The mean, over the image, takes its part of the gradient, so that the loss does not change
    with the scale of an image's disparity: with a mean held constant all of it was pushed to zero, the faster the
    smaller it became.
    """
    d = over_mean(disparity)
    beyond = (d[:, 0] - _ENOUGH).clamp(min=0)
    return torch.where(where, beyond * confidence, 0.0).sum(), where.sum().to(d.dtype)


@torch.no_grad()
@full_precision
def parallax(
    matrices: Float[Tensor, "b s 3 4"], inverse_depth: Float[Tensor, "b 1 h w"], farthest: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, "b h w"]:
    """How many pixels lie between the places of a pixel at the image's median `inverse_depth` and at the `farthest`.

    The least of the sources it is before at infinity: one that shows no difference matches as well at any depth. Where
    there is none, infinite. `matrices` as for `geometry.warp.locate`.
    """
    median = inverse_depth.flatten(1).median(dim=1).values.view(-1, 1, 1, 1).expand_as(inverse_depth)
    (near, ahead), (far, shown) = locate(matrices, median), locate(matrices, farthest)
    height, width = size_of(inverse_depth)
    x, y = (near - far).unbind(2)
    pixels = torch.hypot(x * ((width - 1) / 2), y * ((height - 1) / 2))
    return torch.where(ahead, pixels, 0.0).masked_fill(~shown, torch.inf).amin(dim=1)


@torch.no_grad()
def looks_far(
    error: Float[Tensor, "b h w"],
    at_infinity: Float[Tensor, "b h w"],
    parallax: Float[Tensor, "b h w"],
    known: Bool[Tensor, "b h w"],
    K: Float[Tensor, "b 3 3"],
) -> Bool[Tensor, "b h w"]:
    """Where the photometric error at infinite depth is not above that at the predicted one, with nothing but such
    pixels up to the top of the image.

    Above the horizon alone, which is taken to be the row of the principal point: plain road and walls look the same at
    any depth too. Where `parallax`, in pixels, is small, so does everything (a standing or turning camera, and ahead of
    one that drives): that pixel is not far, and ends its column. Errors are averaged over windows, of the `known`
    pixels with parallax. A pixel that is not known is not far either, but ends no column.
    """
    decided = parallax > _PARALLAX
    sure = known & decided
    gain = torch.where(sure, at_infinity - error, 0.0)  # infinite where no source shows a pixel
    free = (_window_mean(gain) <= _SLACK * _window_mean(sure.to(gain.dtype))) & decided
    row = torch.arange(error.shape[1], device=error.device).view(1, -1, 1)
    free = free & (row < K[:, 1, 2].view(-1, 1, 1))
    return free.int().cummin(1).values.bool() & known


def _window_mean(field: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """The border repeated."""
    return F.avg_pool2d(F.pad(field[:, None], [_WINDOW // 2] * 4, mode="replicate"), _WINDOW, 1)[:, 0]
