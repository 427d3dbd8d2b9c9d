"""Where a network's two ideas of depth contradict each other, its pseudo-labels count less."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Float32
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part
from fathomseg.geometry.numerics import full_precision


class DepthAgreement(Part):
    """Pseudo-labels weighted by how well two depth heads agree, `source_depth` learned on the source and `depth` on the
    target: where they do not, what was learned on the source does not carry over (CorDA, Wang et al. 2021, ICCV).

        w = clip(relu(1 - |D_source - D_target| / D) + 0.001, 0, 1), divided by its mean; 1 where D is not known

    Compared is what the heads learn, disparity or metres. D is the `target` of the batch, if it has one, else D_target.
    Recipe: recipes/adapt/streets-camvid-corda.yaml.
    """

    target: Literal["disparity", "depth"] = "disparity"
    """What both heads learn, as in their losses. disparity: 0..1, normalised, from `streams.NAME.depth` of any source,
    of relative depth too. To first order its relative difference is that of depth, which relative disparity does not
    tell. depth: metres."""
    floor: Annotated[float, Field(gt=0)] = 0.1
    """Smallest D that differences are divided by: a normalised disparity of 0 is the farthest part of an image, at no
    certain depth, where any difference would be infinitely large. Ours; metres are seldom that small."""
    per: Literal["image", "batch"] = "image"
    """What the mean is over. image: each image counts as much as without these weights, even one whose heads
    contradict each other everywhere. batch: all images of this
    process's batch that have pseudo-labels; those of more agreement count more."""

    @torch.no_grad()
    @full_precision
    def weight(
        self,
        source: Float[Tensor, "b 1 h w"],
        target: Float[Tensor, "b 1 h w"],
        known: Float[Tensor, "b 1 h w"],
        counted: Bool[Tensor, "b h w"],
    ) -> Float32[Tensor, "b h w"]:
        """A factor for the weight of each pixel, 1 on average, from what the two heads predict and D, all disparity or
        all metres. D is unknown where NaN, and in metres where 0. The mean is over the `counted` pixels of known D; all
        others have 1."""
        there = counted & ~known[:, 0].isnan()
        if self.target == "depth":
            there = there & (known[:, 0] > 0)
        off = (source - target).abs() / known.nan_to_num().clamp(min=self.floor)
        agreed = torch.where(there, ((1 - off[:, 0]).relu() + 1e-3).clamp(max=1), 0.0)
        total, number = agreed.sum((1, 2), keepdim=True), there.sum((1, 2), keepdim=True)
        if self.per == "batch":
            total, number = total.sum(0, keepdim=True), number.sum(0, keepdim=True)
        return torch.where(there, agreed * number / total.clamp(min=1e-12), 1.0)
