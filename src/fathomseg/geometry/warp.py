"""View synthesis: a source image resampled as the target camera would see it (Zhou et al. 2017, equation 2).

With inverse depth r = 1/z the projection of target pixel p = (u, v, 1) into a source needs no point cloud:

    K_src (R z K^-1 p + t)  ~  (K_src R K^-1) p + (K_src t) r

One 3x4 matrix for each pair of images, applied to (u, v, 1, r), gives the sampling position.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from fathomseg.geometry.camera import image_plane, inverse, reciprocal, resampled
from fathomseg.geometry.numerics import blocks, product
from fathomseg.types import Size

Grid = Float[Tensor, "b s 2 h w"]
"""Where each target pixel lies in each source: x and y, -1 at the centre of the first pixel and 1 at the last one's."""


def projection(
    K: Float[Tensor, "b 3 3"], src_T_tgt: Float[Tensor, "b s 4 4"], K_src: Float[Tensor, "b #s 3 3"], size: Size
) -> Float[Tensor, "b s 3 4"]:
    """The matrices that take (u, v, 1, inverse depth) of the target to homogeneous grid positions in the sources.

    `size` is the height and width of the sources in pixels.
    """
    height, width = size
    sx, sy = 2 / max(width - 1, 1), 2 / max(height - 1, 1)
    # The focal lengths cancel: float64 halves the error of positions at 640 pixels. Apple's GPUs do not have it.
    wide = torch.float32 if K.device.type == "mps" else torch.float64
    T, left = src_T_tgt.to(wide), resampled(K_src.to(wide), (sx, sy), (-1, -1))
    rotation = product(product(left, T[..., :3, :3]), inverse(K.to(wide))[:, None])
    return torch.cat([rotation, product(left, T[..., :3, 3:])], dim=-1).to(K.dtype)


def locate(
    matrices: Float[Tensor, "b s 3 4"], inverse_depth: Float[Tensor, "b 1 h w"]
) -> tuple[Grid, Bool[Tensor, "b s h w"]]:
    """Grid positions of all target pixels in all sources, and which of them lie before the source camera.

    Points behind it get the position of the image centre, with a zero gradient.
    """
    grid, q = _Locate.apply(matrices, inverse_depth)  # type: ignore[no-untyped-call]
    return grid, (q > 0)[:, :, 0]


class _Locate(torch.autograd.Function):
    """(x, y, z) = matrix @ (u, v, 1, r); the grid is (x, y) / z. Returned beside it: q = 1 / z, 0 where z <= 0."""

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        (b, s), (h, w) = matrices.shape[:2], r.shape[-2:]
        grid, q = r.new_empty(b, s, 2, h, w), r.new_empty(b, s, 1, h, w)
        for block in blocks(grid, 2):
            M = matrices[block]
            position = image_plane(M[..., :3], (h, w)).addcmul_(M[..., 3, None, None], r[block[0], None])
            q[block] = reciprocal(position[:, :, 2:])
            torch.mul(position[:, :, :2], q[block], out=grid[block])
            # A position that is not a number makes grid_sample's backward pass on the CPU crash the process.
            grid[block].nan_to_num_(nan=2.0)
        ctx.save_for_backward(matrices, r, grid, q)
        ctx.mark_non_differentiable(q)
        return grid, q

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        matrices, r, grid, q = ctx.saved_tensors
        to_matrices, to_r = torch.empty_like(matrices), torch.zeros_like(r)
        v, u = (torch.arange(n, dtype=r.dtype, device=r.device) for n in r.shape[-2:])
        for block in blocks(grid, 2):
            xy = gradient[block] * q[block]
            xyz = torch.cat([xy, -(xy * grid[block]).sum(2, keepdim=True)], dim=2)
            columns, rows, depth = xyz.sum(-2), xyz.sum(-1), r[block[0], None]
            parts = [(columns * u).sum(-1), (rows * v).sum(-1), rows.sum(-1), (xyz * depth).sum((-2, -1))]
            to_matrices[block] = torch.stack(parts, dim=-1)
            to_r[block[0]] += (matrices[block][..., 3, None, None] * xyz).sum((1, 2))[:, None]
        return to_matrices, to_r


def sample(sources: Float[Tensor, "b s c H W"], grid: Grid) -> Float[Tensor, "b s c h w"]:
    """The sources at grid positions, bilinear, repeating the border; one call for all sources."""
    # Pixel centres lie at integers and -1, 1 are centres of pixels: only align_corners=True leaves them in place.
    flat = F.grid_sample(
        sources.flatten(0, 1), grid.flatten(0, 1).permute(0, 2, 3, 1), "bilinear", "border", align_corners=True
    )
    return flat.view(*sources.shape[:2], *flat.shape[1:])


def inside(grid: Grid) -> Bool[Tensor, "b s h w"]:
    """Where a grid position lies between the centres of the outermost pixels."""
    # A little slack keeps the outermost pixels when rounding moves them by a thousandth of a pixel.
    return (grid.abs() <= 1 + 1e-5).all(dim=2)
