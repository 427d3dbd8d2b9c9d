"""The motion of a camera read off two images whose depth is known, by direct alignment: no network, no matched points.

Gauss-Newton on the difference of the images, robustly weighted, coarse to fine: "Robust odometry estimation for RGB-D
cameras" (Kerl, Sturm and Cremers, ICRA 2013), with the mean of both images' gradients (Malis, ICRA 2004), which
converges faster. Nothing here has a gradient: at the best motion a small change of it does not change the loss.
"""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fathomseg.geometry.camera import rays, resampled
from fathomseg.geometry.flow import gradient, octaves, without_mean
from fathomseg.geometry.numerics import full_precision, product, size_of
from fathomseg.geometry.pose import se3
from fathomseg.geometry.warp import inside, locate, projection, sample

_RADIUS: Final = 3
"""Images are compared without their means over windows of this radius: a change of exposure is no motion."""
_TOLERANCE: Final = 0.03
"""Differences above this, of 0..1, count less and less: occlusions, and what moves by itself."""
_DAMPING: Final = 0.03
"""Share of the diagonal added to the normal equations: what the images do not tell stays as it was."""
_ITERATIONS: Final = 2
"""Steps on each level."""

Motions = Float[Tensor, "b s 4 4"]
Steps = Float[Tensor, "b s 6"]


@torch.no_grad()
@full_precision
def align(
    target: Float[Tensor, "b 3 h w"],
    sources: Float[Tensor, "b s 3 h w"],
    inverse_depth: Float[Tensor, "b 1 h w"],
    K: Float[Tensor, "b 3 3"],
    src_T_tgt: Motions,
    valid: Bool[Tensor, "b 1 h w"] | None = None,
) -> Motions:
    """`src_T_tgt` improved until each source, warped, looks as much like the target as it can.

    Images are 0..1; `inverse_depth` is 1/z of the target, 0 = infinitely far; `K` belongs to this size. Translations
    come out in the unit of the depth. A motion that would make the images match worse than the one that was given is
    not taken.
    """
    b, s, _, h, w = sources.shape
    seen = torch.ones_like(inverse_depth) if valid is None else valid.to(inverse_depth)
    grey = target.mean(1, keepdim=True), sources.mean(2).flatten(0, 1)[:, None], inverse_depth, seen
    motion, moved = src_T_tgt, src_T_tgt.new_zeros(b, s, 6)
    for one, other, r, weight in octaves(grey):
        level = _Level(without_mean(one, _RADIUS), without_mean(other, _RADIUS), r, weight, _resized(K, (h, w), one))
        for _ in range(_ITERATIONS):
            step = level.step(motion, moved)
            small = se3(*step.flatten(0, 1).split(3, dim=1)).view(b, s, 4, 4)
            motion, moved = product(motion, small), moved + step
    better = level.error(motion) < level.error(src_T_tgt)  # false for what is no number
    return torch.where(better[..., None, None], motion, src_T_tgt)


class _Level:
    """One octave: the images without their local mean, and what does not change from step to step."""

    def __init__(
        self,
        target: Float[Tensor, "b 1 h w"],
        sources: Float[Tensor, "n 1 h w"],
        inverse_depth: Float[Tensor, "b 1 h w"],
        weight: Float[Tensor, "b 1 h w"],
        K: Float[Tensor, "b 3 3"],
    ) -> None:
        self.target, self.r, self.weight, self.K = target, inverse_depth, weight, K
        self.sources = sources.view(len(target), -1, *target.shape[1:])
        self.slopes = gradient(target)
        self.flows = _flows(inverse_depth, K)

    def step(self, motion: Motions, moved: Steps) -> Steps:
        """One Gauss-Newton step (rotation, translation) of the target's camera, which has `moved` so far."""
        warped, weight = self._warped(motion)
        difference = self.target[:, None] - warped
        weight = weight / (1 + (difference / _TOLERANCE).square())
        dx, dy = (slope.unflatten(0, motion.shape[:2]) for slope in gradient(warped.flatten(0, 1)))
        x, y = (dx + self.slopes[0][:, None]) / 2, (dy + self.slopes[1][:, None]) / 2
        J = (x * self.flows[0][:, None] + y * self.flows[1][:, None]).flatten(3)
        weighted = J * weight.flatten(3)
        A, c = weighted @ J.mT, (weighted @ difference.flatten(3).mT)[..., 0]
        ridge = _DAMPING * torch.diagonal(A, dim1=-2, dim2=-1) + 1e-12
        # Without a check, which would wait for the device: what comes of a singular matrix is not taken in the end.
        step: Tensor = torch.linalg.solve_ex(A + torch.diag_embed(ridge), c - ridge * moved).result
        return step

    def error(self, motion: Motions) -> Float[Tensor, "b s"]:
        """The mean robust difference over the pixels that are seen."""
        warped, weight = self._warped(motion)
        errors = (1 + ((self.target[:, None] - warped) / _TOLERANCE).square()).log()
        return (errors * weight).sum((2, 3, 4)) / weight.sum((2, 3, 4)).clamp(min=1)

    def _warped(self, motion: Motions) -> tuple[Float[Tensor, "b s 1 h w"], Float[Tensor, "b s 1 h w"]]:
        matrices = projection(self.K, motion, self.K[:, None], size_of(self.sources))
        grid, ahead = locate(matrices, self.r)
        return sample(self.sources, grid), (ahead & inside(grid))[:, :, None] * self.weight[:, None]


def _flows(
    r: Float[Tensor, "b 1 h w"], K: Float[Tensor, "b 3 3"]
) -> tuple[Float[Tensor, "b 6 h w"], Float[Tensor, "b 6 h w"]]:
    """By how many pixels each moves in x and in y per unit of (rotation, translation) of the scene: equation 6 of
    Longuet-Higgins and Prazdny (1980), with inverse depth r.
    """
    x, y, _ = rays(K, size_of(r)).split(1, dim=1)
    none = torch.zeros_like(r)
    fx, fy = K[:, 0, 0].view(-1, 1, 1, 1), K[:, 1, 1].view(-1, 1, 1, 1)
    along_x = fx * torch.cat([-x * y, 1 + x * x, -y, r, none, -x * r], dim=1)
    along_y = fy * torch.cat([-1 - y * y, x * y, x, none, r, -y * r], dim=1)
    return along_x, along_y


def _resized(K: Float[Tensor, "b 3 3"], size: tuple[int, int], like: Tensor) -> Float[Tensor, "b 3 3"]:
    """The camera of the image resampled to the size of `like`; pixel edges, not centres, stay aligned."""
    sy, sx = like.shape[-2] / size[0], like.shape[-1] / size[1]
    return resampled(K, (sx, sy), ((sx - 1) / 2, (sy - 1) / 2))
