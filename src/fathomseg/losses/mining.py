"""Hard example mining: learn from the pixels the network is still unsure of."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part
from fathomseg.losses.segmentation import SumCount, ohem_cross_entropy


class Ohem(Part):
    """Online hard example mining of a batch's pixels (Shrivastava et al. 2016)."""

    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """Pixels whose true class has a probability below this are kept."""
    min_kept: Annotated[float, Field(gt=0, le=1)] = 0.15
    """At least this share of all pixels is kept, the hardest ones first."""

    def __call__(self, logits: Float[Tensor, "b c h w"], label: UInt8[Tensor, "b h w"]) -> SumCount:
        """The sum of the cross-entropies of the pixels kept, and their number; ignored pixels are never kept."""
        return ohem_cross_entropy(logits, label, self.threshold, self.min_kept)
