"""A remedy for holes: what moves along with the camera looks infinitely far to the photometric loss.

Below the horizon everything stands on the ground or is the ground, so going down a column of the image things only get
nearer, but for what overhangs. On the generated streets 2 % of the pixels below the horizon break that rule by more
than a tenth of the mean disparity; a car that has become a hole breaks it by all of its own disparity.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fathomseg.geometry.numerics import full_precision
from fathomseg.losses.smoothness import SumCount


@full_precision
def holes(disparity: Float[Tensor, "b 1 h w"], K: Float[Tensor, "b 3 3"], margin: float = 0.1) -> SumCount:
    """The sum over images of mean(max(0, m - d - margin)) below the horizon, and the number of images.

    d = disparity / its mean, which gets no gradient; m is the largest d above the pixel in its column, down from the
    horizon, which is taken to be the row of the principal point (a camera that looks straight ahead). `K` belongs to an
    image of the disparity's size. Gradients lift what is too far and never push away what is near.
    """
    height = disparity.shape[2]
    d = disparity / (disparity.detach().mean((1, 2, 3), keepdim=True) + 1e-7)
    row = torch.arange(height, device=d.device, dtype=d.dtype).view(1, 1, -1, 1)
    below = row > K[:, 1, 2].view(-1, 1, 1, 1)
    with torch.no_grad():
        nearest = torch.where(below, d, 0.0).cummax(dim=2).values
    missing = torch.where(below, (nearest - d - margin).clamp(min=0), 0.0)
    share = missing.mean((1, 2, 3))
    return share.sum(), share.new_tensor(float(len(share)))
