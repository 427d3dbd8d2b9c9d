"""The supervised loss of the task `segmentation`: cross-entropy and what stands in its place or beside it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from jaxtyping import Float, Int64, UInt8
from pydantic import Field, model_validator
from torch import Tensor

from fathomseg.losses.regions import AnyRegion
from fathomseg.losses.segmentation import (
    Annealing,
    Ohem,
    annealed_cross_entropy,
    balancing_weights,
    cross_entropy,
    focal_loss,
    soft_cross_entropy,
    upsample,
)
from fathomseg.tasks.base import Task, TaskCriterion, TaskLoss
from fathomseg.types import IGNORE, Batch, SumCount


class SegmentationLoss(TaskLoss):
    """Cross-entropy at the label's resolution; pixels of value 255 count nowhere."""

    name: Literal["segmentation"] = "segmentation"
    target: Literal["label"] = "label"
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight beside the losses of the other tasks."""
    balance: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weigh classes by (share of labelled pixels)^-balance; 0 = every pixel the same."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Label smoothing of the plain cross-entropy."""
    ohem: Ohem | None = None
    """Hard example mining; null = all pixels."""
    annealing: Annealing | None = None
    """Training-signal annealing; null = all pixels count all the time."""
    focal: Annotated[float, Field(gt=0)] | None = None
    """gamma of the focal loss, which takes the place of the plain cross-entropy; null = that. Lin et al. (2017): 2."""
    region: AnyRegion | None = None
    """A loss of areas that takes a share of the loss: dice or lovasz; null = pixels alone."""

    @model_validator(mode="after")
    def _plain_or_chosen(self) -> Self:
        if self.ohem is not None and (self.balance > 0 or self.smoothing > 0 or self.annealing is not None):
            raise ValueError(
                "ohem keeps the hardest labelled pixels, each with a weight of 1, so neither balance "
                f"({self.balance:g}), smoothing ({self.smoothing:g}) nor annealing, which keeps the least sure ones, "
                "can be had beside it; set balance and smoothing to 0, and one of ohem and annealing to null"
            )
        if self.annealing is not None and self.smoothing > 0:
            raise ValueError(
                "smoothing belongs to the plain cross-entropy, which annealing replaces; set one to 0/null"
            )
        chosen = self.ohem is not None or self.annealing is not None
        if (self.focal is not None or self.region is not None) and (chosen or self.balance > 0):
            raise ValueError(
                "focal and region weigh pixels and classes themselves; set balance to 0, ohem and annealing to null; "
                "or focal and region to null"
            )
        if self.focal is not None and self.smoothing > 0:
            raise ValueError("smoothing belongs to the plain cross-entropy, which focal replaces; set one to 0/null")
        return self

    def distilled_misfit(self, soft: bool, weighted: bool) -> str | None:
        """Plain cross-entropy takes both."""
        if (soft or weighted) and (self.ohem is not None or self.annealing is not None):
            return "ohem and annealing choose pixels by their label, all of one weight: set soft and weigh to false"
        if soft and self.smoothing > 0:
            return "smoothing is for hard labels: set it to 0, or soft=false"
        if soft and self.focal is not None:
            return "the focal loss is for hard labels: set focal to null, or soft=false"
        if (soft or weighted) and self.region is not None:
            return "a loss of areas takes hard labels of one weight: set region to null, or soft and weigh to false"
        return None

    def build(self, task: Task, pixels: Int64[Tensor, " c"] | None) -> SegmentationCriterion:
        """Needs the labelled pixels of every class."""
        assert pixels is not None, "labels are used, so they are counted"
        return SegmentationCriterion(self, balancing_weights(pixels, self.balance))


class SegmentationCriterion(TaskCriterion):
    """The cross-entropy of a batch."""

    weight: Float[Tensor, " c"]

    def __init__(self, config: SegmentationLoss, weight: Float[Tensor, " c"]) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("weight", weight)

    def forward(self, output: Float[Tensor, "b c _ _"], batch: Batch, progress: float) -> SumCount:
        """The sum over the pixels that count, and their number."""
        label, region = batch.targets["label"], self.config.region
        logits = upsample(output, (label.shape[1], label.shape[2]))
        if region is None:
            return self._of_pixels(logits, label, batch, progress)
        areas, count = region(logits, label)
        if region.share == 1:
            return areas, count
        return (1 - region.share) * self._of_pixels(logits, label, batch, progress)[0] + region.share * areas, count

    def _of_pixels(
        self, logits: Float[Tensor, "b c h w"], label: UInt8[Tensor, "b h w"], batch: Batch, progress: float
    ) -> SumCount:
        if self.config.ohem is not None:
            return self.config.ohem(logits, label)
        if self.config.annealing is None:
            each = batch.targets.get("label_weight")
            if self.config.focal is not None:
                return focal_loss(logits, label, self.config.focal, each)
            if "label_probabilities" in batch.targets:
                soft = batch.targets["label_classes"], batch.targets["label_probabilities"]
                return soft_cross_entropy(logits, label, *soft, self.weight, each)
            return cross_entropy(logits, label, self.weight, self.config.smoothing, each)
        threshold = self.config.annealing.threshold(progress, logits.shape[1])
        return annealed_cross_entropy(logits, label, threshold, self.weight)

    def count(self, batch: Batch) -> Float[Tensor, ""] | None:
        """The labelled pixels, unless annealing or mining chooses among them."""
        if self.config.annealing is not None or self.config.ohem is not None:
            return None
        if "label" not in batch.targets:
            return torch.zeros((), device=batch.image.device)
        return (batch.targets["label"] != IGNORE).sum().float()

    def class_weights(self) -> Float[Tensor, " c"] | None:
        """The weights of the classes, if they differ."""
        return self.weight if self.config.balance > 0 else None
