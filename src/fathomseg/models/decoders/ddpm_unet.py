"""The decoder of the U-Net of diffusion models, for any encoder whose maps are each half as fine as the one before."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from fathomseg.errors import FathomError
from fathomseg.models.blocks import Map, Norm
from fathomseg.models.ddpm import Blocks
from fathomseg.models.decoders.base import DecoderModule, DecoderPart
from fathomseg.models.encoders import Pyramid


class DdpmUNet(DecoderPart):
    """Join the encoder's map, two blocks and linear attention, a transposed 4x4 convolution; its output is
    where the finest map is. Its norms are GroupNorm whatever network.norm says.

    Sinha & Panda (2023), section 3.1; there is nothing to choose, since the widths are those of the encoder.
    """

    name: Literal["ddpm_unet"] = "ddpm_unet"
    blocks: Blocks = Blocks()
    """What it is made of."""
    finest_skip: bool = True
    """Whether the finest map is joined as well. The published code saves it and never reads it, so false is what has
    56.35 million parameters with encoder `ddpm`."""

    def build(self, pyramid: Pyramid, norm: Norm) -> DdpmUNetDecoder:
        """Raises `FathomError` if the maps are of other strides than a power of two, each once or twice."""
        strides = pyramid.strides[1:]
        steps = [coarse / fine for fine, coarse in itertools.pairwise(strides)]
        if pyramid.plain or strides[0].bit_count() != 1 or not set(steps) <= {1, 2}:
            raise FathomError(
                f"Decoder {self.name!r} doubles the resolution from map to map, but encoder {pyramid.model!r} gives "
                f"strides {pyramid.found}. Choose {pyramid.other_decoder}, or an encoder such as ddpm or a ResNet."
            )
        return DdpmUNetDecoder(pyramid, self)


class DdpmUNetDecoder(DecoderModule):
    """All maps -> one map of the size and width of the finest one."""

    def __init__(self, pyramid: Pyramid, part: DdpmUNet) -> None:
        super().__init__()
        blocks, channels, strides = part.blocks, pyramid.channels, pyramid.strides
        self.stride, self.channels = strides[1], channels[1]
        self.finest_skip = part.finest_skip
        self.inputs = tuple(range(1 if part.finest_skip else 2, len(channels)))
        self.skips = tuple(reversed(range(2, len(channels) - 1)))
        self.enlarge, self.stages = nn.ModuleDict(), nn.ModuleDict()
        below, at = channels[-1], strides[-1]
        for skip in (*self.skips, 1):
            if at > strides[skip]:
                self.enlarge[str(skip)] = nn.ConvTranspose2d(below, below, 4, stride=2, padding=1)
            at = strides[skip]
            if skip > 1:
                width = channels[skip - 1]
                self.stages[str(skip)] = nn.Sequential(
                    blocks.block(below + channels[skip], width),
                    blocks.block(width, width),
                    blocks.linear_attention(width),
                )
                below = width
        self.last = blocks.block(below + (self.channels if part.finest_skip else 0), self.channels)

    def forward(self, maps: Sequence[Map]) -> Map:
        """The pyramid's maps -> b x channels x h/stride x w/stride."""
        x = maps[-1]
        for skip in self.skips:
            x = self.stages[str(skip)](torch.cat([self._enlarged(x, skip, maps[skip]), maps[skip]], dim=1))
        x = self._enlarged(x, 1, maps[1])
        feature: Map = self.last(torch.cat([x, maps[1]], dim=1) if self.finest_skip else x)
        return feature

    def _enlarged(self, x: Map, skip: int, like: Map) -> Map:
        """`x` at the size of the map it is joined with; what lies beyond an odd edge is cut off."""
        if str(skip) not in self.enlarge:
            return x
        larger: Map = self.enlarge[str(skip)](x)
        return larger[:, :, : like.shape[2], : like.shape[3]]
