"""Disparity maps of several scales from the levels of a decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from jaxtyping import Float
from torch import Tensor, nn

from fathomseg.models.blocks import Map
from fathomseg.models.decoders.depth_unet import ReflectConv2d
from fathomseg.models.precision import in_own_precision

_START: Final = 0.2
"""The disparity of every pixel before training."""


class DisparityHeads(nn.Module):
    """One reflection-padded 3x3 convolution and a sigmoid for each level (Godard et al. 2019, supplement, table 5)."""

    def __init__(self, widths: Mapping[int, int]) -> None:
        """`widths`: the channels of each level that gets a head."""
        super().__init__()
        self.scales = nn.ModuleDict({str(level): DisparityHead(width) for level, width in sorted(widths.items())})

    def forward(self, levels: Mapping[int, Map]) -> list[Float[Tensor, "b 1 _ _"]]:
        """Disparity 0..1 (1 = nearest), finest first, each at the size of its level. Levels without head are ignored.

        Of the levels found, so a decoder that runs in two halves calls this after each.
        """
        return [head(levels[int(level)]) for level, head in self.scales.items() if int(level) in levels]


class DisparityHead(nn.Module):
    """A feature map -> disparity 0..1 of the same size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = ReflectConv2d(width, 1)
        # Small weights start every pixel near the same disparity, whatever the scale of the features.
        nn.init.normal_(self.conv.weight, std=0.01)
        # The scale of depth settles where training begins: from 1/2, what is nearer than half the usual distance would
        # have disparities beyond 1.
        nn.init.constant_(self.conv.bias, math.log(_START / (1 - _START)))  # type: ignore[arg-type]

    def forward(self, x: Map) -> Float[Tensor, "b 1 _ _"]:
        """In full precision under autocast too: a logit of -5 in bfloat16 is a depth to within two percent."""
        return in_own_precision(self.conv, x).sigmoid()
