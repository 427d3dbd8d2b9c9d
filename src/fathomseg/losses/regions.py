"""Losses of how well whole areas overlap, Dice and Lovasz-Softmax: a value for each image.

A score of areas does not add up over pixels. Here it is a value of one image, which the images of a batch, of ranks
and micro-batches weigh by their labelled pixels, so that it has the count of the cross-entropy beside it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part
from fathomseg.geometry.numerics import full_precision
from fathomseg.types import IGNORE, SumCount


class Region(Part, ABC):
    """Settings of a loss of areas, taken in part instead of the loss of pixels."""

    name: str
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """loss = (1 - share) * loss of pixels + share * loss of areas; 1 leaves the loss of pixels out."""

    @abstractmethod
    def of_classes(self, p: Float[Tensor, "b c h w"], q: Bool[Tensor, "b c h w"]) -> Float[Tensor, "b c"]:
        """The loss 0..1 of every class in every image, from probabilities and truth, both 0 where ignored."""

    @full_precision
    def __call__(self, logits: Float[Tensor, "b c h w"], label: UInt8[Tensor, "b h w"]) -> SumCount:
        """The sum over images of labelled pixels * the mean loss of the classes in the image's label; those pixels.

        (0, 0) with a zero gradient where every pixel is ignored.
        """
        valid = label != IGNORE
        q = label[:, None] == torch.arange(logits.shape[1], device=label.device).view(1, -1, 1, 1)
        losses, present = self.of_classes(logits.softmax(1) * valid[:, None], q), q.any(3).any(2)
        values = torch.where(present, losses, 0.0).sum(1) / present.sum(1).clamp(min=1)
        pixels = valid.sum((1, 2)).to(logits.dtype)
        return (values * pixels).sum(), pixels.sum().float()


class Dice(Region):
    """1 - 2 sum(p q) / (sum p + sum q), of probabilities p and truth q (Milletari et al. 2016, without squares)."""

    name: Literal["dice"] = "dice"

    def of_classes(self, p: Float[Tensor, "b c h w"], q: Bool[Tensor, "b c h w"]) -> Float[Tensor, "b c"]:
        """Of every class in every image."""
        areas = p.sum((2, 3)) + q.sum((2, 3))
        return 1 - 2 * torch.where(q, p, 0.0).sum((2, 3)) / areas.clamp(min=1e-6)


class Lovasz(Region):
    """Lovasz-Softmax, the convex extension of 1 - IoU (Berman et al. 2018, arXiv:1705.08790, equation 9)."""

    name: Literal["lovasz"] = "lovasz"

    def of_classes(self, p: Float[Tensor, "b c h w"], q: Bool[Tensor, "b c h w"]) -> Float[Tensor, "b c"]:
        """Of every class in every image; sorts the pixels of each.

        The Jaccard loss grows by 1 / union at a pixel of the class and by intersection / (union * (union - 1)) at any
        other: its differences (algorithm 1) without subtracting nearly equal numbers. Ignored pixels have no error and
        so come last, where they change nothing.
        """
        errors, order = (p - q.to(p.dtype)).abs().flatten(2).sort(2, descending=True)
        own = q.flatten(2).gather(2, order)
        seen, area = own.cumsum(2, dtype=p.dtype), own.sum(2, keepdim=True)
        union = area + torch.arange(1, own.shape[2] + 1, device=p.device, dtype=p.dtype) - seen
        step = torch.where(own, 1 / union, (area - seen) / (union * (union - 1).clamp(min=1)))
        return (errors * step).sum(2)


AnyRegion = Annotated[Dice | Lovasz, Field(discriminator="name")]
