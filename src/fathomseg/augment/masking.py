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
        hidden = on_device(self.hidden(keys, (image.shape[2], image.shape[3])), image).bool()
        return torch.where(hidden[:, None], on_device(np.array(_HIDDEN), image).view(1, 3, 1, 1), image)

    def hidden(self, keys: Sequence[int], size: Size) -> Bool[np.ndarray, "b h w"]:
        """Which pixels of images of (height, width) are hidden."""
        side = max(1, round(self.block * min(size)))
        rows, columns = (np.arange(length) // side for length in size)
        grid = (int(rows[-1]) + 1, int(columns[-1]) + 1)
        drawn = np.stack([generator(key, Use.BLOCKS).random(grid) < self.ratio for key in keys])
        return drawn[:, rows][:, :, columns]
