"""The photometric loss: each frame is synthesised from its neighbours (Godard et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part
from fathomseg.geometry.camera import inverse_depth
from fathomseg.geometry.numerics import full_precision, size_of
from fathomseg.geometry.warp import inside, locate, projection, sample
from fathomseg.losses import ssim
from fathomseg.losses.disparity import below_horizon, drift, smoothness
from fathomseg.losses.far import far_away, looks_far, parallax
from fathomseg.losses.segmentation import upsample
from fathomseg.types import Size, StepResult, SumCount, Term


class PhotometricLoss(Part):
    """Photometric error of the target synthesised from its sources, plus edge-aware smoothness of the disparity."""

    alpha: float = Field(default=0.85, ge=0, le=1)
    """Share of SSIM in the photometric error; the rest is absolute difference."""
    over_sources: Literal["min", "mean"] = "min"
    """`min`: each pixel is compared in the source that shows it best, so that occlusions do no harm."""
    automask: bool = True
    """Leave out pixels that match a source better unmoved than warped: what moves along, and a standing camera."""
    tie_breaker: float = Field(default=1e-5, ge=0)
    """Standard deviation of the noise added to the unmoved error where images agree exactly. 0: a tie is left out."""
    mask_out_of_view: bool = False
    """Leave out, for each source, the pixels it does not show. Otherwise the nearest border pixel stands in."""
    smoothness: float = Field(default=1e-3, ge=0)
    """Weight of the smoothness of the full-resolution disparity; each octave below counts half as much."""
    below_horizon: float = Field(default=0.0, ge=0)
    """Weight of the rule that below the horizon nothing is farther than what is seen above it: for video with cars that
    drive ahead at the camera's own speed, whose places would become infinitely far. 0 = off."""
    scale: float = Field(default=0.0, ge=0)
    """Weight of the rule that the mean disparity of a process's images, in the geometric mean, stays near
    `mean_disparity`: nothing else holds the scale of depth and motion, and where it drifts up, what is near meets the
    end of the sigmoid. 0 = off."""
    mean_disparity: float = Field(default=0.15, gt=0, lt=1)
    """The mean disparity `scale` asks for."""

    far: float = Field(default=0.0, ge=0)
    """Weight of the rule that above the horizon, what any depth explains no better than infinity is infinitely far: the
    sky, where nothing says which pixels are sky (`losses/far.py`). Pixels without parallax do not
    count. Costs another warp per step. 0 = off."""

    @property
    def extra_terms(self) -> tuple[str, ...]:
        """The names of the terms beside `photometric` and `smoothness`."""
        weights = {"scale": self.scale, "below_horizon": self.below_horizon, "far": self.far}
        return tuple(name for name, weight in weights.items() if weight > 0)

    @full_precision
    def __call__(
        self,
        target: Float[Tensor, "b 3 h w"],
        sources: Float[Tensor, "b s 3 h w"],
        disparities: Sequence[Float[Tensor, "b 1 _ _"]],
        K: Float[Tensor, "b 3 3"],
        src_T_tgt: Float[Tensor, "b s 4 4"],
        depth_range: tuple[float, float],
        K_src: Float[Tensor, "b s 3 3"] | None = None,
        valid: Bool[Tensor, "b 1 h w"] | None = None,
        weight: Float[Tensor, "b 1 h w"] | None = None,
    ) -> StepResult:
        """The terms `photometric` and `smoothness`, and the share of what counts that the automask leaves out.

        Images are 0..1; `disparities` are sigmoid outputs 0..1 of any sizes, each judged at full resolution; `K`
        belongs to the full resolution (`K_src` is K if not given); `depth_range` is the depth of disparity 1 and of 0.
        Pixels that are not `valid`, or that no source can show, count nowhere in `photometric`, and the others by their
        `weight` 0..1. Smoothness is asked of all pixels: it is what fills the others.
        """
        matrices = projection(K, src_T_tgt, K[:, None] if K_src is None else K_src, size_of(sources))
        reference = ssim.Target.of(target)
        unmoved = self._unmoved(sources, reference) if self.automask else None
        # Sampling at a position that is not a number gives a number, so a broken pose is passed on to the loss here.
        total = 0 * matrices.detach().sum()
        finest = None
        count, masked = target.new_zeros(2).unbind()
        for disparity in disparities:
            error, known = self._synthesised(disparity, sources, matrices, reference, depth_range)
            if valid is not None:
                known = known & valid[:, 0]
            finest = (error.detach(), known) if finest is None else finest
            counted = known if weight is None else torch.where(known, weight[:, 0], 0.0)
            count = count + counted.sum()
            if unmoved is not None:
                masked = masked + torch.where(unmoved <= error, counted, 0).sum()
                error = torch.minimum(error, unmoved)
            total = total + torch.where(known, error if weight is None else error * weight[:, 0], 0.0).sum()
        terms = {
            "photometric": Term(total, count),
            "smoothness": Term(*self._smoothness(disparities, target), weight=self.smoothness),
        }
        if self.scale > 0:
            terms["scale"] = Term(*drift(disparities[0], self.mean_disparity, valid), weight=self.scale)
        if self.below_horizon > 0:
            full = upsample(disparities[0], size_of(target))
            terms["below_horizon"] = Term(*below_horizon(full, K, valid=valid), weight=self.below_horizon)
        if self.far > 0:
            assert finest is not None
            terms["far"] = Term(
                *self._far(disparities[0], sources, matrices, reference, depth_range, K, finest), self.far
            )
        return StepResult(terms, {"automasked": (masked / count.clamp(min=1)).detach()})

    def inverse_depth(
        self, disparity: Float[Tensor, "b 1 _ _"], image: Float[Tensor, "b 3 h w"], depth_range: tuple[float, float]
    ) -> Float[Tensor, "b 1 h w"]:
        """1/z, per unit of depth, at the size of `image` from a sigmoid output 0..1 of any size."""
        return inverse_depth(upsample(disparity, size_of(image)), *depth_range)

    @torch.no_grad()
    @full_precision
    def look(
        self,
        target: Float[Tensor, "b 3 h w"],
        sources: Float[Tensor, "b s 3 h w"],
        disparity: Float[Tensor, "b 1 _ _"],
        K: Float[Tensor, "b 3 3"],
        src_T_tgt: Float[Tensor, "b s 4 4"],
        depth_range: tuple[float, float],
    ) -> tuple[Float[Tensor, "b s 3 h w"], Float[Tensor, "b h w"]]:
        """The sources warped onto the target, 0..1, and the photometric error over them; both only to be looked at."""
        grid, shown = locate(
            projection(K, src_T_tgt, K[:, None], size_of(sources)), self.inverse_depth(disparity, target, depth_range)
        )
        warped = sample(sources, grid)
        error = self._reduced(ssim.error(warped, ssim.Target.of(target), self.alpha), shown)
        return warped, torch.where(shown.any(dim=1), error, 0.0)

    def _synthesised(
        self,
        disparity: Float[Tensor, "b 1 _ _"],
        sources: Float[Tensor, "b s 3 h w"],
        matrices: Float[Tensor, "b s 3 4"],
        target: ssim.Target,
        depth_range: tuple[float, float],
    ) -> tuple[Float[Tensor, "b h w"], Bool[Tensor, "b h w"]]:
        """The error of the target synthesised at the depth of one disparity map, and the pixels any source can show."""
        grid, shown = locate(matrices, self.inverse_depth(disparity, target.image, depth_range))
        if self.mask_out_of_view:
            shown = shown & inside(grid)
        error = ssim.error(sample(sources, grid), target, self.alpha)
        return self._reduced(error, shown), shown.any(dim=1)

    def _far(
        self,
        disparity: Float[Tensor, "b 1 _ _"],
        sources: Float[Tensor, "b s 3 h w"],
        matrices: Float[Tensor, "b s 3 4"],
        target: ssim.Target,
        depth_range: tuple[float, float],
        K: Float[Tensor, "b 3 3"],
        finest: tuple[Float[Tensor, "b h w"], Bool[Tensor, "b h w"]],
    ) -> SumCount:
        """The disparity of what looks infinitely far, given the finest map's error and the pixels it is known of."""
        error, known = finest
        with torch.no_grad():
            farthest = torch.zeros_like(disparity)
            at_infinity, shown = self._synthesised(farthest, sources, matrices, target, depth_range)
            depths = (self.inverse_depth(one, target.image, depth_range) for one in (disparity, farthest))
            where = looks_far(error, at_infinity, parallax(matrices, *depths), known & shown, K)
        return far_away(upsample(disparity, size_of(target.image)), where, torch.ones_like(error))

    def _reduced(self, error: Float[Tensor, "b s h w"], shown: Bool[Tensor, "b s h w"]) -> Float[Tensor, "b h w"]:
        """One error a pixel, over the sources that show it."""
        if self.over_sources == "min":
            return error.masked_fill(~shown, math.inf).amin(dim=1)
        return torch.where(shown, error, 0.0).sum(dim=1) / shown.sum(dim=1).clamp(min=1)

    @torch.no_grad()
    def _unmoved(self, sources: Float[Tensor, "b s 3 h w"], target: ssim.Target) -> Float[Tensor, "b h w"]:
        """The error of the sources as they are. It is the same at all scales."""
        error = ssim.error(sources, target, self.alpha)
        if self.tie_breaker > 0:
            error.add_(torch.randn_like(error), alpha=self.tie_breaker)
        return error.amin(dim=1) if self.over_sources == "min" else error.mean(dim=1)

    def _smoothness(self, disparities: Sequence[Float[Tensor, "b 1 _ _"]], image: Float[Tensor, "b 3 h w"]) -> SumCount:
        """Mean over the maps, each against the image at its own size and halved with every octave below it."""
        total, count = image.new_zeros(()), image.new_full((), len(image))
        for disparity in disparities:
            octave = round(math.log2(image.shape[-1] / disparity.shape[-1]))
            part, count = smoothness(disparity, _reduced_image(image, size_of(disparity)))
            total = total + part / 2**octave / len(disparities)
        return total, count


def _reduced_image(image: Float[Tensor, "b 3 h w"], size: Size) -> Float[Tensor, "b 3 _ _"]:
    """The mean colour under each coarser pixel."""
    return image if size_of(image) == size else F.interpolate(image, size, mode="area")
