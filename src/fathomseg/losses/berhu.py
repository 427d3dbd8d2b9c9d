"""The reverse Huber loss (Owen 2007; for depth: Laina et al. 2016, arXiv:1606.00373, equation 2)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fathomseg.losses.segmentation import SumCount


def berhu(prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"], share: float = 0.2) -> SumCount:
    """|e| up to c and (e^2 + c^2) / 2c beyond, summed where the target is known; and the number of those pixels.

    c = `share` times the largest |e| of the batch, a constant for the gradient. A target of NaN is not known. A batch
    without known targets gives (0, 0) with a zero gradient.
    """
    known = ~target.isnan()
    error = torch.where(known, prediction.float() - target.nan_to_num(), 0.0).abs()
    c = (share * error.detach().max()).clamp(min=1e-12)
    return torch.where(error <= c, error, (error.square() + c.square()) / (2 * c)).sum(), known.sum().float()
