"""Dense prediction transformer: a pyramid made of the tokens of a plain transformer, fused from coarse to fine.

Ranftl, Bochkovskiy, Koltun 2021, "Vision Transformers for Dense Prediction", arXiv:2103.13413, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import nn

from fathomseg.errors import FathomError
from fathomseg.models.blocks import Map, Norm, he_init, norm_layer
from fathomseg.models.decoders.base import DecoderModule, DecoderPart
from fathomseg.models.encoders import Pyramid
from fathomseg.types import Size


class Dpt(DecoderPart):
    """Tokens of four blocks become maps at 1/4, 1/2, 1 and 2 patches; each is fused with what comes from below it.

    As in UniMatch V2 (Yang et al. 2025): `channels` 64 for ViT-Small, 128 for ViT-Base, 256 for ViT-Large. As in the
    paper of DPT for segmentation: `channels: 256, widths: [256, 256, 256, 256], norms: true`.
    """

    name: Literal["dpt"] = "dpt"
    channels: int = Field(default=64, ge=1)
    """Width of the fusion, and of the feature map heads work on."""
    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] | None = None
    """Channels of the reassembled maps, fine to coarse. null: 1/8, 1/4, 1/2 and all of the encoder's."""
    stride: Literal[1, 2, 4] = 2
    """Pixels per cell of the output. The paper's is 2 for patches of 16 pixels; 4 is a quarter of the cells."""
    norms: bool = False
    """A norm (network.norm says which) behind every 3x3 convolution of the fusion."""

    def build(self, pyramid: Pyramid, norm: Norm) -> DptDecoder:
        """Needs the four equally fine maps of a plain transformer. Raises `FathomError` for others."""
        if not pyramid.plain or len(pyramid.strides) != 5:
            raise FathomError(
                f"Decoder 'dpt' makes a pyramid of four maps of one stride, but encoder {pyramid.model!r} gives "
                f"strides {pyramid.found}. Choose {pyramid.other_decoder}, or a plain transformer, such as "
                "vit_small_patch14_dinov2."
            )
        return DptDecoder(pyramid, self, norm if self.norms else None)


class DptDecoder(DecoderModule):
    """Four maps of one stride -> one map at `stride`."""

    def __init__(self, pyramid: Pyramid, part: Dpt, norm: Norm | None) -> None:
        super().__init__()
        self.stride, self.channels = part.stride, part.channels
        self.patch = pyramid.strides[-1]
        self.inputs = tuple(range(1, len(pyramid.strides)))
        tokens = pyramid.channels[1:]
        widths = part.widths or tuple(max(1, tokens[-1] // 2**k) for k in (3, 2, 1, 0))
        self.reassemble = nn.ModuleList(
            reassemble(channels, width, level)
            for level, (channels, width) in enumerate(zip(tokens, widths, strict=True))
        )
        self.narrow = nn.ModuleList(nn.Conv2d(width, part.channels, 3, padding=1, bias=False) for width in widths)
        self.fuse = nn.ModuleList(Fusion(part.channels, norm, joins=level < 3) for level in range(4))
        self.refine = nn.Sequential(*_convolution(part.channels, norm), nn.ReLU(inplace=True))
        _preserve_variance(self.reassemble, self.narrow)
        he_init(self.refine)

    def forward(self, maps: Sequence[Map]) -> Map:
        """The transformer's maps -> b x channels x h/stride x w/stride."""
        levels = [
            narrow(make(tokens)) for make, narrow, tokens in zip(self.reassemble, self.narrow, maps[1:], strict=True)
        ]
        x = self.fuse[3](levels[3], None, _size(levels[2]))
        x = self.fuse[2](x, levels[2], _size(levels[1]))
        x = self.fuse[1](x, levels[1], _size(levels[0]))
        rows, columns = (-(-cells * self.patch // self.stride) for cells in _size(maps[1]))
        feature: Map = self.refine(self.fuse[0](x, levels[0], (rows, columns)))
        # The grid of patches may reach beyond the image; what lies there is no part of the output.
        height, width = (-(-pixels // self.stride) for pixels in _size(maps[0]))
        return feature[:, :, :height, :width]


class Fusion(nn.Module):
    """RefineNet's fusion (Lin et al. 2017), figure 1 (right) of the paper: join, mix, enlarge, project.

    The projection comes before the enlarging: a 1x1 convolution and bilinear interpolation commute, and so it is done
    on a quarter of the cells.
    """

    def __init__(self, channels: int, norm: Norm | None, *, joins: bool) -> None:
        """`joins`: whether there is anything to join; the deepest fusion has the map of its level alone."""
        super().__init__()
        self.join = Residual(channels, norm) if joins else None
        self.mix = Residual(channels, norm)
        self.project = nn.Conv2d(channels, channels, 1)
        _preserve_variance(self.project)

    def forward(self, x: Map, finer: Map | None, size: Size) -> Map:
        """What came from below, and the encoder's map of the same size -> their fusion at `size`."""
        if self.join is not None:
            x = x + self.join(finer)
        x = self.project(self.mix(x))
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Residual(nn.Module):
    """x + conv(relu(conv(relu(x)))), both 3x3, each followed by a norm if there is one.

    The convolutions begin with PyTorch's own small weights, so that a stack of these begins near the identity.
    """

    def __init__(self, channels: int, norm: Norm | None) -> None:
        super().__init__()
        first, second = _convolution(channels, norm), _convolution(channels, norm)
        self.branch = nn.Sequential(nn.ReLU(), *first, nn.ReLU(inplace=True), *second)

    def forward(self, x: Map) -> Map:
        """Keeps the shape."""
        mixed: Map = x + self.branch(x)
        return mixed


def reassemble(inputs: int, width: int, level: int) -> nn.Sequential:
    """Tokens to a map of `width` channels, 4 or 2 times as fine, as fine, or half as fine (level 0 to 3).

    Equation 6 of the paper: a 1x1 convolution, then a transposed one without overlap, or one of stride 2.
    """
    project = nn.Conv2d(inputs, width, 1)
    if level < 2:
        factor = 4 >> level
        return nn.Sequential(project, nn.ConvTranspose2d(width, width, factor, stride=factor))
    if level == 2:
        return nn.Sequential(project)
    return nn.Sequential(project, nn.Conv2d(width, width, 3, stride=2, padding=1))


def _convolution(channels: int, norm: Norm | None) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=norm is None)
    return [convolution] if norm is None else [convolution, norm_layer(channels, norm)]


def _preserve_variance(*modules: nn.Module) -> None:
    """Weights of the convolutions no ReLU follows: what goes in with unit variance comes out with it.

    PyTorch's own would shrink the finest map 12 times beside the others, for it takes a transposed convolution's
    outputs for its inputs.
    """
    for layer in (layer for module in modules for layer in module.modules()):
        if isinstance(layer, nn.ConvTranspose2d):  # without overlap: one weight an input channel makes a cell
            nn.init.normal_(layer.weight, std=layer.in_channels**-0.5)
        elif isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _size(x: Map) -> Size:
    return x.shape[2], x.shape[3]
