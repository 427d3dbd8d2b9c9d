"""The default decoder: a light feature pyramid network with its output at a quarter of the image's size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import nn

from fathomseg.models.blocks import ConvNormAct, Map, Norm, PooledContext, he_init, resize_to
from fathomseg.models.decoders.base import DecoderModule, DecoderPart
from fathomseg.models.encoders import Pyramid


class Fpn(DecoderPart):
    """Top-down pathway with lateral 1x1 convolutions (Lin et al. 2017), pooled context on the deepest map, a refining
    convolution at each level, and all levels added up at stride 4 (the head of Kirillov et al. 2019, made cheap)."""

    name: Literal["fpn"] = "fpn"
    channels: int = Field(default=128, ge=8)
    """Width of every level and of the feature map heads work on."""
    separable: bool = True
    """Depthwise-separable refining convolutions: a ninth of the work of full ones."""

    def build(self, pyramid: Pyramid, norm: Norm) -> FpnDecoder:
        """Needs a map of stride 4; uses the deepest map of every stride from there on."""
        pyramid.at(4, self.name)
        levels = [pyramid.at(stride, self.name) for stride in sorted({s for s in pyramid.strides if s >= 4})]
        return FpnDecoder([pyramid.channels[i] for i in levels], levels, self, norm)


class FpnDecoder(DecoderModule):
    """Maps at strides 4, 8, 16 ... -> one map at stride 4."""

    stride = 4

    def __init__(self, inputs: Sequence[int], levels: Sequence[int], part: Fpn, norm: Norm) -> None:
        super().__init__()
        self.inputs = tuple(levels)
        self.channels = width = part.channels
        self.context = PooledContext(inputs[-1], width)
        self.lateral = nn.ModuleList(ConvNormAct(c, width, 1, norm) for c in inputs)
        self.refine = nn.ModuleList(ConvNormAct(width, width, 3, norm, separable=part.separable) for _ in inputs)
        self.fuse = ConvNormAct(width, width, 3, norm, separable=part.separable)
        he_init(self)

    def forward(self, maps: Sequence[Map]) -> Map:
        """The pyramid's maps -> b x channels x h/4 x w/4."""
        used = [maps[i] for i in self.inputs]
        x = self.refine[-1](self.lateral[-1](used[-1]) + self.context(used[-1]))
        refined = [x]
        for fine, lateral, refine in zip(used[-2::-1], self.lateral[-2::-1], self.refine[-2::-1], strict=True):
            side = lateral(fine)
            x = refine(side + resize_to(x, side))
            refined.append(x)
        for coarse in refined[:-1]:
            x = x + resize_to(coarse, x)
        fused: Map = self.fuse(x)
        return fused
