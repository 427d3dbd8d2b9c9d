"""Masked consistency (MIC, Hoyer et al. 2023, CVPR): blocks of an image are hidden, so that context has to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part
from fathomseg.mixing.draws import Use, generator, on_device
from fathomseg.types import Size

_HIDDEN: Final = (0.485, 0.456, 0.406)
"""The mean colour (RGB) of ImageNet, which networks see as nothing."""


class Masking(Part):
    """Square blocks of the strong view are hidden; labels and weights stay, also behind them."""

    block: Annotated[float, Field(gt=0, le=1)] = 0.125
    """Side of a block as a part of the shorter side of the view: MIC has 64 pixels of crops of 512."""
    ratio: Annotated[float, Field(ge=0, le=1)] = 0.7
    """How likely each block is hidden."""

    @torch.no_grad()
    def __call__(self, image: Float[Tensor, "b 3 h w"], keys: Sequence[int]) -> Float[Tensor, "b 3 h w"]:
        """The images, 0..1, with blocks of ImageNet's mean colour; a pure function of each image and its key."""
        size = (image.shape[2], image.shape[3])
        # The few cells travel, and become pixels on the device.
        cells = torch.from_numpy(self.cells(keys, size)).to(image.device, non_blocking=True)
        rows, columns = (torch.arange(length, device=image.device) // self.side(size) for length in size)
        hidden = cells[:, None, rows][..., columns]
        return torch.where(hidden, on_device(np.array(_HIDDEN), image).view(1, 3, 1, 1), image)

    def side(self, size: Size) -> int:
        """The side of a block in pixels, in images of (height, width)."""
        return max(1, round(self.block * min(size)))

    def cells(self, keys: Sequence[int], size: Size) -> Bool[np.ndarray, "b rows columns"]:
        """Which blocks of images of (height, width) are hidden; the last ones may reach beyond."""
        grid = tuple(-(-length // self.side(size)) for length in size)
        return np.stack([generator(key, Use.BLOCKS).random(grid) < self.ratio for key in keys])
