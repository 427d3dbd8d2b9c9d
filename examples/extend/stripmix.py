# src/fathomseg/mixing/stripmix.py
"""StripMix: a vertical strip of the partner, as wide in every image, is pasted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Bool
from pydantic import Field
from torch import Tensor

from fathomseg.mixing.base import Mixing
from fathomseg.mixing.draws import Use, generator, on_device
from fathomseg.mixing.pixels import Pixels


class StripMix(Mixing):
    """A strip of the other image from top to bottom replaces the same strip of this one."""

    name: Literal["strip"] = "strip"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """The strip's share of the width."""

    def mask(self, this: Pixels, other: Pixels, keys: Sequence[int]) -> Bool[Tensor, "b h w"]:
        """False in the strip, True beside it."""
        width = this.valid.shape[2]
        strip = max(1, round(self.share * width))
        starts = [generator(key, Use.BOX).integers(width - strip, endpoint=True) for key in keys]
        x = torch.arange(width, device=this.valid.device) - on_device(starts, this.valid)[:, None, None]
        return ((x < 0) | (x >= strip)).expand_as(this.valid)
