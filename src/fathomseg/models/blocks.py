"""The few building blocks all decoders are made of: convolution + norm + ReLU, pooled context, resizing, He weights."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Norm = Literal["batch", "frozen", "group"]
"""batch: batch statistics in training. frozen: BatchNorm with fixed statistics. group: GroupNorm in the decoder, fixed
BatchNorm statistics in the encoder."""

Map = Float[Tensor, "b _ _ _"]
"""A batch of feature maps, b x channels x height x width."""


def norm_layer(channels: int, norm: Norm) -> nn.Module:
    """BatchNorm, or GroupNorm with 32 groups (as many as divide the channels; Wu & He 2018)."""
    return nn.GroupNorm(math.gcd(32, channels), channels) if norm == "group" else nn.BatchNorm2d(channels)


class ConvNormAct(nn.Sequential):
    """k x k convolution, norm, ReLU; keeps the size. `separable`: depthwise k x k first, then 1x1 (Chollet 2017)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, norm: Norm, *, dilation: int = 1, separable: bool = False
    ) -> None:
        same = dilation * (kernel // 2)
        if separable and kernel > 1:
            depthwise = nn.Conv2d(inputs, inputs, kernel, padding=same, dilation=dilation, groups=inputs, bias=False)
            convolution = [depthwise, norm_layer(inputs, norm), nn.Conv2d(inputs, outputs, 1, bias=False)]
        else:
            convolution = [nn.Conv2d(inputs, outputs, kernel, padding=same, dilation=dilation, bias=False)]
        super().__init__(*convolution, norm_layer(outputs, norm), nn.ReLU(inplace=True))


class ChannelWeights(nn.Module):
    """A weight for each channel: what a depthwise 1x1 convolution without bias computes.

    As a product, since PyTorch's CPU convolution takes one group at a time there: 0.9 of the 1.6 s of a training step
    of the real-time network (8 images of 120x160, one core). Exported it is a convolution, which other engines lay out
    as its neighbours.
    """

    def __init__(self, channels: int, std: float) -> None:
        """Drawn from a normal distribution around 0."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, 1, 1))  # as the convolution's
        nn.init.normal_(self.weight, std=std)

    def forward(self, x: Map) -> Map:
        """Keeps the shape."""
        if torch.compiler.is_exporting():
            return F.conv2d(x, self.weight, groups=self.weight.shape[0])
        return x * self.weight.view(1, -1, 1, 1)


class PooledContext(nn.Module):
    """The mean of the whole map through a 1x1 convolution and ReLU, spread over the map again.

    It has a bias and no norm: on a 1x1 map of a batch of one, BatchNorm refuses to run (and makes constants of a batch
    of two), and any statistic over so few values hides the very content this branch is there to tell.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """The context, the same at every position."""
        context = F.relu(self.conv(x.mean(dim=(2, 3), keepdim=True)))
        return context.expand(-1, -1, *x.shape[2:])


def resize_to(x: Map, like: Tensor) -> Map:
    """`x` at the height and width of `like`, bilinear; whatever rounding made of odd sizes, the two then fit."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def he_init(module: nn.Module) -> None:
    """He et al. 2015, for ReLU, by fan-in: fan-out would give depthwise convolutions far too small weights."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
