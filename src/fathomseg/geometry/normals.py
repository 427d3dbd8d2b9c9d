"""Surface normals from depth and camera: unit vectors in the camera's frame that point towards the camera."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from fathomseg.geometry.camera import reciprocal
from fathomseg.geometry.numerics import full_precision, product


@full_precision
def normals(depth: Float[Tensor, "b 1 h w"], K: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b 3 h w"]:
    """The normal at every pixel of a z-depth in metres (0 = unknown); 0 0 0 where it is not known.

    Exact on planes: the inverse depth of a plane n.P = d is n.r / d with the ray r = K^-1 (u, v, 1), which is linear in
    u and v, so that n / d = K^T (w_u, w_v, w - u w_u - v w_v) for w = 1 / z. Along each axis the smaller one of the two
    differences to the neighbours is taken, which stays on one surface at an edge of depth. A pixel is known if its
    depth is, and that of a neighbour along each axis.
    """
    w, known = reciprocal(depth), depth > 0
    slopes, there = zip(*(_slope(w, known, axis) for axis in (3, 2)), strict=True)
    (w_u, w_v), known = slopes, known & there[0] & there[1]
    v, u = (torch.arange(n, dtype=w.dtype, device=w.device) for n in w.shape[2:])
    plane = torch.cat([w_u, w_v, w - u * w_u - v[:, None] * w_v], dim=1)
    away = product(K.mT, plane.flatten(2)).view_as(plane)  # its product with the ray is w > 0: it points away
    return torch.where(known, -F.normalize(away, dim=1, eps=1e-20), 0.0)


def _slope(
    w: Float[Tensor, "b 1 h w"], known: Bool[Tensor, "b 1 h w"], axis: int
) -> tuple[Float[Tensor, "b 1 h w"], Bool[Tensor, "b 1 h w"]]:
    """The smaller one of the differences to the neighbours along an axis that are known, and where one is."""
    pair = (known.narrow(axis, 1, known.shape[axis] - 1)) & known.narrow(axis, 0, known.shape[axis] - 1)
    step = torch.where(pair, w.diff(dim=axis), torch.inf)
    pad = [0, 0, 0, 0]
    ahead, behind = list(pad), list(pad)
    side = 2 * (3 - axis)
    ahead[side + 1], behind[side] = 1, 1
    forward, backward = F.pad(step, ahead, value=torch.inf), F.pad(step, behind, value=torch.inf)
    slope = torch.where(forward.abs() < backward.abs(), forward, backward)
    there = slope.isfinite()
    return torch.where(there, slope, 0.0), there
