"""Depth without a scale: how a depth branch learns from maps of any source, in inverse depth."""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part
from fathomseg.losses.relative_depth import Fit, Reduction, scale_shift_invariant
from fathomseg.types import SumCount


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
