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
    inputs: tuple[int, ...]
    """The maps of the pyramid that it reads, by index: those another branch could add to."""

    @abstractmethod
    def forward(self, maps: Sequence[Map]) -> Map:
        """The feature map heads work on."""

    @property
    def finest(self) -> int:
        """The level of its output; level i is at 1/2^i of the image's size."""
        return self.stride.bit_length() - 1

    def width_at(self, level: int) -> int | None:
        """The channels of its map at a level; None if it has none that others could read or change there."""
        return self.channels if level == self.finest else None

    def levels(self, maps: Sequence[Map], down_to: int | None = None) -> dict[int, Map]:
        """Its maps by level, coarse to fine, down to `down_to` (None: all it has); for most, the output alone."""
        return {self.finest: self(maps)}

    def levels_from(self, feature: Map, level: int, maps: Sequence[Map], down_to: int | None = None) -> dict[int, Map]:
        """Its maps finer than `level`, given that level's map, which a link may have changed; for most, none."""
        return {}

    def parts_down_to(self, level: int) -> list[nn.Module]:
        """What `levels(maps, level)` runs; for most, all of it."""
        return [self]

    def __call__(self, maps: Sequence[Map]) -> Map:
        """`forward` with the types it has (PyTorch's own `__call__` has none)."""
        return cast(Map, super().__call__(maps))


class DecoderPart(Part, ABC):
    """Base of all decoders' settings."""

    name: str

    @abstractmethod
    def build(self, pyramid: Pyramid, norm: Norm) -> DecoderModule:
        """The module, freshly initialised. Raises `FathomError` if the pyramid lacks a stride it needs."""
