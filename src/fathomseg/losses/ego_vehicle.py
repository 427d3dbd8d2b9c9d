"""Where the camera's own car is in the picture: a teacher that never learned it only guesses there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from fathomseg.config import Part
from fathomseg.errors import DataError, Problem
from fathomseg.geometry.numerics import full_precision
from fathomseg.io.images import read_values
from fathomseg.types import Size

Fraction = Annotated[float, Field(ge=0, lt=1)]


class EgoVehicle(Part):
    """Pixels of whole images whose pseudo-labels do not count. DAFormer (Hoyer et al. 2022): rows at top and bottom,
    15 and 120 of 512, which is `top: 0.03, bottom: 0.234`; here they follow zoom and crop."""

    top: Fraction = 0.0
    """Rows from the upper edge on, as a part of the height."""
    bottom: Fraction = 0.0
    """Rows from the lower edge on, as a part of the height."""
    mask: Path | None = None
    """A grey image of any size, nonzero where the car is (hood, mirrors, star)."""

    @model_validator(mode="after")
    def _leaves_something(self) -> EgoVehicle:
        if self.top + self.bottom >= 1:
            raise ValueError(f"top={self.top:g} and bottom={self.bottom:g} leave no row whose pseudo-labels count")
        return self

    def shown(self) -> Float[Tensor, "1 1 h w"]:
        """1 where pseudo-labels count in a whole image, else 0. Raises `DataError` for a mask that cannot be read, or
        leaves nothing."""
        if self.mask is None:
            found = torch.ones(1, 1, 1000, 1)
        else:
            found = torch.from_numpy((read_values(self.mask) == 0).astype("float32"))[None, None]
        places = (torch.arange(found.shape[2]) + 0.5) / found.shape[2]
        inside = (places >= self.top) & (places < 1 - self.bottom)
        found = found * inside[None, None, :, None]
        if self.mask is not None and not found.any():
            reason = "is nonzero wherever top and bottom leave rows; expected zeros where pseudo-labels count"
            raise DataError([Problem(str(self.mask), reason)])
        return found


@full_precision  # autocast would multiply the positions in bfloat16, which is off by pixels
def counted(shown: Float[Tensor, "1 1 hw ww"], view: Float[Tensor, "b 2 3"], size: Size) -> Float[Tensor, "b h w"]:
    """1 or 0 for each pixel of the views, which lie at `view` in their whole images (`Batch.targets`)."""
    grid = F.affine_grid(view, [len(view), 1, *size], align_corners=False)
    every = shown.expand(len(view), -1, -1, -1)
    return F.grid_sample(every, grid, mode="nearest", padding_mode="border", align_corners=False)[:, 0]
