"""How high a camera is above the ground of a depth map, in the unit of the depth.

Dense geometrical constraints of DNet: Xue, Zhuo, Huang, Fu, Wu, Ang 2020, "Toward Hierarchical Self-Supervised
Monocular Absolute Depth Estimation for Autonomous Driving Applications" (IROS, arXiv:2004.05560), section III-C.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fathomseg.geometry.camera import rays
from fathomseg.geometry.normals import normals
from fathomseg.geometry.numerics import full_precision

_LEAST_SHARE: Final = 0.01
"""An image whose ground is less than this share of its pixels tells nothing."""


@full_precision
def camera_heights(
    depth: Float[Tensor, "b 1 h w"], K: Float[Tensor, "b 3 3"], max_angle: float = 10.0
) -> Float[Tensor, " b"]:
    """The median height of the camera above the ground pixels of each z-depth (0 = unknown); NaN where there is hardly
    any ground.

    A point P of the plane with normal n is n.P below the camera. The paper takes 5 degrees for `max_angle`.
    """
    n = normals(depth, K)
    below = -(n * depth * rays(K, (depth.shape[2], depth.shape[3]))).sum(1)
    below = below.masked_fill(~ground(n, K, max_angle), torch.nan).flatten(1)
    enough = (~below.isnan()).sum(1) >= _LEAST_SHARE * below.shape[1]
    return torch.where(enough, below.nanmedian(dim=1).values, torch.nan)


def ground(
    normals: Float[Tensor, "b 3 h w"], K: Float[Tensor, "b 3 3"], max_angle: float = 10.0
) -> Bool[Tensor, "b h w"]:
    """Where a surface looks upwards to within `max_angle` degrees, below the horizon and in the middle half of the
    columns: what a camera that is held level drives towards. The horizon is the row of the principal point."""
    _, _, height, width = normals.shape
    v = torch.arange(height, device=normals.device).view(1, -1, 1)
    u = torch.arange(width, device=normals.device).view(1, 1, -1)
    ahead = (v > K[:, 1, 2].view(-1, 1, 1)) & (4 * u >= width) & (4 * u < 3 * width)
    upward = -normals[:, 1] > math.cos(math.radians(max_angle))  # y points down
    return ahead & upward
