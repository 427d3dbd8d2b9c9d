"""U-Net: every map of the encoder joined on the way up. Ronneberger et al. 2015, arXiv:1505.04597."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fathomseg.errors import FathomError
from fathomseg.models.blocks import ConvNormAct, Map, Norm, he_init, resize_to
from fathomseg.models.decoders.base import DecoderModule, DecoderPart
from fathomseg.models.encoders import Pyramid


class UNet(DecoderPart):
    """Upsample, concatenate the next finer map, two 3x3 convolutions; again until `stride` is reached."""

    name: Literal["unet"] = "unet"
    channels: tuple[int, ...] = Field(default=(32, 32, 64, 128, 256), min_length=1)
    """Width at strides 1, 2, 4, 8, 16; those finer than `stride` are not used."""
    stride: Literal[1, 2, 4] = 2
    """Pixels per cell of the output. At 1 the normalised image itself is the last map joined."""

    def build(self, pyramid: Pyramid, norm: Norm) -> UNetDecoder:
        """Needs a map of `stride`, and a width for every map between that and the deepest."""
        pyramid.at(self.stride, self.name)
        skips = [i for i in reversed(range(len(pyramid.strides) - 1)) if pyramid.strides[i] >= self.stride]
        return UNetDecoder(pyramid, skips, [self._width(pyramid, pyramid.strides[i]) for i in skips], self, norm)

    def _width(self, pyramid: Pyramid, stride: int) -> int:
        level = round(math.log2(stride))
        if level >= (given := len(self.channels)):
            more = [*self.channels, *[self.channels[-1]] * (level + 1 - given)]
            raise FathomError(
                f"{pyramid.read_by}.channels gives widths for strides 1 to {2 ** (given - 1)}, but encoder "
                f"{pyramid.model!r} also has a map of stride {stride} to be joined. Give {level + 1} widths, such as "
                f"{pyramid.read_by}.channels={more}."
            )
        return self.channels[level]


class UNetDecoder(DecoderModule):
    """All maps from the deepest up to the one of `stride` -> one map at `stride`."""

    def __init__(self, pyramid: Pyramid, skips: Sequence[int], widths: Sequence[int], part: UNet, norm: Norm) -> None:
        super().__init__()
        self.skips = tuple(skips)
        self.channels = widths[-1]
        self.stride = part.stride
        self.inputs = (*sorted(skips), len(pyramid.channels) - 1)
        self.blocks = nn.ModuleList()
        below = pyramid.channels[-1]
        for skip, width in zip(skips, widths, strict=True):
            joined = ConvNormAct(below + pyramid.channels[skip], width, 3, norm)
            self.blocks.append(nn.Sequential(joined, ConvNormAct(width, width, 3, norm)))
            below = width
        he_init(self)

    def forward(self, maps: Sequence[Map]) -> Map:
        """The pyramid's maps -> b x channels x h/stride x w/stride."""
        x = maps[-1]
        for skip, block in zip(self.skips, self.blocks, strict=True):
            x = block(torch.cat([resize_to(x, maps[skip]), maps[skip]], dim=1))
        return x
