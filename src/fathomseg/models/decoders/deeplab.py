"""DeepLabv3 and v3+: ASPP on the deepest map; v3+ brings edges back from a map of stride 4.

ASPP is atrous spatial pyramid pooling: parallel convolutions of several dilations beside the pooled image.

Chen et al. 2017, arXiv:1706.05587, and 2018, arXiv:1802.02611.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fathomseg.models.blocks import ConvNormAct, Map, Norm, PooledContext, he_init, resize_to
from fathomseg.models.decoders.base import DecoderModule, DecoderPart
from fathomseg.models.encoders import Pyramid


class Aspp(nn.Module):
    """1x1, three dilated 3x3 and pooled context, each `width` channels; concatenated and projected to `width`.

    Chen et al. 2017 (arXiv:1706.05587), section 3.3, but for the pooled branch, which has no BatchNorm (see there).
    """

    def __init__(self, inputs: int, width: int, rates: Sequence[int], norm: Norm, *, separable: bool = False) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvNormAct(inputs, width, 1, norm)])
        for rate in rates:
            self.branches.append(ConvNormAct(inputs, width, 3, norm, dilation=rate, separable=separable))
        self.branches.append(PooledContext(inputs, width))
        self.project = ConvNormAct(len(self.branches) * width, width, 1, norm)

    def forward(self, x: Map) -> Map:
        """b x inputs x h x w -> b x width x h x w."""
        context: Map = self.project(torch.cat([branch(x) for branch in self.branches], dim=1))
        return context


def scaled_rates(rates: Sequence[int], pyramid: Pyramid) -> tuple[int, ...]:
    """Dilations given for output stride 16 as they must be here to see as many image pixels."""
    return tuple(max(1, rate * 16 // pyramid.strides[-1]) for rate in rates)


class _DeepLab(DecoderPart):
    """What both have."""

    channels: int = Field(default=256, ge=8)
    """Width of every ASPP branch and of the feature map heads work on."""
    rates: tuple[int, int, int] = (6, 12, 18)
    """Dilations at output stride 16; doubled at 8 and halved at 32."""
    separable: bool = False
    """Depthwise-separable 3x3 convolutions, in the ASPP too: the faster variant of the paper of v3+."""

    def aspp(self, pyramid: Pyramid, norm: Norm) -> Aspp:
        """The ASPP on the deepest map."""
        rates = scaled_rates(self.rates, pyramid)
        return Aspp(pyramid.channels[-1], self.channels, rates, norm, separable=self.separable)


class DeepLabV3(_DeepLab):
    """ASPP and one 3x3 convolution; its output is at the encoder's output stride, so give the encoder 8 or 16."""

    name: Literal["deeplabv3"] = "deeplabv3"

    def build(self, pyramid: Pyramid, norm: Norm) -> DeepLabV3Decoder:
        """Uses the deepest map, whatever its stride."""
        return DeepLabV3Decoder(pyramid, self, norm)


class DeepLabV3Decoder(DecoderModule):
    """The deepest map -> one map of the same size."""

    def __init__(self, pyramid: Pyramid, part: DeepLabV3, norm: Norm) -> None:
        super().__init__()
        self.channels = part.channels
        self.stride = pyramid.strides[-1]
        self.inputs = (len(pyramid.channels) - 1,)
        self.aspp = part.aspp(pyramid, norm)
        self.refine = ConvNormAct(part.channels, part.channels, 3, norm, separable=part.separable)
        he_init(self)

    def forward(self, maps: Sequence[Map]) -> Map:
        """The pyramid's maps -> b x channels x h/stride x w/stride."""
        feature: Map = self.refine(self.aspp(maps[-1]))
        return feature


class DeepLabV3Plus(_DeepLab):
    """ASPP on the deepest map, joined by a narrow stride-4 map and two 3x3 convolutions; its output is at stride 4."""

    name: Literal["deeplabv3plus"] = "deeplabv3plus"
    low_level: int = Field(default=48, ge=1)
    """Channels the stride-4 map is narrowed to, so that it does not outweigh the ASPP (section 4.1 of the paper)."""

    def build(self, pyramid: Pyramid, norm: Norm) -> DeepLabV3PlusDecoder:
        """Needs a map of stride 4 beside the deepest one."""
        return DeepLabV3PlusDecoder(pyramid, self, norm)


class DeepLabV3PlusDecoder(DecoderModule):
    """The maps at stride 4 and at the deepest stride -> one map at stride 4."""

    stride = 4

    def __init__(self, pyramid: Pyramid, part: DeepLabV3Plus, norm: Norm) -> None:
        super().__init__()
        self.channels = width = part.channels
        self.fine = pyramid.at(4, part.name)
        self.inputs = (self.fine, len(pyramid.channels) - 1)
        self.aspp = part.aspp(pyramid, norm)
        self.low_level = ConvNormAct(pyramid.channels[self.fine], part.low_level, 1, norm)
        self.refine = nn.Sequential(
            ConvNormAct(width + part.low_level, width, 3, norm, separable=part.separable),
            ConvNormAct(width, width, 3, norm, separable=part.separable),
        )
        he_init(self)

    def forward(self, maps: Sequence[Map]) -> Map:
        """The pyramid's maps -> b x channels x h/4 x w/4."""
        fine = self.low_level(maps[self.fine])
        coarse = resize_to(self.aspp(maps[-1]), fine)
        feature: Map = self.refine(torch.cat([coarse, fine], dim=1))
        return feature
