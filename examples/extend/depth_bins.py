# src/fathomseg/tasks/depth_bins.py
"""The task `depth_bins`: depth as a choice among ranges of disparity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from pydantic import Field
from torch import Tensor, nn

from fathomseg.losses.segmentation import upsample
from fathomseg.models.blocks import Map
from fathomseg.models.decoders.base import DecoderModule
from fathomseg.tasks.base import Places, SumCount, Task, TaskCriterion, TaskLoss
from fathomseg.tasks.depth import Depth
from fathomseg.types import Batch


class DepthBins(Depth):
    """Logits of ranges of disparity; their mean is the prediction."""

    name: Literal["depth_bins"] = "depth_bins"  # type: ignore[assignment]
    bins: Annotated[int, Field(ge=2)] = 32
    """Ranges of disparity 0..1, all of the same width."""

    places: ClassVar[Places] = Places(values="disparity-bins", views="views-bins")

    def build_head(self, decoder: DecoderModule, classes: int) -> nn.Module:
        """{level: map} -> logits b x bins x h/stride x w/stride."""
        return BinsHead(decoder.channels, self.bins, decoder.finest)

    def build_early_head(self, width: int, classes: int) -> nn.Module:
        """A feature map -> logits of the same size."""
        return BinsHead(width, self.bins)

    def map(self, output: Float[Tensor, "b bins h w"]) -> Float32[Tensor, "b 1 h w"]:  # type: ignore[override]
        """The mean disparity."""
        middle = (torch.arange(self.bins, device=output.device) + 0.5) / self.bins
        return (output.float().softmax(1) * middle.view(1, -1, 1, 1)).sum(1, keepdim=True)


class BinsHead(nn.Conv2d):
    """A 1x1 convolution to one logit per range."""

    def __init__(self, width: int, bins: int, level: int | None = None) -> None:
        """`level`: which of a decoder's maps it takes; None if it is given one map."""
        super().__init__(width, bins, 1)
        nn.init.normal_(self.weight, std=0.01)
        self.level = level

    def forward(self, maps: Mapping[int, Map] | Map) -> Float[Tensor, "b bins h w"]:  # type: ignore[override]
        """Logits of the size of the map."""
        return super().forward(maps if isinstance(maps, Tensor) else maps[self.level])  # type: ignore[index]


class DepthBinsLoss(TaskLoss):
    """Cross-entropy with the range the true depth lies in."""

    name: Literal["depth_bins"] = "depth_bins"
    target: Literal["depth"] = "depth"
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight beside the losses of the other tasks."""

    def build(self, task: Task, pixels: Int64[Tensor, " c"] | None) -> DepthBinsCriterion:
        """Needs the ranges of `task`."""
        assert isinstance(task, DepthBins)
        return DepthBinsCriterion(task)


class DepthBinsCriterion(TaskCriterion):
    """The cross-entropy of a batch."""

    def __init__(self, task: DepthBins) -> None:
        super().__init__()
        self.task = task

    def forward(self, output: Float[Tensor, "b bins _ _"], batch: Batch, progress: float) -> SumCount:
        """The sum over the pixels of known depth, and their number."""
        depth, (nearest, farthest) = batch.targets["depth"], self.task.depth_range
        inverse = 1 / depth.clamp(nearest, farthest)
        disparity = (inverse - 1 / farthest) / (1 / nearest - 1 / farthest)
        wanted = (disparity * self.task.bins).long().clamp(0, self.task.bins - 1)
        wanted = wanted.masked_fill(depth <= 0, -1)[:, 0]
        logits = upsample(output, (depth.shape[2], depth.shape[3]))
        return F.cross_entropy(logits, wanted, ignore_index=-1, reduction="sum"), self.count(batch)

    def count(self, batch: Batch) -> Float[Tensor, ""]:
        """The pixels of known depth; known before the forward pass."""
        depth = batch.targets.get("depth")
        return torch.zeros((), device=batch.image.device) if depth is None else (depth > 0).sum().float()
