"""Disparity maps of several scales from the levels of a decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from fathomseg.models.blocks import Map
from fathomseg.models.decoders.depth_unet import ReflectConv2d
from fathomseg.models.norms import in_own_precision


class DisparityHeads(nn.Module):
    """One reflection-padded 3x3 convolution and a sigmoid for each level (Godard et al. 2019, supplement, table 5)."""

    def __init__(self, widths: Mapping[int, int], start: float = 0.2) -> None:
        """`widths`: the channels of each level that gets a head; `start`: the disparity everywhere before training."""
        super().__init__()
        heads = {str(level): DisparityHead(width, start) for level, width in sorted(widths.items())}
        self.scales = nn.ModuleDict(heads)

    def forward(self, levels: Mapping[int, Map]) -> list[Float[Tensor, "b 1 _ _"]]:
        """Disparity 0..1 (1 = nearest), finest first, each at the size of its level. Levels without head are ignored.

        Of the levels found, so a decoder that runs in two halves calls this after each.
        """
        return [head(levels[int(level)]) for level, head in self.scales.items() if int(level) in levels]


class DisparityHead(nn.Module):
    """A feature map -> disparity 0..1 of the same size."""

    def __init__(self, width: int, start: float = 0.2) -> None:
        super().__init__()
        self.conv = ReflectConv2d(width, 1)
        # Small weights start every pixel near the same disparity, whatever the scale of the features.
        nn.init.normal_(self.conv.weight, std=0.01)
        nn.init.constant_(self.conv.bias, math.log(start / (1 - start)))  # type: ignore[arg-type]

    def forward(self, x: Map) -> Float[Tensor, "b 1 _ _"]:
        """In full precision under autocast too: a logit of -5 in bfloat16 is a depth to within two percent."""
        return in_own_precision(self.conv, x).sigmoid()
