"""Losses of disparity that no second view takes part in, as (sum, count)."""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from fathomseg.geometry.numerics import full_precision, size_of
from fathomseg.types import SumCount

FREE: Final = math.log(1.5)
"""How far the log of the mean may be off at no cost: narrow streets are nearer than wide ones."""


def means(maps: Float[Tensor, "b 1 h w"], valid: Bool[Tensor, "b 1 _ _"] | None = None) -> Float[Tensor, "b 1 1 1"]:
    """The mean of the `valid` pixels of each image, None = all. `valid` may be larger than the maps: a pixel counts by
    how much of it is valid."""
    if valid is None:
        return maps.mean((1, 2, 3), keepdim=True)
    weight = F.interpolate(valid.to(maps.dtype), size_of(maps), mode="area")
    return (maps * weight).sum((1, 2, 3), keepdim=True) / weight.sum((1, 2, 3), keepdim=True)


def over_mean(
    disparity: Float[Tensor, "b 1 h w"], mean: Float[Tensor, "b 1 1 1"] | None = None
) -> Float[Tensor, "b 1 h w"]:
    """Divided by its mean over the image, or by the one given, so that its scale does not count."""
    return disparity / ((means(disparity) if mean is None else mean) + 1e-7)


@full_precision
def smoothness(disparity: Float[Tensor, "b 1 h w"], image: Float[Tensor, "b 3 h w"]) -> SumCount:
    """The sum over images of mean(|dx d| e^-|dx I|) + mean(|dy d| e^-|dy I|), and the number of images.

    Edge-aware smoothness (Godard et al. 2017), mean-normalised after Wang et al. 2018:
    d = disparity / its mean, so that shrinking the scene does not lower the loss. |dx I| is the mean over the colours
    of an image 0..1; differences are between neighbouring pixels. No gradient reaches the image.
    """
    d = over_mean(disparity)
    total = disparity.new_zeros(len(disparity))
    for axis in (-1, -2):
        if disparity.shape[axis] > 1:
            with torch.no_grad():
                edge = torch.exp(-image.diff(dim=axis).abs().mean(1, keepdim=True))
            total = total + (d.diff(dim=axis).abs() * edge).mean((1, 2, 3))
    return total.sum(), total.new_full((), len(total))


@full_precision
def below_horizon(
    disparity: Float[Tensor, "b 1 h w"],
    K: Float[Tensor, "b 3 3"],
    margin: float = 0.1,
    valid: Bool[Tensor, "b 1 h w"] | None = None,
) -> SumCount:
    """The sum over images of mean(max(0, m - d - margin)) below the horizon, and the number of images.

    Means are over the `valid` pixels, None = all.

    A remedy for holes: what moves along with the camera looks infinitely far to the photometric loss. Below the horizon
    everything stands on the ground or is the ground, so going down a column of the image things only get nearer, but
    for what overhangs. On the generated streets 2 % of the pixels below the horizon break that rule by more than a
    tenth of the mean disparity; a car that has become a hole breaks it by all of its own disparity.

    d = disparity / its mean, which gets no gradient; m is the largest d above the pixel in its column, down from the
    horizon, which is taken to be the row of the principal point (a camera that looks straight ahead). `K` belongs to an
    image of the disparity's size. Gradients lift what is too far and never push away what is near.
    """
    height = disparity.shape[2]
    d = over_mean(disparity, means(disparity.detach(), valid))
    row = torch.arange(height, device=d.device, dtype=d.dtype).view(1, 1, -1, 1)
    below = row > K[:, 1, 2].view(-1, 1, 1, 1)
    if valid is not None:
        below = below & valid
    with torch.no_grad():
        nearest = torch.where(below, d, 0.0).cummax(dim=2).values
    missing = torch.where(below, (nearest - d - margin).clamp(min=0), 0.0)
    share = means(missing, valid)
    return share.sum(), share.new_full((), len(share))


@full_precision
def drift(
    disparity: Float[Tensor, "b 1 h w"], mean_disparity: float, valid: Bool[Tensor, "b 1 _ _"] | None = None
) -> SumCount:
    """max(0, |m| - log 1.5)^2 times the number of images, and that number; m: the mean over these images, those of one
    process, of log(mean disparity / `mean_disparity`).

    Holds the scale of self-supervised depth, which the photometric error of one camera leaves open.
    Depths and translations multiplied alike redraw the same picture, so gradients have no part along the scale; steps
    across it make weights larger and larger, and the scale with them (as with any loss that is invariant to it).
    Images differ: asked of each, it would give a narrow street and a wide one the same mean. The mean disparity is that
    of the `valid` pixels, None = all.
    """
    off = (means(disparity, valid) / mean_disparity).log().mean().abs()
    number = off.new_full((), len(disparity))
    return F.relu(off - FREE).square() * number, number


@full_precision
def berhu(
    prediction: Float[Tensor, "*shape"],
    target: Float[Tensor, "*shape"],
    share: float = 0.2,
    pixel_weight: Float[Tensor, "*shape"] | None = None,
) -> SumCount:
    """|e| up to c and (e^2 + c^2) / 2c beyond, summed where the target is known; and the number of those pixels.

    The reverse Huber loss (Owen 2007; for depth: Laina et al. 2016, arXiv:1606.00373, equation 2).
    c = `share` times the largest |e| of the batch, as published, a constant for the gradient: of this process's
    micro-batch, so that `train.accumulate` and more GPUs change it. A target of NaN is not known. A batch without known
    targets gives (0, 0) with a zero gradient. `pixel_weight` multiplies the loss of each pixel; the
    number stays that of the pixels.
    """
    known = ~target.isnan()
    error = torch.where(known, prediction - target.nan_to_num(), 0.0).abs()
    c = (share * error.detach().max()).clamp(min=1e-12)
    losses = torch.where(error <= c, error, (error.square() + c.square()) / (2 * c))
    return (losses if pixel_weight is None else losses * pixel_weight).sum(), known.sum().float()
