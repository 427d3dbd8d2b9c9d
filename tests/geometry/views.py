"""Whole views and point clouds, put together from the functions under test."""

from __future__ import annotations

from torch import Tensor

from fathomseg.geometry.camera import rays, reciprocal
from fathomseg.geometry.numerics import size_of
from fathomseg.geometry.warp import inside, locate, projection, sample


def warp(source: Tensor, depth: Tensor, K: Tensor, src_T_tgt: Tensor) -> tuple[Tensor, Tensor]:
    """The source seen from the target camera, and where that is known, given the target's z-depth in metres."""
    grid, ahead = locate(projection(K, src_T_tgt[:, None], K[:, None], size_of(source)), reciprocal(depth))
    return sample(source[:, None], grid)[:, 0], ahead & inside(grid) & (depth > 0)


def backproject(depth: Tensor, K: Tensor) -> Tensor:
    """Points in metres in the camera's frame from z-depth in metres: depth K^-1 (u, v, 1)."""
    return rays(K, size_of(depth)) * depth
