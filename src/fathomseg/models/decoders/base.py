"""What every decoder offers: a part that builds a module from the pyramid's description."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

from torch import nn

from fathomseg.config import Part
from fathomseg.models.blocks import Map, Norm
from fathomseg.models.encoders import Pyramid


class DecoderModule(nn.Module, ABC):
    """Turns a pyramid of feature maps into one map of `channels` channels, of the size of the map at `stride`."""

    channels: int
    stride: int

    @abstractmethod
    def forward(self, maps: Sequence[Map]) -> Map:
        """The feature map heads work on."""

    def __call__(self, maps: Sequence[Map]) -> Map:
        """`forward` with the types it has (PyTorch's own `__call__` has none)."""
        return cast(Map, super().__call__(maps))


class DecoderPart(Part, ABC):
    """Base of all decoders' settings."""

    name: str

    @abstractmethod
    def build(self, pyramid: Pyramid, norm: Norm) -> DecoderModule:
        """The module, freshly initialised. Raises `FathomError` if the pyramid lacks a stride it needs."""
