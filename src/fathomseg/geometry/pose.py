"""Rigid motions as 4x4 matrices, named target-first: point_a = a_T_b @ point_b. Translations are in metres."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fathomseg.geometry.numerics import full_precision, product


@full_precision
def se3(axis_angle: Float[Tensor, "b 3"], translation: Float[Tensor, "b 3"]) -> Float[Tensor, "b 4 4"]:
    """The motion that rotates about `axis_angle` by its length in radians, then moves by `translation`.

    Rodrigues' formula R = I + sin(t)/t W + (1 - cos t)/t^2 W^2 with W = [axis_angle]x and t its length; values and
    gradients are exact to rounding at every angle, 0 included.
    """
    squared = axis_angle.square().sum(-1, keepdim=True)
    # The square root has no gradient at 0, so both factors come from their series where the angle is small.
    small = squared < 1e-4
    half = torch.where(small, 1.0, squared).sqrt() / 2
    sinc = torch.where(small, 1 - squared / 6 + squared**2 / 120, (2 * half).sin() / (2 * half))
    versine = torch.where(small, 0.5 - squared / 24 + squared**2 / 720, (half.sin() / half).square() / 2)
    W = skew(axis_angle)
    # W^2 = w w^T - t^2 I saves a matrix product.
    outer = axis_angle[..., :, None] * axis_angle[..., None, :]
    eye = torch.eye(3, dtype=W.dtype, device=W.device)
    R = eye + sinc[..., None] * W + versine[..., None] * (outer - squared[..., None] * eye)
    return rigid(R, translation)


def skew(w: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """The matrix of the cross product: skew(w) @ x = w x x."""
    x, y, z = w.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).view(*w.shape, 3)


def rigid(R: Float[Tensor, "*b 3 3"], t: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 4 4"]:
    """The 4x4 matrix of x -> R x + t."""
    last = torch.zeros_like(R[..., :1, :1]).expand(*R.shape[:-2], 1, 3)
    bottom = torch.cat([last, torch.ones_like(R[..., :1, :1])], dim=-1)
    return torch.cat([torch.cat([R, t[..., None]], dim=-1), bottom], dim=-2)


@full_precision
def invert(T: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """The inverse of a rigid motion: R^T, -R^T t."""
    R, t = T[..., :3, :3].mT, T[..., :3, 3]
    return rigid(R, _apply(R, -t))


@full_precision
def relative(world_T_a: Float[Tensor, "*b 4 4"], world_T_b: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """a_T_b from two poses: takes a point in the frame of b to the frame of a.

    The positions are subtracted before they are rotated, so that cameras far from the origin lose no precision.
    """
    R = world_T_a[..., :3, :3].mT
    return rigid(product(R, world_T_b[..., :3, :3]), _apply(R, world_T_b[..., :3, 3] - world_T_a[..., :3, 3]))


def _apply(R: Float[Tensor, "*b 3 3"], t: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    return product(R, t[..., None]).squeeze(-1)
