"""Edge-aware smoothness of disparity (Godard et al. 2017; mean-normalised after Wang et al. 2018)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fathomseg.geometry.numerics import full_precision

SumCount = tuple[Float[Tensor, ""], Float[Tensor, ""]]


@full_precision
def smoothness(disparity: Float[Tensor, "b 1 h w"], image: Float[Tensor, "b 3 h w"]) -> SumCount:
    """The sum over images of mean(|dx d| e^-|dx I|) + mean(|dy d| e^-|dy I|), and the number of images.

    d = disparity / its mean, so that shrinking the scene does not lower the loss. |dx I| is the mean over the colours
    of an image 0..1; differences are between neighbouring pixels. No gradient reaches the image.
    """
    d = disparity / (disparity.mean((1, 2, 3), keepdim=True) + 1e-7)
    total = disparity.new_zeros(len(disparity))
    for axis in (-1, -2):
        if disparity.shape[axis] > 1:
            with torch.no_grad():
                edge = torch.exp(-image.diff(dim=axis).abs().mean(1, keepdim=True))
            total = total + (d.diff(dim=axis).abs() * edge).mean((1, 2, 3))
    return total.sum(), total.new_tensor(float(len(total)))
