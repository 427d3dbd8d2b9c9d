"""Segmentation losses as (sum, count): the trainer divides by the count over all ranks and micro-batches."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part
from fathomseg.geometry.numerics import full_precision, size_of
from fathomseg.types import IGNORE, Size, SumCount


@full_precision
def upsample(maps: Float[Tensor, "b c h w"], size: Size) -> Float[Tensor, "b c H W"]:
    """Bilinear, pixel edges aligned: logits to the (height, width) of the label."""
    return maps if size_of(maps) == size else F.interpolate(maps, size, mode="bilinear", align_corners=False)


def cross_entropy(
    logits: Float[Tensor, "b c h w"],
    label: UInt8[Tensor, "b h w"],
    weight: Float[Tensor, " c"] | None = None,
    smoothing: float = 0.0,
    pixel_weight: Float[Tensor, "b h w"] | None = None,
) -> SumCount:
    """Pixel-wise cross-entropy, times its class's `weight`, summed over the pixels not ignored; and their number.

    `pixel_weight` multiplies the loss of each pixel; the number stays that of the pixels. A batch in which every pixel
    is ignored gives (0, 0) with a zero gradient, not NaN.
    """
    target = label.long()
    how = "sum" if pixel_weight is None else "none"
    total = F.cross_entropy(logits, target, weight, ignore_index=IGNORE, label_smoothing=smoothing, reduction=how)
    if pixel_weight is not None:
        total = (total * pixel_weight).sum()
    return total, (target != IGNORE).sum().float()


@full_precision
def soft_cross_entropy(
    logits: Float[Tensor, "b c h w"],
    label: UInt8[Tensor, "b h w"],
    classes: UInt8[Tensor, "b k h w"],
    probabilities: Float[Tensor, "b k h w"],
    weight: Float[Tensor, " c"] | None = None,
    pixel_weight: Float[Tensor, "b h w"] | None = None,
) -> SumCount:
    """-sum of q log p over all classes, summed over the pixels whose `label` is not ignored; and their number.

    q is a teacher's distribution (Hinton et al. 2015, arXiv:1503.02531, at temperature 1): the `probabilities` of its
    k most probable `classes`, and what is left of 1 spread evenly over the others. Each q is multiplied by its class's
    `weight`, as labels drawn from it would be, and each pixel by its `pixel_weight`.
    """
    logp, valid = logits.log_softmax(1), label != IGNORE
    if weight is not None:
        logp = logp * weight.view(1, -1, 1, 1)
    others = logits.shape[1] - classes.shape[1]
    rest = (1 - probabilities.sum(1)).clamp(min=0) / max(others, 1) * (others > 0)
    losses = -((probabilities - rest[:, None]) * logp.gather(1, classes.long())).sum(1) - rest * logp.sum(1)
    losses = torch.where(valid, losses, 0.0)
    if pixel_weight is not None:
        losses = losses * pixel_weight
    return losses.sum(), valid.sum().float()


def balancing_weights(pixels: Int64[Tensor, " c"], power: float) -> Float[Tensor, " c"]:
    """Class weights f^-power from the pixels of each class, f their share, such that the mean pixel weighs 1.

    power 0: all classes weigh the same a pixel; 1: the same altogether; 0.5 lies between. A class without pixels gets
    the weight of a class with one pixel; it does not matter.
    """
    share = pixels.clamp(min=1).double() / pixels.sum().clamp(min=1)
    weight = share**-power
    return (weight / (share * weight).sum()).float()


def ohem_cross_entropy(
    logits: Float[Tensor, "b c h w"], label: UInt8[Tensor, "b h w"], threshold: float = 0.7, min_kept: float = 0.15
) -> SumCount:
    """Cross-entropy over the hard pixels only (online hard example mining).

    Kept are the pixels whose true class has a probability below `threshold`, and in any case the hardest `min_kept`
    share of all pixels (of the valid ones, if those are fewer). The number kept is found without a host sync.
    """
    losses = F.cross_entropy(logits, label.long(), ignore_index=IGNORE, reduction="none").flatten()
    valid = (label != IGNORE).flatten()
    # -log p > -log threshold says that p < threshold, so the mining needs no softmax of its own.
    losses = torch.where(valid, losses, -1.0)
    least = max(1, int(min_kept * losses.numel()))
    hardest = losses.detach().topk(least, sorted=True).values[-1]
    keep = valid & (losses.detach() >= hardest.clamp(max=-math.log(threshold)))
    return torch.where(keep, losses, 0.0).sum(), keep.sum().float()


@full_precision
def focal_loss(
    logits: Float[Tensor, "b c h w"],
    label: UInt8[Tensor, "b h w"],
    gamma: float,
    pixel_weight: Float[Tensor, "b h w"] | None = None,
) -> SumCount:
    """-(1 - p)^gamma log p of each pixel's class, summed over the pixels not ignored; and their number.

    Lin et al. 2017, arXiv:1708.02002, equation 4, with softmax and not a sigmoid a class.
    """
    losses = F.cross_entropy(logits, label.long(), ignore_index=IGNORE, reduction="none")
    losses = (-torch.expm1(-losses)).clamp(min=1e-12) ** gamma * losses  # the gradient of 0^gamma may be infinite
    if pixel_weight is not None:
        losses = losses * pixel_weight
    return losses.sum(), (label != IGNORE).sum().float()


class Ohem(Part):
    """Online hard example mining of a batch's pixels (Shrivastava et al. 2016)."""

    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """Pixels whose true class has a probability below this are kept."""
    min_kept: Annotated[float, Field(gt=0, le=1)] = 0.15
    """At least this share of all pixels is kept, the hardest ones first."""

    def __call__(self, logits: Float[Tensor, "b c h w"], label: UInt8[Tensor, "b h w"]) -> SumCount:
        """The sum of the cross-entropies of the pixels kept, and their number; ignored pixels are never kept."""
        return ohem_cross_entropy(logits, label, self.threshold, self.min_kept)


class Annealing(Part):
    """Training-signal annealing: labelled pixels the network is already confident of are left out, against overfitting.

    Xie et al. 2020 (Unsupervised Data Augmentation, arXiv:1904.12848): at step t of T, labelled examples (here pixels)
    whose class has a probability above eta_t = alpha_t (1 - 1/K) + 1/K are left out, K being the number of classes.
    Labelled pixels come to count at the very end (exp, for few labels), evenly (linear), or at once (log, for many).
    """

    schedule: Literal["linear", "log", "exp"] = "exp"
    """alpha of progress t in 0..1. linear: t; exp: e^(5 (t - 1)); log: 1 - e^(-5 t)."""

    def threshold(self, progress: float, classes: int) -> float:
        """eta_t at `progress` 0..1 of the training: between 1 / classes (chance) and 1."""
        alpha = {
            "linear": progress,
            "exp": math.exp(5 * (progress - 1)),
            "log": 1 - math.exp(-5 * progress),
        }[self.schedule]
        return alpha * (1 - 1 / classes) + 1 / classes


@full_precision
def annealed_cross_entropy(
    logits: Float[Tensor, "b c h w"],
    label: UInt8[Tensor, "b h w"],
    threshold: float,
    weight: Float[Tensor, " c"] | None = None,
) -> SumCount:
    """Cross-entropy over the pixels whose class has a probability of at most `threshold`, and the number of these.

    Each pixel's loss is multiplied by its class's `weight`, as in `cross_entropy`.

    Nothing known, nothing ignored: all pixels. Everything known: (0, 0) with a zero gradient.
    """
    losses = F.cross_entropy(logits, label.long(), ignore_index=IGNORE, reduction="none")
    # -log p >= -log threshold says that p <= threshold, so this needs no softmax of its own.
    keep = (label != IGNORE) & (losses.detach() >= -math.log(threshold))
    if weight is not None:
        losses = losses * weight[label.long().clamp(max=len(weight) - 1)]  # ignored pixels are left out below
    return torch.where(keep, losses, 0.0).sum(), keep.sum().float()
