"""The dataset's own depth: exact in the generated world, measured elsewhere."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32

from fathomseg.data.datasets.base import Dataset
from fathomseg.depth_sources.base import DepthReader, DepthSource, inverse


class OwnDepth(DepthSource):
    """1 / depth of the dataset's own z-depth, not known where that is 0.

    A laser's sparse depth (kitti) is of no use for mixing images: most pixels are not known.
    """

    name: Literal["dataset"] = "dataset"
    unknown_is_far: bool = False
    """Pixels without a depth are infinitely far (disparity 0), instead of not known: true of generated worlds (streets,
    SYNTHIA, Virtual KITTI 2), where only the sky has none."""

    def open(self, dataset: Dataset, device: torch.device | str | None = None) -> OwnReader:
        """The reader of the dataset's depth."""
        return OwnReader(dataset, self.unknown_is_far)


class OwnReader(DepthReader):
    """Reads z-depth in metres and gives 1 / metres."""

    def __init__(self, dataset: Dataset, unknown_is_far: bool = False) -> None:
        self.dataset, self.unknown_is_far = dataset, unknown_is_far

    def fingerprint(self, id: str) -> str | None:
        """That of the dataset's depth."""
        depth = self.dataset.fingerprint(id, "depth")
        return None if depth is None else f"own|{depth}{'|far' * self.unknown_is_far}"

    def load(self, id: str) -> Float32[np.ndarray, "h w"] | None:
        """1 / depth, in 1 / metres."""
        depth = self.dataset.depth(id)
        if depth is None:
            return None
        disparity = inverse(depth)
        return np.nan_to_num(disparity, copy=False, nan=0.0) if self.unknown_is_far else disparity
