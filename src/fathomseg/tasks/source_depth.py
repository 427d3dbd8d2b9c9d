"""The task `source_depth`: depth once more, as the images of another domain teach it."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from fathomseg.tasks.base import Places
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.depth_loss import DepthLoss

SOURCE_DEPTH: Final = "source_depth"


class SourceDepth(Depth):
    """A second depth branch, learned on the source where `depth` is learned on the target, to be compared with it
    (`pseudo_labels.depth_agreement`; CorDA, Wang et al. 2021, ICCV). With `decoder: shared` it is one more head."""

    name: Literal["source_depth"] = SOURCE_DEPTH  # type: ignore[assignment]

    auxiliary: ClassVar[bool] = True
    places: ClassVar[Places] = Places(values="source-disparity", views="source-views", about="source-depth.json")


class SourceDepthLoss(DepthLoss):
    """As the loss of depth."""

    name: Literal["source_depth"] = SOURCE_DEPTH  # type: ignore[assignment]
