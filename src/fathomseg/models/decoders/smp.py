"""Decoders of segmentation_models_pytorch (MIT) on our pyramids: SegFormer, UPerNet and MA-Net.

Theirs are the layers and their weights at the start. Ours is what lets them run at any size, with any norm, in ONNX.
"""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fathomseg.models.blocks import Map, Norm, PooledContext, norm_layer
from fathomseg.models.compat import ensure_timm_imports
from fathomseg.models.decoders.base import DecoderModule, DecoderPart
from fathomseg.models.encoders import Pyramid


class SegFormer(DecoderPart):
    """A linear layer on each map of stride 4 and up, all resized to stride 4 and fused by a 1x1 convolution.

    Xie et al. 2021, arXiv:2105.15203, section 3.2: light, for encoders that see far by themselves. Answers at stride 4.
    """

    name: Literal["segformer"] = "segformer"
    channels: int = Field(default=256, ge=8)
    """Width of every layer and of the feature map heads work on."""

    def build(self, pyramid: Pyramid, norm: Norm) -> SmpDecoder:
        """Needs a map of stride 4; uses the deepest map of every stride from there on."""
        return SegFormerDecoder(pyramid, deepest_from(4, pyramid, self.name), self.channels, 4, norm)


class UPerNet(DecoderPart):
    """Pooled context of four sizes (PSPNet) on the deepest map, a feature pyramid, all levels joined at stride 4.

    Xiao et al. 2018, arXiv:1807.10221; the usual decoder of Swin and ConvNeXt. Answers at stride 4.
    """

    name: Literal["upernet"] = "upernet"
    channels: int = Field(default=256, ge=8)
    """Width of every level and of the feature map heads work on."""

    def build(self, pyramid: Pyramid, norm: Norm) -> SmpDecoder:
        """Needs a map of stride 4; uses the deepest map of every stride from there on."""
        return UPerNetDecoder(pyramid, deepest_from(4, pyramid, self.name), self.channels, 4, norm)


class MAnet(DecoderPart):
    """A U-Net with attention between all positions of the deepest map and channel attention at every joint.

    Fan et al. 2020, MA-Net, IEEE Access 8. Time and memory grow with the square of the deepest map's positions.
    """

    name: Literal["manet"] = "manet"
    channels: tuple[int, ...] = Field(default=(16, 32, 64, 128, 256), min_length=5)
    """Width at strides 1, 2, 4, 8, 16; those finer than `stride` are not used."""
    stride: Literal[1, 2, 4] = 2
    """Pixels per cell of the output."""

    def build(self, pyramid: Pyramid, norm: Norm) -> SmpDecoder:
        """Needs a map of every stride from `stride` (from 2, if that is 1) to the deepest."""
        used = deepest_from(max(self.stride, 2), pyramid, self.name)
        deepest = pyramid.strides[used[-1]]
        widths = [self.channels[level] for level in range(5) if self.stride <= 2**level < deepest]
        return MAnetDecoder(pyramid, used, widths, self.stride, norm)


def deepest_from(stride: int, pyramid: Pyramid, wanted_by: str) -> list[int]:
    """The deepest map of `stride`, of twice that, and so on, by index. Raises `FathomError` if one is missing."""
    used = [pyramid.at(stride, wanted_by)]
    while pyramid.strides[used[-1]] < pyramid.strides[-1]:
        used.append(pyramid.at(2 * pyramid.strides[used[-1]], wanted_by))
    return used


class SmpDecoder(DecoderModule):
    """A decoder of the library, given the maps it reads in the places where it expects them."""

    def __init__(
        self, pyramid: Pyramid, used: Sequence[int], width: int | Sequence[int], stride: int, norm: Norm
    ) -> None:
        super().__init__()
        ensure_timm_imports()  # the library imports torchvision
        self.inputs, self.stride = tuple(used), stride
        self.channels = width if isinstance(width, int) else width[0]
        self.net: nn.Module = self.create([pyramid.channels[i] for i in used], width)
        importlib.import_module("segmentation_models_pytorch.base.initialization").initialize_decoder(self.net)
        if norm == "group":
            _replace(self.net, nn.BatchNorm2d, lambda old: norm_layer(old.num_features, norm))

    @abstractmethod
    def create(self, inputs: list[int], width: Any) -> Any:
        """The library's module for maps of these channels, fine to coarse."""


class SegFormerDecoder(SmpDecoder):
    """Maps at strides 4, 8, 16 ... -> one map at stride 4."""

    def create(self, inputs: list[int], width: Any) -> Any:
        """The map of stride 2, which it does not read, has no channels."""
        decoder: nn.Module = _library("segformer").SegformerDecoder([3, 0, *inputs], segmentation_channels=width)
        return decoder

    def forward(self, maps: Sequence[Map]) -> Map:
        """The pyramid's maps -> b x channels x h/4 x w/4."""
        fine = maps[self.inputs[0]]
        image = fine.new_zeros(()).expand(1, 1, 4 * fine.shape[2], 4 * fine.shape[3])  # only its size is read
        feature: Map = self.net([image, image[:, :0], *(maps[i] for i in self.inputs)])
        return feature


class UPerNetDecoder(SmpDecoder):
    """Maps at strides 4, 8, 16 ... -> one map at stride 4."""

    def create(self, inputs: list[int], width: Any) -> Any:
        """The coarsest pooling, to one value, is ours: BatchNorm over so few makes constants of them."""
        net = _library("upernet").UPerNetDecoder([0, 0, *inputs], decoder_channels=width)
        net.psp.blocks[0] = PooledContext(inputs[-1], width)
        _replace(net, nn.AdaptiveAvgPool2d, lambda old: AdaptivePool(old.output_size))
        return net

    def forward(self, maps: Sequence[Map]) -> Map:
        """The pyramid's maps -> b x channels x h/4 x w/4."""
        used = [maps[i] for i in self.inputs]
        feature: Map = self.net([used[0], used[0], *used])  # the first two are not read
        return feature


class MAnetDecoder(SmpDecoder):
    """Maps at every stride from the deepest up -> one map at `stride`."""

    def create(self, inputs: list[int], width: Any) -> Any:
        """As many blocks as doublings from the deepest map to the output."""
        widths = width[::-1]
        decoder: nn.Module = _library("manet").MAnetDecoder([3, *inputs], widths, n_blocks=len(widths))
        return decoder

    def forward(self, maps: Sequence[Map]) -> Map:
        """The pyramid's maps -> b x channels x h/stride x w/stride.

        Its blocks double sizes, so maps are continued at the right and at the bottom to where that fits.
        """
        finest = maps[0 if self.stride == 1 else self.inputs[0]]
        height, width = finest.shape[2:]
        cell = 2 ** len(self.net.blocks)  # type: ignore[arg-type]
        whole = height + -height % cell, width + -width % cell
        used = [maps[i] for i in self.inputs]
        for i in range(len(used)):
            part = 2 ** (len(self.net.blocks) - len(used) + 1 + i)  # type: ignore[arg-type]
            down, right = (side // part - have for side, have in zip(whole, used[i].shape[2:], strict=True))
            used[i] = F.pad(used[i], (0, right, 0, down), mode="replicate")
        feature: Map = self.net([finest, *used])[:, :, :height, :width]
        return feature


class AdaptivePool(nn.Module):
    """`nn.AdaptiveAvgPool2d(count)` as two matrix products, which ONNX has for sizes not known beforehand."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c count count"]:
        """The means of count x count cells, which may overlap by a pixel."""
        return self._cells(x.shape[2], x) @ x @ self._cells(x.shape[3], x).T

    def _cells(self, size: int, like: Tensor) -> Float[Tensor, "count _"]:
        cell = torch.arange(self.count, device=like.device)[:, None]
        place = torch.arange(size, device=like.device)
        inside = (place >= cell * size // self.count) & (place * self.count < (cell + 1) * size)
        return (inside / inside.sum(1, keepdim=True)).to(like.dtype)


def _library(name: str) -> Any:
    """Imported late: it takes its time, which no command that builds no such decoder should wait for."""
    return importlib.import_module(f"segmentation_models_pytorch.decoders.{name}.decoder")


def _replace(net: nn.Module, kind: type[nn.Module], new: Any) -> None:
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, kind):
                setattr(module, name, new(child))
