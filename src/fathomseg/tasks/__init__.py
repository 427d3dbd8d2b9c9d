"""Tasks: what a network predicts, one file each and one for a loss that is long. The unions below are the tables."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.tasks.base import Task, TaskLoss
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.depth_loss import DepthLoss
from fathomseg.tasks.normals import Normals, NormalsLoss
from fathomseg.tasks.segmentation import Segmentation
from fathomseg.tasks.segmentation_loss import SegmentationLoss
from fathomseg.tasks.source_depth import SourceDepth, SourceDepthLoss

AnyTask = Annotated[Segmentation | Depth | Normals | SourceDepth, Field(discriminator="name")]
"""Every task there is, in the order of a network's branches. A new one is listed here, and its loss below."""

AnyTaskLoss = Annotated[SegmentationLoss | DepthLoss | NormalsLoss | SourceDepthLoss, Field(discriminator="name")]
"""The supervised loss of every task, by the task's name."""

__all__ = [
    "AnyTask",
    "AnyTaskLoss",
    "Depth",
    "DepthLoss",
    "Normals",
    "NormalsLoss",
    "Segmentation",
    "SegmentationLoss",
    "SourceDepth",
    "SourceDepthLoss",
    "Task",
    "TaskLoss",
]
