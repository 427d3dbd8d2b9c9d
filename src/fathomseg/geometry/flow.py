"""Dense optical flow without learning (Lucas and Kanade, IJCAI 1981; coarse to fine after Bouguet 2001), in batches.

Good to about a tenth of a pixel where there is texture, and it says where: what the motion of a camera between two
frames of a video is read from. Nothing here has a gradient.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fathomseg.geometry.numerics import full_precision

_RIDGE: Final = 3e-5
"""Added to the structure tensor: what texture counts as none, for images of contrast 0..1."""
_LITTLE: Final = 1e-3
"""The weight of a flow without any confidence."""
_RADIUS: Final = 3
"""Windows have 2 * 3 + 1 pixels."""
_ITERATIONS: Final = 2
"""Steps on each level."""
_LEVELS: Final = 4
"""Octaves of the pyramid, at most."""
_LEAST: Final = 12
"""The coarsest level of the pyramid is no smaller than this."""

Grey = Float[Tensor, "b 1 h w"]
Flow = Float[Tensor, "b 2 h w"]


@torch.no_grad()
@full_precision
def optical_flow(first: Grey, second: Grey) -> tuple[Flow, Float[Tensor, "b 1 h w"]]:
    """(flow in pixels (x, y), its confidence 0..1): pixel p of `first` is seen at p + flow(p) in `second`.

    Images are grey, 0..1. Least squares over small windows, from the coarsest octave to the finest. Confidence is
    that of the worse direction: 0 on a plain wall and along an edge.
    """
    pyramid = octaves((first, second))
    coarsest = pyramid[0][0]
    flow = coarsest.new_zeros(len(coarsest), 2, *coarsest.shape[2:])
    weight = torch.zeros_like(coarsest)
    for one, other in pyramid:
        if flow.shape[2:] != one.shape[2:]:
            sx, sy = one.shape[3] / flow.shape[3], one.shape[2] / flow.shape[2]
            x, y = F.interpolate(flow, one.shape[2:], mode="bilinear", align_corners=False).split(1, dim=1)
            flow = torch.cat([sx * x, sy * y], dim=1)
        flow, weight = _refined(without_mean(one, _RADIUS), without_mean(other, _RADIUS), flow)
        # What is known spreads to where it is not; without this the error is three times as large.
        sums = _window(torch.cat([flow * (weight + _LITTLE), weight + _LITTLE], dim=1), _RADIUS)
        total, share = sums.split((2, 1), dim=1)
        flow = total / share
    return flow, weight


def _refined(first: Grey, second: Grey, flow: Flow) -> tuple[Flow, Grey]:
    """The flow of one level after a few Gauss-Newton steps, and its confidence."""
    dx, dy = gradient(first)
    xx, xy, yy = _window(torch.cat([dx * dx, dx * dy, dy * dy], dim=1), _RADIUS).split(1, dim=1)
    determinant = (xx + _RIDGE) * (yy + _RIDGE) - xy * xy
    for _ in range(_ITERATIONS):
        difference = first - _warped(second, flow)
        x, y = _window(torch.cat([dx * difference, dy * difference], dim=1), _RADIUS).split(1, dim=1)
        step = torch.cat([(yy + _RIDGE) * x - xy * y, (xx + _RIDGE) * y - xy * x], dim=1) / determinant
        flow = flow + step.clamp(-1, 1)  # a longer step has left the range in which the images are linear
    smaller = (xx + yy) / 2 - ((xx - yy).square() / 4 + xy * xy).sqrt()
    return flow, smaller / (smaller + 10 * _RIDGE)


def _warped(image: Grey, flow: Flow) -> Grey:
    """The image sampled at p + flow(p), its border repeated."""
    height, width = image.shape[2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=image.device, dtype=image.dtype),
        torch.arange(width, device=image.device, dtype=image.dtype),
        indexing="ij",
    )
    grid = (
        torch.stack([(x + flow[:, 0]) * (2 / max(width - 1, 1)), (y + flow[:, 1]) * (2 / max(height - 1, 1))], -1) - 1
    )
    return F.grid_sample(image, grid, "bilinear", "border", align_corners=True)


def without_mean(image: Grey, radius: int) -> Grey:
    """The image without its local mean, so that a change of exposure is no motion."""
    return image - _window(image, 2 * radius + 2)


def gradient(image: Grey) -> tuple[Grey, Grey]:
    """Central differences, the border repeated."""
    padded = F.pad(image, [1, 1, 1, 1], mode="replicate")
    return (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2, (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2


def _window(fields: Float[Tensor, "b c h w"], radius: int) -> Float[Tensor, "b c h w"]:
    """The mean over each window, the border repeated; sums of shifted maps, since pooling is slow on CPUs."""
    size = 2 * radius + 1
    padded = F.pad(fields, [radius] * 4, mode="replicate")
    height, width = fields.shape[2:]
    rows = padded[..., :height, :].clone()
    for i in range(1, size):  # in place: a new map for every sum would take twice as long
        rows += padded[..., i : i + height, :]
    total = rows[..., :width].clone()
    for i in range(1, size):
        total += rows[..., i : i + width]
    return total.div_(size**2)


def octaves(images: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """The images at up to four sizes, each half the next; the coarsest, first one is no smaller than 12 pixels."""
    pyramid = [images]
    while len(pyramid) < _LEVELS and min(pyramid[0][0].shape[2:]) >= 2 * _LEAST:
        pyramid.insert(0, tuple(map(_halved, pyramid[0])))
    return pyramid


def _halved(image: Grey) -> Float[Tensor, "b 1 _ _"]:
    """Half the size, each pixel the mean of those it covers."""
    height, width = image.shape[2:]
    return F.interpolate(image, (height // 2, width // 2), mode="area" if height % 2 or width % 2 else "bilinear")
