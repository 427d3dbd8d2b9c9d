# src/fathomseg/models/decoders/two_maps.py
"""A decoder of two maps: a fine one for edges and a coarse one for meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import PositiveInt

from fathomseg.models.blocks import ConvNormAct, Map, Norm, he_init, resize_to
from fathomseg.models.decoders.base import DecoderModule, DecoderPart
from fathomseg.models.encoders import Pyramid


class TwoMaps(DecoderPart):
    """The map of stride 32 is enlarged and joined with that of stride 8."""

    name: Literal["two-maps"] = "two-maps"
    channels: PositiveInt = 64
    """Width of the feature map heads work on."""

    def build(self, pyramid: Pyramid, norm: Norm) -> TwoMapsDecoder:
        """The module, freshly initialised. Raises `FathomError` if the encoder lacks stride 8 or 32."""
        return TwoMapsDecoder(self, pyramid, norm)


class TwoMapsDecoder(DecoderModule):
    """One map at stride 8."""

    stride = 8

    def __init__(self, part: TwoMaps, pyramid: Pyramid, norm: Norm) -> None:
        super().__init__()
        self.channels = part.channels
        self.fine, self.coarse = pyramid.at(8, part.name), pyramid.at(32, part.name)
        self.inputs = (self.fine, self.coarse)  # what links may add to
        self.narrow = ConvNormAct(pyramid.channels[self.coarse], part.channels, 1, norm)
        self.join = ConvNormAct(pyramid.channels[self.fine] + part.channels, part.channels, 3, norm)
        he_init(self)

    def forward(self, maps: Sequence[Map]) -> Map:
        """The feature map, b x channels x ceil(h / 8) x ceil(w / 8)."""
        fine = maps[self.fine]
        return self.join(torch.cat([fine, resize_to(self.narrow(maps[self.coarse]), fine)], dim=1))
