"""Light-Weight RefineNet: chained pooling and 1x1 convolutions, no norms. Nekrasov et al. 2018, arXiv:1810.03272.

As shared by the tasks of Nekrasov et al. 2019 (ICRA, arXiv:1809.04766), on top of MobileNet-v2.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from fathomseg.models.blocks import ChannelWeights, Map, Norm, norm_layer, resize_to
from fathomseg.models.decoders.base import DecoderModule, DecoderPart
from fathomseg.models.encoders import Pyramid

_START: Final = 0.01
"""Standard deviation of all weights before training, as published."""


class LwRefineNet(DecoderPart):
    """From the deepest stride to 4: relu6(sum of 1x1 convolutions of the stride's maps + what comes from below it),
    chained residual pooling, 1x1 convolution, bilinear upsampling. Norms are optional."""

    name: Literal["lw_refinenet"] = "lw_refinenet"
    channels: int = Field(default=256, ge=8)
    """Width of every stride and of the feature map heads work on."""
    pools: int = Field(default=4, ge=1)
    """Pooling stages of a chain."""
    norms: bool = False
    """A norm of the kind `network.norm` after every convolution whose output is added to a stride's sum. Published:
    none, which takes SGD and hundreds of epochs; with norms Adam learns in hundreds of steps. They cost nothing after
    export, where they become part of the convolutions."""

    def build(self, pyramid: Pyramid, norm: Norm) -> LwRefineNetDecoder:
        """Needs a map of stride 4; uses all maps from there on, several of one stride too."""
        pyramid.at(4, self.name)
        return LwRefineNetDecoder(pyramid, self, norm if self.norms else None)


class LwRefineNetDecoder(DecoderModule):
    """All maps of strides 4, 8, 16 ... -> one map at stride 4."""

    stride = 4

    def __init__(self, pyramid: Pyramid, part: LwRefineNet, norm: Norm | None) -> None:
        super().__init__()
        self.channels = width = part.channels
        strides = sorted({stride for stride in pyramid.strides if stride >= self.stride}, reverse=True)
        self.taps = [[i for i, at in enumerate(pyramid.strides) if at == stride] for stride in strides]
        """The maps of every stride, coarse to fine."""
        self.inputs = tuple(sorted(i for taps in self.taps for i in taps))
        self.stages = nn.ModuleList()
        for stride, taps in zip(strides, self.taps, strict=True):
            channels, first = [pyramid.channels[i] for i in taps], stride == strides[0]
            pool = ChainedPooling(width, part.pools, depthwise=stride == self.stride)
            self.stages.append(Stage(channels, pool, None if first else _normed(width, width, norm), norm))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=_START)

    def forward(self, maps: Sequence[Map]) -> Map:
        """The pyramid's maps -> b x channels x h/4 x w/4."""
        x: Map | None = None
        for stage, taps in zip(self.stages, self.taps, strict=True):
            x = stage([maps[i] for i in taps], x)
        assert x is not None, "there is a map of stride 4"
        return x


class Stage(nn.Module):
    """All maps of one stride, and what comes from the coarser one."""

    def __init__(self, inputs: Sequence[int], pool: ChainedPooling, adapt: nn.Module | None, norm: Norm | None) -> None:
        """`inputs`: the channels of the maps; `adapt` is applied to what comes from below, if anything does."""
        super().__init__()
        self.reduce = nn.ModuleList(_normed(channels, pool.channels, norm) for channels in inputs)
        self.pool, self.adapt = pool, adapt

    def forward(self, maps: Sequence[Map], below: Map | None) -> Map:
        """A map of the size of the stage's own."""
        parts: list[Map] = [reduce(x) for x, reduce in zip(maps, self.reduce, strict=True)]
        if self.adapt is not None:
            parts.append(resize_to(self.adapt(below), maps[0]))
        feature: Map = self.pool(F.relu6(functools.reduce(torch.add, parts)))
        return feature


class ChainedPooling(nn.Module):
    """x + p1 + p2 ..., where p_k = conv1x1(maxpool5x5(p_k-1)) and p_0 = x: context from ever larger windows.

    Lin et al. 2017 (RefineNet), section 3.2, with 1x1 convolutions; `depthwise` ones weigh each channel by itself.
    """

    def __init__(self, channels: int, pools: int, *, depthwise: bool) -> None:
        super().__init__()
        self.channels = channels
        self.convs = nn.ModuleList(
            ChannelWeights(channels, _START) if depthwise else _pointwise(channels, channels) for _ in range(pools)
        )

    def forward(self, x: Map) -> Map:
        """Keeps the shape."""
        top = x
        for conv in self.convs:
            top = conv(_maxpool5(top))
            x = x + top
        return x


def _maxpool5(x: Map) -> Map:
    """The maximum of 5x5 neighbours, by rows and columns: 10 comparisons instead of 25, a third off its time."""
    wide = F.max_pool2d(x, (1, 5), stride=1, padding=(0, 2))
    return F.max_pool2d(wide, (5, 1), stride=1, padding=(2, 0))


def _pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=False)


def _normed(inputs: int, outputs: int, norm: Norm | None) -> nn.Module:
    """A 1x1 convolution, and its norm."""
    convolution = _pointwise(inputs, outputs)
    return convolution if norm is None else nn.Sequential(convolution, norm_layer(outputs, norm))
