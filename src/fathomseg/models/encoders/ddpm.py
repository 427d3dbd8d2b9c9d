"""The encoder of the U-Net of diffusion models: full resolution and its halves, attention at every level."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.models.blocks import Map
from fathomseg.models.compat import load_timm
from fathomseg.models.ddpm import Blocks
from fathomseg.models.encoders.base import FeatureEncoder

_SCALING: Final = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""(mean, std) of images 0..1: the network sees -1..1."""


class DdpmEncoder(Part):
    """From random weights; no normalisation but GroupNorm, so that a batch of one will do.

    Its maps: one at full resolution, at half of it and so on, and the bottleneck at the resolution of the last one.
    Sinha & Panda (2023), section 3.1, by the defaults; small: `channels: 16, mults: [1, 2, 4], heads: 2`.
    """

    name: Literal["ddpm"] = "ddpm"
    channels: PositiveInt = 64
    """Width of the first level."""
    mults: Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=6)] = (1, 2, 4, 8)
    """Width of every level in `channels`; each is half as fine as the one before."""
    stem: PositiveInt | None = None
    """Width behind the first convolution, 7x7; null = two thirds of `channels`."""
    blocks: Blocks = Blocks()
    """What it is made of."""

    def build(self, pretrained: bool = True) -> FeatureEncoder:
        """The module; there are no weights it could start from. Raises `FathomError` for blocks that do not fit."""
        return FeatureEncoder(DdpmPyramid(self), self.name, *_SCALING)


class DdpmPyramid(nn.Module):
    """Images -> the map of every level and the bottleneck."""

    def __init__(self, part: DdpmEncoder) -> None:
        super().__init__()
        blocks = part.blocks
        widths = [part.channels * mult for mult in part.mults]
        below = part.stem or max(1, part.channels // 3 * 2)
        self.stem = nn.Conv2d(3, below, 7, padding=3)
        self.levels, self.halve = nn.ModuleList(), nn.ModuleList()
        for width in widths:
            self.levels.append(
                nn.Sequential(blocks.block(below, width), blocks.block(width, width), blocks.linear_attention(width))
            )
            below = width
        for width in widths[:-1]:
            self.halve.append(nn.Conv2d(width, width, 4, stride=2, padding=1))
        self.bottleneck = nn.Sequential(blocks.block(below, below), blocks.attention(below), blocks.block(below, below))
        strides = [2**i for i in range(len(widths))]
        shapes = zip([*widths, widths[-1]], [*strides, strides[-1]], strict=True)
        info = [{"num_chs": width, "reduction": stride, "module": ""} for width, stride in shapes]
        self.feature_info = load_timm().models.FeatureInfo(info, tuple(range(len(info))))

    def forward(self, image: Tensor) -> list[Map]:
        """b x 3 x h x w of any size -> maps of ceil(h / 2^i) x ceil(w / 2^i), the last one twice."""
        x, maps = self.stem(image), []
        for index, level in enumerate(self.levels):
            if index > 0:  # an odd row or column gets a neighbour of zeros
                x = self.halve[index - 1](F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)))
            x = level(x)
            maps.append(x)
        return [*maps, self.bottleneck(x)]
