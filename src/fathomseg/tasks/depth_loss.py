"""The supervised loss of the task `depth`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import torch
from jaxtyping import Bool, Float, Int64
from pydantic import Field, model_validator
from torch import Tensor

from fathomseg.geometry.camera import depth_to_disparity, inverse_depth
from fathomseg.geometry.numerics import full_precision
from fathomseg.losses.disparity import berhu
from fathomseg.losses.segmentation import upsample
from fathomseg.tasks.base import Task, TaskCriterion, TaskLoss
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.relative_depth import RelativeDepth
from fathomseg.types import Batch, SumCount

Maps = Float[Tensor, "b 1 h w"]


class DepthLoss(TaskLoss):
    """The finest disparity against a depth in metres or a disparity, at the resolution of the truth; or metres against
    metres."""

    name: Literal["depth"] = "depth"
    target: Literal["depth", "disparity"] = "depth"
    """depth: z-depth in metres, 0 = unknown. disparity: 0..1, NaN = unknown, as another network or a map gives it."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight beside the losses of the other tasks."""
    error: Literal["log", "l1", "berhu", "scale_invariant", "scale_shift_invariant"] | None = None
    """log: |ln z - ln z*| of depth. l1, berhu (reverse Huber): of disparity, which a true depth is converted to, or of
    the metres of `output: metric`. null: log for the depth of a disparity, berhu otherwise. scale_invariant: as log,
    but for the median of ln z - ln z* in each image, so that a network of another unit can learn from metres.
    scale_shift_invariant: of inverse depth after aligning each image, so that maps of any source can be learned from
    (MiDaS)."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.2
    """berhu: errors above this share of the batch's largest one are squared."""
    relative: RelativeDepth = RelativeDepth()
    """Settings of scale_shift_invariant."""

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        if self.target == "disparity" and self.error in ("log", "scale_invariant"):
            raise ValueError(f"error={self.error} compares depths in metres; a disparity target takes l1 or berhu")
        return self

    def misfit(self, task: Task) -> str | None:
        """Metres are compared with metres, but for a loss that leaves the scale open."""
        if not isinstance(task, Depth) or task.output == "disparity" or self.leaves_shift_open:
            return None
        if self.target == "disparity":
            return f"output=metric is learned from true depth: set losses.{self.name}.target=depth"
        if self.error in ("log", "scale_invariant"):
            return f"output=metric may predict 0, which has no logarithm: set losses.{self.name}.error to berhu or l1"
        return None

    def distilled_misfit(self, soft: bool, weighted: bool) -> str | None:
        """Depth is compared with depth."""
        if self.target == "disparity":
            return (
                "a teacher's depth is compared with depth: set losses.depth.target=depth, or give its disparity as "
                "streams.NAME.depth={name: maps, folder: FOLDER}"
            )
        return super().distilled_misfit(soft, weighted=False)

    @property
    def leaves_scale_open(self) -> bool:
        """Whether depths of another scale are as good to it: then depth is not learned in metres."""
        return self.error in ("scale_invariant", "scale_shift_invariant")

    @property
    def leaves_shift_open(self) -> bool:
        """Whether inverse depths of another scale and shift are."""
        return self.error == "scale_shift_invariant"

    def build(self, task: Task, pixels: Int64[Tensor, " c"] | None) -> TaskCriterion:
        """Needs to know what `task` predicts."""
        assert isinstance(task, Depth), "the loss goes by the name of its task"
        return (RelativeDepthCriterion if self.leaves_shift_open else DepthCriterion)(self, task)


class FinestMapCriterion(TaskCriterion):
    """The error of the finest map of a batch, at the size of the truth."""

    def __init__(self, config: DepthLoss, task: Depth) -> None:
        super().__init__()
        self.config, self.depth_range, self.metric = config, task.depth_range, task.output == "metric"

    @full_precision
    def forward(self, output: Sequence[Float[Tensor, "b 1 _ _"]], batch: Batch, progress: float) -> SumCount:
        """The sum over what is `counted`, and its number."""
        truth = batch.targets[self.config.target]
        each = batch.targets.get(f"{self.config.target}_weight")
        weight = None if each is None else each[:, None]
        total, count = self.error_of(upsample(output[0], (truth.shape[2], truth.shape[3])), truth, weight)
        # Coarser maps learn nothing, but processes need a gradient, if only of zero, for every parameter.
        return total + sum(0 * coarse.float().sum() for coarse in output[1:]), count

    def count(self, batch: Batch) -> Float[Tensor, ""] | None:
        """That number."""
        if (truth := batch.targets.get(self.config.target)) is None:
            return torch.zeros((), device=batch.image.device)
        return self.counted(truth > 0 if self.config.target == "depth" else ~truth.isnan()).sum().float()

    def counted(self, known: Bool[Tensor, "b 1 h w"]) -> Bool[Tensor, "b *rest"]:
        """What counts of the `known` pixels: each of them."""
        return known

    @abstractmethod
    def error_of(self, predicted: Maps, truth: Maps, weight: Maps | None) -> SumCount:
        """The sum of the errors, each times its weight, and the number of what is `counted`."""


class RelativeDepthCriterion(FinestMapCriterion):
    """Inverse depth but for its scale and shift, by pixels or images as `RelativeDepth.reduction` says."""

    def counted(self, known: Bool[Tensor, "b 1 h w"]) -> Bool[Tensor, "b *rest"]:
        """The known pixels, or the images that have some."""
        return known if self.config.relative.reduction == "batch" else known.flatten(1).any(1)

    def error_of(self, predicted: Maps, truth: Maps, weight: Maps | None) -> SumCount:
        """Against the truth as an inverse depth of some scale and shift, NaN = unknown."""
        inverse = 1 / predicted.abs().clamp(min=self.depth_range[0]) if self.metric else predicted
        if self.config.target == "depth":
            truth = (1 / truth.clamp(min=1e-6)).masked_fill(truth <= 0, torch.nan)
        return self.config.relative.loss(inverse, truth, weight)


class DepthCriterion(FinestMapCriterion):
    """Depth or disparity, pixel by pixel."""

    def error_of(self, predicted: Maps, truth: Maps, weight: Maps | None) -> SumCount:
        """By the error that is set, or suits the target."""
        error = self.config.error or ("log" if self.config.target == "depth" and not self.metric else "berhu")
        if error in ("log", "scale_invariant"):
            known = truth > 0
            inverse = inverse_depth(predicted, *self.depth_range)
            off = (inverse * truth.clamp(min=1e-6)).log()  # -(ln z - ln z*)
            if error == "scale_invariant":
                off = off - _median(off.detach(), known)
            return _summed(off.abs(), known, weight)
        if self.metric:
            predicted, wanted = predicted.relu(), truth.masked_fill(truth <= 0, torch.nan)
        else:
            wanted = truth if self.config.target == "disparity" else self._disparity(truth)
        if error == "berhu":
            return berhu(predicted, wanted, self.config.threshold, weight)
        return _summed((predicted - wanted.nan_to_num()).abs(), ~wanted.isnan(), weight)

    def _disparity(self, depth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """0..1 over the range of depths, which true depths are clamped to; NaN where there is none."""
        disparity = depth_to_disparity(depth.clamp(*self.depth_range), *self.depth_range)
        return disparity.masked_fill(depth <= 0, torch.nan)


def _median(values: Float[Tensor, "b 1 h w"], known: Bool[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 1 1"]:
    """That of the known pixels of each image; 0 where there are none."""
    median: Tensor = values.masked_fill(~known, torch.nan).flatten(1).nanmedian(1).values
    return median.nan_to_num().view(-1, 1, 1, 1)


def _summed(losses: Float[Tensor, "*b"], known: Bool[Tensor, "*b"], weight: Float[Tensor, "*b"] | None) -> SumCount:
    """The sum over the pixels of known depth, each times its weight, and their number."""
    losses = torch.where(known, losses, 0.0)
    return (losses if weight is None else losses * weight).sum(), known.sum().float()
