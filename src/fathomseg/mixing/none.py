"""No mixing: plain pseudo-labels, the baseline of every mixing rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from fathomseg.mixing.base import Mixing
from fathomseg.mixing.pixels import Pixels


class NoMix(Mixing):
    """Every image stays as it is."""

    name: Literal["none"] = "none"

    def mask(self, this: Pixels, other: Pixels, keys: Sequence[int]) -> Bool[Tensor, "b h w"]:
        """True everywhere."""
        return torch.ones_like(this.valid)
