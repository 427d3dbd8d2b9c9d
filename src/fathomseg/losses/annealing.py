"""Training-signal annealing: with few labels, what the network already knows of them is not rubbed in.

Xie et al. 2020 (Unsupervised Data Augmentation, arXiv:1904.12848): at step t of T, labelled examples (here
pixels) whose class has a probability above eta_t = alpha_t (1 - 1/K) + 1/K are left out, K being the number of classes.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from fathomseg.config import Part
from fathomseg.geometry.numerics import full_precision
from fathomseg.types import IGNORE

SumCount = tuple[Float[Tensor, ""], Float[Tensor, ""]]


class Annealing(Part):
    """How fast the labels are let in: exp at the very end (few labels), linear, or log at once (many labels)."""

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
