"""Depth without a scale: how a depth branch learns from maps of any source, in inverse depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part
from fathomseg.geometry.numerics import full_precision
from fathomseg.losses.relative_depth import Fit, Reduction, scale_shift_invariant
from fathomseg.losses.segmentation import upsample
from fathomseg.tasks.base import TaskCriterion
from fathomseg.types import Batch, SumCount


class RelativeDepth(Part):
    """Settings of `error: scale_shift_invariant` (Ranftl et al. 2022, MiDaS)."""

    fit: Fit = "robust"
    """How each image is aligned. robust: by median and mean absolute deviation, without the largest errors; for maps
    with outliers, and the paper's choice. least_squares: by the best scale and shift; for clean maps. Its scale may
    be negative, so that it does not tell near from far by itself."""
    trim: float = Field(default=0.2, ge=0, lt=1)
    """robust: share of an image's pixels with the largest errors, which are left out."""
    gradients: float = Field(default=0.5, ge=0)
    """Weight of the gradients of the aligned difference: alpha of the paper. Keeps edges sharp."""
    scales: int = Field(default=4, ge=1, le=8)
    """Gradients are compared at this many octaves."""
    reduction: Reduction = "batch"
    """batch: the mean over all known pixels of a batch, as published, so dense maps count more than sparse ones.
    image: the mean over images of each image's own."""

    def loss(
        self,
        prediction: Float[Tensor, "b 1 h w"],
        target: Float[Tensor, "b 1 h w"],
        pixel_weight: Float[Tensor, "b 1 h w"] | None = None,
    ) -> SumCount:
        """As `losses.relative_depth.scale_shift_invariant`."""
        return scale_shift_invariant(
            prediction, target, self.fit, self.trim, self.gradients, self.scales, self.reduction, pixel_weight
        )


class RelativeDepthCriterion(TaskCriterion):
    """The finest map of a batch as an inverse depth, against the target's, at the size of the target."""

    def __init__(
        self,
        config: RelativeDepth,
        target: Literal["depth", "disparity"],
        depth_range: tuple[float, float],
        metric: bool,
    ) -> None:
        """`metric`: the map is metres, not disparity."""
        super().__init__()
        self.config, self.target, self.depth_range, self.metric = config, target, depth_range, metric

    @full_precision
    def forward(self, output: Sequence[Float[Tensor, "b 1 _ _"]], batch: Batch, progress: float) -> SumCount:
        """The sum over pixels or images, as `reduction` says, and their number."""
        truth = batch.targets[self.target]
        each = batch.targets.get(f"{self.target}_weight")
        predicted = upsample(output[0], (truth.shape[2], truth.shape[3]))
        inverse = 1 / predicted.abs().clamp(min=self.depth_range[0]) if self.metric else predicted
        total, count = self.config.loss(inverse, self._wanted(truth), None if each is None else each[:, None])
        # Coarser maps learn nothing, but processes need a gradient, if only of zero, for every parameter.
        return total + sum(0 * coarse.float().sum() for coarse in output[1:]), count

    def count(self, batch: Batch) -> Float[Tensor, ""] | None:
        """The known pixels, or the images that have some."""
        if (truth := batch.targets.get(self.target)) is None:
            return torch.zeros((), device=batch.image.device)
        known = truth > 0 if self.target == "depth" else ~truth.isnan()
        counted = known if self.config.reduction == "batch" else known.flatten(1).any(1)
        return counted.sum().float()

    def _wanted(self, truth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """An inverse depth of some scale and shift, NaN = unknown."""
        if self.target == "disparity":
            return truth
        return (1 / truth.clamp(min=1e-6)).masked_fill(truth <= 0, torch.nan)
