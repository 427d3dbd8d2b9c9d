"""Where the camera's own car is in the picture: a teacher that never learned it only guesses there."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import model_validator
from torch import Tensor

from fathomseg.config import Part
from fathomseg.config.bounds import Fraction
from fathomseg.errors import DataError, Problem
from fathomseg.io.label_images import read_values


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
