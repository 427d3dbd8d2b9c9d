"""Holds the scale of self-supervised depth, which the photometric error of one camera leaves open."""

from __future__ import annotations

import math
from typing import Final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fathomseg.geometry.numerics import full_precision
from fathomseg.losses.smoothness import SumCount

FREE: Final = math.log(1.5)
"""How far the log of the mean may be off at no cost: narrow streets are nearer than wide ones."""


@full_precision
def drift(disparity: Float[Tensor, "b 1 h w"], mean_disparity: float) -> SumCount:
    """The sum over images of max(0, |log(mean disparity / `mean_disparity`)| - log 1.5)^2, and the number of images.

    Depths and translations multiplied alike redraw the same picture, so gradients have no part along the scale; steps
    across it make weights larger and larger, and the scale with them (as with any loss that is invariant to it).
    """
    off = (disparity.mean((1, 2, 3)) / mean_disparity).log().abs()
    total = F.relu(off - FREE).square().sum()
    return total, total.new_tensor(float(len(disparity)))
