"""Smoothness of depth that semantic borders interrupt (Li et al. 2023, arXiv:2102.06685), and not image gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from fathomseg.geometry.numerics import full_precision
from fathomseg.losses.disparity import over_mean
from fathomseg.losses.guidance.base import Guidance, Seen
from fathomseg.types import SumCount


class SemanticSmoothness(Guidance):
    """|dx D*| exp(-|dx S|) + |dy D*| exp(-|dy S|), D* = inverse depth / its mean over the image."""

    name: Literal["smoothness"] = "smoothness"
    weight: NonNegativeFloat = 1e-3
    contrast: Annotated[float, Field(ge=0)] = 4.0
    """|dS| at a border between two classes; 0 within one. 4: borders count 0.02 of the rest."""

    def __call__(self, seen: Seen, roles: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[SumCount, float]]:
        """The mean over pairs of neighbours in x plus that in y, as ("", 1)."""
        return {
            "": (semantic_smoothness(seen.inverse_depth, seen.label, seen.known, seen.confidence, self.contrast), 1)
        }


@full_precision
def semantic_smoothness(
    inverse_depth: Float[Tensor, "b 1 h w"],
    label: UInt8[Tensor, "b h w"],
    known: Bool[Tensor, "b h w"],
    confidence: Float[Tensor, "b h w"],
    contrast: float,
) -> SumCount:
    """The sum over neighbours whose classes are both known, each times their confidences; and half their number."""
    d = over_mean(inverse_depth)[:, 0]
    total, count = d.new_zeros(2).unbind()
    for axis in (-1, -2):
        size = d.shape[axis]
        first, second = ((label, known, confidence), (label, known, confidence))
        a_label, a_known, a_sure = (x.narrow(axis, 0, size - 1) for x in first)
        b_label, b_known, b_sure = (x.narrow(axis, 1, size - 1) for x in second)
        both = a_known & b_known
        factor = torch.where(a_label == b_label, 1.0, math.exp(-contrast)) * a_sure * b_sure
        total = total + torch.where(both, d.diff(dim=axis).abs() * factor, 0.0).sum()
        count = count + both.sum()
    return total, count / 2
