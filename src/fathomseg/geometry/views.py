"""Maps of whole images, seen where random views of these images lie."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fathomseg.geometry.numerics import full_precision
from fathomseg.types import Size


@full_precision  # autocast would multiply the positions in bfloat16, which is off by pixels
def in_view(
    maps: Float[Tensor, "#b c _ _"], view: Float[Tensor, "b 2 3"], size: Size, mode: Literal["bilinear", "nearest"]
) -> Float[Tensor, "b c h w"]:
    """Maps of whole images, of any size, at the pixels of views of `size`; beyond an image its border is repeated.

    `view`: where each lies in its image (`Batch.targets`). One map may stand for all images.
    """
    grid = F.affine_grid(view, [len(view), 1, *size], align_corners=False)
    every = maps.float().expand(len(view), -1, -1, -1)
    return F.grid_sample(every, grid, mode=mode, padding_mode="border", align_corners=False)
