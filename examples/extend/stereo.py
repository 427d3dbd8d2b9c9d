# src/fathomseg/depth_sources/stereo.py
"""Disparity from a rectified stereo pair, by semi-global matching (Hirschmueller 2008) as OpenCV does it."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from pydantic import PositiveInt

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.files import Root, files_below
from fathomseg.depth_sources.base import DepthReader, DepthSource
from fathomseg.errors import FathomError
from fathomseg.io.images import read_rgb
from fathomseg.io.listing import stamp


class StereoDepth(DepthSource):
    """The image of an id is the left one; `right/ID.png` (or jpg) is what the right camera saw."""

    name: Literal["stereo"] = "stereo"
    right: Root
    """The folder of the right images."""
    sixteens: PositiveInt = 4
    """The largest disparity, in units of 16 pixels."""

    def open(self, dataset: Dataset, device: torch.device | str | None = None) -> StereoReader:
        """The reader. Raises `FathomError` if the folder holds no image."""
        return StereoReader(self, dataset)


class StereoReader(DepthReader):
    """Matches one pair at a time; threads call `load` side by side."""

    def __init__(self, part: StereoDepth, dataset: Dataset) -> None:
        self.part, self.dataset, self.right = part, dataset, files_below(part.right)
        if not self.right:
            raise FathomError(f"There is no image in {part.right}. Set streams.unlabelled.depth.right=FOLDER.")

    def fingerprint(self, id: str) -> str | None:
        """Changes whenever the disparity would: with either image, or the settings. None = there is no disparity."""
        left, right = self.dataset.fingerprint(id, "image"), self.right.get(id)
        if left is None or right is None:
            return None
        return f"stereo|{self.part.sixteens}|{left}|{right}|{stamp(right)}"

    def load(self, id: str) -> Float32[np.ndarray, "h w"] | None:
        """Disparity in pixels, NaN where the pair does not agree; None without a right image."""
        if id not in self.right:
            return None
        pair = self.dataset.image(id), read_rgb(self.right[id])
        left, right = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in pair)
        matcher = cv2.StereoSGBM_create(numDisparities=16 * self.part.sixteens, blockSize=5, P1=200, P2=800)
        disparity = matcher.compute(left, right).astype(np.float32) / 16
        return np.where(disparity > 0, disparity, np.float32(np.nan))
