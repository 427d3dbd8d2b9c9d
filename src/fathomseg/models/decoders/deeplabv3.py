"""DeepLabv3: ASPP on the deepest map, which is also where it answers. Chen et al. 2017, arXiv:1706.05587."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from fathomseg.models.blocks import ConvNormAct, Map, Norm, he_init
from fathomseg.models.decoders.aspp import Aspp, scaled_rates
from fathomseg.models.decoders.base import DecoderModule, DecoderPart
from fathomseg.models.encoders import Pyramid


class DeepLabV3(DecoderPart):
    """ASPP and one 3x3 convolution; answers at the encoder's output stride, so give the encoder 8 or 16."""

    name: Literal["deeplabv3"] = "deeplabv3"
    channels: int = Field(default=256, ge=8)
    """Width of every ASPP branch and of the feature map heads work on."""
    rates: tuple[int, int, int] = (6, 12, 18)
    """Dilations at output stride 16; doubled at 8 and halved at 32."""
    separable: bool = False
    """Depthwise-separable 3x3 convolutions."""

    def build(self, pyramid: Pyramid, norm: Norm) -> DeepLabV3Decoder:
        """Uses the deepest map, whatever its stride."""
        return DeepLabV3Decoder(pyramid, self, norm)


class DeepLabV3Decoder(DecoderModule):
    """The deepest map -> one map of the same size."""

    def __init__(self, pyramid: Pyramid, part: DeepLabV3, norm: Norm) -> None:
        super().__init__()
        self.channels = part.channels
        self.stride = pyramid.strides[-1]
        rates = scaled_rates(part.rates, pyramid)
        self.aspp = Aspp(pyramid.channels[-1], part.channels, rates, norm, separable=part.separable)
        self.refine = ConvNormAct(part.channels, part.channels, 3, norm, separable=part.separable)
        he_init(self)

    def forward(self, maps: Sequence[Map]) -> Map:
        """The pyramid's maps -> b x channels x h/stride x w/stride."""
        feature: Map = self.refine(self.aspp(maps[-1]))
        return feature
