"""The pinhole camera on tensors: pixels (centres at integers) to points in metres, and back.

Intrinsics K are [[fx, skew, cx], [0, fy, cy], [0, 0, 1]] in pixels. u runs right and v down, z is the depth.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fathomseg.geometry.numerics import full_precision
from fathomseg.types import Camera, Size

NEAR = 1e-6
"""Points nearer than this share of their depth (or this many metres) count as behind the camera."""


def intrinsics(cameras: Sequence[Camera], device: torch.device | str | None = None) -> Float[Tensor, "b 3 3"]:
    """The matrices K of some cameras, float32, in pixels."""
    return torch.stack([torch.from_numpy(camera.matrix()) for camera in cameras]).to(device, torch.float32)


@full_precision
def inverse(K: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 3"]:
    """K^-1 in closed form: no factorisation, no host sync, exact for upper-triangular K with a last row of 0 0 1."""
    fx, skew, cx, fy, cy = K[..., 0, 0], K[..., 0, 1], K[..., 0, 2], K[..., 1, 1], K[..., 1, 2]
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    x = [1 / fx, -skew / (fx * fy), (skew * cy / fy - cx) / fx]
    y = [zero, 1 / fy, -cy / fy]
    return torch.stack([*x, *y, zero, zero, one], dim=-1).view(K.shape)


def resampled(
    K: Float[Tensor, "*b 3 3"], scale: tuple[float, float], shift: tuple[float, float]
) -> Float[Tensor, "*b 3 3"]:
    """The matrix of the camera whose pixels lie at scale * (u, v) + shift: [[sx, 0, x], [0, sy, y], [0, 0, 1]] @ K.

    Row by row, since a small matrix made on the host would make it wait for the device.
    """
    u, v, one = K.unbind(-2)
    return torch.stack([scale[0] * u + shift[0] * one, scale[1] * v + shift[1] * one, one], dim=-2)


def image_plane(M: Float[Tensor, "*b 3 3"], size: Size) -> Float[Tensor, "*b 3 h w"]:
    """M @ (u, v, 1) at every pixel: a row plus a column, which is cheaper than the matrix product with a grid."""
    v, u = (torch.arange(n, dtype=M.dtype, device=M.device) for n in size)
    row = M[..., 0, None] * u
    column = M[..., 1, None] * v + M[..., 2, None]
    return row[..., None, :] + column[..., None]


@full_precision
def rays(K: Float[Tensor, "b 3 3"], size: Size) -> Float[Tensor, "b 3 h w"]:
    """The viewing ray K^-1 (u, v, 1) of every pixel centre, scaled to z = 1."""
    return image_plane(inverse(K), size)


@full_precision
def project(
    points: Float[Tensor, "b 3 h w"], K: Float[Tensor, "b 3 3"]
) -> tuple[Float[Tensor, "b 2 h w"], Float[Tensor, "b 1 h w"]]:
    """Pixel coordinates (u, v) of points, and their z in metres.

    Where z is not positive the coordinates are those of the principal point, with a zero gradient: test z.
    """
    z = points[:, 2:]
    x, y = (points[:, :2] * reciprocal(z)).unbind(1)
    fx, skew, cx, fy, cy = (K[:, i, j, None, None] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2)))
    return torch.stack([fx * x + skew * y + cx, fy * y + cy], dim=1), z


def reciprocal(z: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """1 / z where z > NEAR, else 0, with a finite gradient everywhere."""
    # Clamping first keeps the infinite slope of 1 / z at 0 out of the gradient, where `where` would make it NaN.
    return torch.where(z > NEAR, 1 / z.clamp(min=NEAR), 0.0)


def inverse_depth(disparity: Float[Tensor, "*n"], min_depth: float, max_depth: float) -> Float[Tensor, "*n"]:
    """1 / depth, in 1/metres, of a sigmoid disparity 0..1: 0 stands for `max_depth`, 1 for `min_depth`.

    Godard et al. 2019: depth = 1 / (a disparity + b).
    """
    return disparity * (1 / min_depth - 1 / max_depth) + 1 / max_depth


def disparity_to_depth(disparity: Float[Tensor, "*n"], min_depth: float, max_depth: float) -> Float[Tensor, "*n"]:
    """Depth in metres of a sigmoid disparity 0..1."""
    return 1 / inverse_depth(disparity, min_depth, max_depth)


def depth_to_disparity(depth: Float[Tensor, "*n"], min_depth: float, max_depth: float) -> Float[Tensor, "*n"]:
    """The sigmoid disparity of a depth in metres; outside 0..1 for depths outside the bounds, infinite at 0."""
    return (1 / depth - 1 / max_depth) / (1 / min_depth - 1 / max_depth)
