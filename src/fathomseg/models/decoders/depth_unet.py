"""The depth decoder: a U-Net whose level i has maps at 1/2^i of the image's size, with ASPP below it if wanted.

The networks of Godard et al. 2019 (arXiv:1806.01260, supplement, table 5) and, with ASPP, of Hoyer et al. 2021
(arXiv:2012.10782). It segments as well, so what was learned from video can be carried over by parameter name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import nn

from fathomseg.errors import FathomError
from fathomseg.models.blocks import Map, Norm, he_init, norm_layer
from fathomseg.models.decoders.base import DecoderModule, DecoderPart
from fathomseg.models.decoders.deeplab import Aspp, scaled_rates
from fathomseg.models.encoders import Pyramid
from fathomseg.types import Size

COARSEST: Final = 4
"""The level the decoder begins at. Its stride is 16, or the encoder's output stride where that is less."""


class DepthUNet(DecoderPart):
    """Convolution, nearest upsampling where the next map is larger, that map joined, convolution; at levels 4 to 0.

    The convolutions are 3x3 with reflection padding, followed by ELU. ResNet-101 of the paper: output stride 16,
    `channels=(64, 128, 128, 256, 256)`, `aspp=(6, 12, 18)`.
    """

    name: Literal["depth_unet"] = "depth_unet"
    channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (16, 32, 64, 128, 256)
    """Width of levels 0 to 4, that is at strides 1, 2, 4, 8, 16. Levels finer than `stride` are not built."""
    stride: Literal[1, 2, 4] = 1
    """Pixels per cell of the output. 4 saves most of the time; 1 gives the finest depth."""
    norms: bool = False
    """A norm (network.norm says which) in place of the bias of every 3x3 convolution."""
    aspp: tuple[int, int, int] | None = None
    """Dilations of an ASPP on the deepest map, given for output stride 16 (halved at 32). null: one convolution."""
    aspp_dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
    """The chance that an element of the ASPP's output is zeroed in training."""

    def build(self, pyramid: Pyramid, norm: Norm) -> DepthUNetDecoder:
        """Needs maps of strides 4, 8, 16 (as far as the output stride goes), and joins one of stride 2 if there is."""
        return DepthUNetDecoder(pyramid, self, norm)


class DepthUNetDecoder(DecoderModule):
    """The pyramid's maps -> one map at `stride`, or (`levels`) those of all levels on the way there."""

    def __init__(self, pyramid: Pyramid, part: DepthUNet, norm: Norm) -> None:
        super().__init__()
        self.stride = part.stride
        self.channels = part.channels[self.finest]
        self.widths = part.channels
        self.skips = {level: _skip(pyramid, level) for level in range(COARSEST, self.finest - 1, -1)}
        skips = sorted({skip for skip in self.skips.values() if skip is not None})
        self.inputs = (*skips, len(pyramid.channels) - 1)
        self.blocks = nn.ModuleDict()
        below = pyramid.channels[-1]
        for level, skip in self.skips.items():
            width = part.channels[level]
            if part.aspp is not None and level == COARSEST:
                aspp = Aspp(below, width, scaled_rates(part.aspp, pyramid), norm)
                reduce: nn.Module = nn.Sequential(aspp, nn.Dropout(part.aspp_dropout))
            else:
                reduce = ConvElu(below, width, norm if part.norms else None)
            joined = width + (0 if skip is None else pyramid.channels[skip])
            self.blocks[str(level)] = Level(reduce, ConvElu(joined, width, norm if part.norms else None))
            below = width
        he_init(self)

    def forward(self, maps: Sequence[Map]) -> Map:
        """The pyramid's maps -> b x channels x h/stride x w/stride."""
        return self.levels(maps)[self.finest]

    def width_at(self, level: int) -> int | None:
        """The channels of a level; None where it is not built."""
        return self.widths[level] if level in self.skips else None

    def levels(self, maps: Sequence[Map], down_to: int | None = None) -> dict[int, Map]:
        """The maps of levels 4 to `down_to` (the finest if not given), coarse to fine; level i is at stride 2^i."""
        return self._upsample(maps[-1], COARSEST, self.finest if down_to is None else down_to, maps)

    def levels_from(self, feature: Map, level: int, maps: Sequence[Map], down_to: int | None = None) -> dict[int, Map]:
        """The levels finer than `level`, given that level's map, which a link may have changed.

        `levels(maps)` equals `levels(maps, k)` and then `levels_from(that[k], k, maps)`.
        """
        return self._upsample(feature, level - 1, self.finest if down_to is None else down_to, maps)

    def parts_down_to(self, level: int) -> list[nn.Module]:
        """The blocks of levels 4 to `level`."""
        return [block for name, block in self.blocks.items() if int(name) >= level]

    def _upsample(self, x: Map, first: int, last: int, maps: Sequence[Map]) -> dict[int, Map]:
        found: dict[int, Map] = {}
        for level in range(first, last - 1, -1):
            skip = self.skips[level]
            x = self.blocks[str(level)](x, _size(maps[0], level) if skip is None else maps[skip])
            found[level] = x
        return found


class Level(nn.Module):
    """Narrow the coarser map, enlarge it, join the encoder's map, and mix the two."""

    def __init__(self, reduce: nn.Module, join: nn.Module) -> None:
        super().__init__()
        self.reduce = reduce
        self.join = join

    def forward(self, x: Map, other: Map | Size) -> Map:
        """`other`: the encoder's map to join, or just the size to enlarge to where it has none."""
        x = self.reduce(x)
        if isinstance(other, tuple):
            joined = enlarge(x, other)
        else:
            joined = torch.cat([enlarge(x, (other.shape[2], other.shape[3])), other], dim=1)
        mixed: Map = self.join(joined)
        return mixed


class ReflectConv2d(nn.Conv2d):
    """3x3 convolution over the map continued by reflection: zeros outside the image would be an edge to be learned."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, bias=bias)

    def forward(self, x: Map) -> Map:
        """b x inputs x h x w -> b x outputs x h x w."""
        mode = "reflect" if min(x.shape[2:]) > 1 else "replicate"  # a single row has no second one to reflect
        return super().forward(F.pad(x, (1, 1, 1, 1), mode))


class ConvElu(nn.Sequential):
    """3x3 convolution with reflection padding, a bias or a norm, ELU (Clevert et al. 2016); keeps the size."""

    def __init__(self, inputs: int, outputs: int, norm: Norm | None) -> None:
        convolution = ReflectConv2d(inputs, outputs, bias=norm is None)
        norms = [] if norm is None else [norm_layer(outputs, norm)]
        super().__init__(convolution, *norms, nn.ELU(inplace=True))


def enlarge(x: Map, size: Size) -> Map:
    """`x` at `size`, every cell repeated (twice each way, but for the last of an odd size); as it is if it fits."""
    return x if x.shape[2:] == size else F.interpolate(x, size=size, mode="nearest")


def _size(image: Map, level: int) -> Size:
    """The image's size divided by 2^level, rounded up."""
    return -(-image.shape[2] // 2**level), -(-image.shape[3] // 2**level)


def _skip(pyramid: Pyramid, level: int) -> int | None:
    """The index of the encoder's map joined at a level: the one before the deepest at level 4, and so on upward."""
    index = len(pyramid.strides) - 2 - (COARSEST - level)
    if index < 1:  # the image itself is not joined
        return None
    wanted = min(2**level, pyramid.strides[-1])
    if pyramid.strides[index] != wanted:
        raise FathomError(
            f"Decoder 'depth_unet' needs strides 4, 8, 16 and 32 (the last repeated where the encoder is dilated), but "
            f"encoder {pyramid.model!r} gives strides {pyramid.found}. Choose {pyramid.other_decoder}, or another "
            "encoder."
        )
    return index
