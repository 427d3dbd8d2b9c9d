"""The blocks of the U-Net of diffusion models (Ho et al. 2020, arXiv:2006.11239), without its time embedding.

As Sinha & Panda (2023) use them for depth and for segmentation: residual blocks and attention, GroupNorm throughout.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.errors import FathomError
from fathomseg.models.blocks import Map


class Blocks(Part):
    """What encoder and decoder are made of."""

    kind: Literal["convnext", "resnet"] = "convnext"
    """convnext: depthwise 7x7, then 3x3 convolutions to `expansion` times the width and back (not those of ConvNeXt,
    which are 1x1). resnet: two 3x3 convolutions, each with GroupNorm and SiLU."""
    expansion: PositiveInt = 2
    """convnext: how much wider its inside is."""
    groups: PositiveInt = 8
    """resnet: the groups of its norms."""
    heads: PositiveInt = 4
    """Heads of attention."""
    head_width: PositiveInt = 32
    """Channels of a head."""

    def block(self, inputs: int, outputs: int) -> nn.Module:
        """A residual block. Raises `FathomError` if `groups` does not divide its width."""
        if self.kind == "convnext":
            return ConvNextBlock(inputs, outputs, self.expansion)
        if outputs % self.groups:
            raise FathomError(
                f"blocks.groups={self.groups} does not divide the {outputs} channels of a level. Give another, or "
                "channels that are a multiple of it."
            )
        return ResNetBlock(inputs, outputs, self.groups)

    def linear_attention(self, channels: int) -> nn.Module:
        """x + attention whose cost grows with the number of positions."""
        return Residual(channels, LinearAttention(channels, self.heads, self.head_width))

    def attention(self, channels: int) -> nn.Module:
        """x + attention of every position to every other."""
        return Residual(channels, Attention(channels, self.heads, self.head_width))


class ConvNextBlock(nn.Module):
    """Depthwise 7x7, GroupNorm(1), 3x3, GELU, GroupNorm(1), 3x3, plus the input, through a 1x1 if widths differ."""

    def __init__(self, inputs: int, outputs: int, expansion: int) -> None:
        super().__init__()
        wide = outputs * expansion
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, inputs, 7, padding=3, groups=inputs),
            nn.GroupNorm(1, inputs),
            nn.Conv2d(inputs, wide, 3, padding=1),
            nn.GELU(),
            nn.GroupNorm(1, wide),
            nn.Conv2d(wide, outputs, 3, padding=1),
        )
        self.shortcut = _shortcut(inputs, outputs)

    def forward(self, x: Map) -> Map:
        """b x inputs x h x w -> b x outputs x h x w."""
        y: Map = self.branch(x) + self.shortcut(x)
        return y


class ResNetBlock(nn.Module):
    """Twice 3x3, GroupNorm, SiLU; beside it the input, through a 1x1 if widths differ."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (inputs, outputs):
            layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.GroupNorm(groups, outputs), nn.SiLU()]
        self.branch = nn.Sequential(*layers)
        self.shortcut = _shortcut(inputs, outputs)

    def forward(self, x: Map) -> Map:
        """b x inputs x h x w -> b x outputs x h x w."""
        y: Map = self.branch(x) + self.shortcut(x)
        return y


class Residual(nn.Module):
    """x + inner(GroupNorm(x)), with a norm over all channels and positions."""

    def __init__(self, channels: int, inner: nn.Module) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.inner = inner

    def forward(self, x: Map) -> Map:
        """Keeps the shape."""
        y: Map = x + self.inner(self.norm(x))
        return y


class _Heads(nn.Module):
    """Queries, keys and values of every head by one 1x1 convolution without bias."""

    def __init__(self, channels: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Conv2d(channels, 3 * heads * width, 1, bias=False)

    def split(self, x: Map) -> tuple[Float[Tensor, "b heads d n"], ...]:
        """Each b x heads x channels x positions."""
        q, k, v = self.qkv(x).flatten(2).chunk(3, dim=1)
        return tuple(part.unflatten(1, (self.heads, -1)) for part in (q, k, v))


class Attention(_Heads):
    """softmax(q^T k / sqrt(d)) over all positions (Vaswani et al. 2017, equation 1), then a 1x1 convolution."""

    def __init__(self, channels: int, heads: int, width: int) -> None:
        super().__init__(channels, heads, width)
        self.out = nn.Conv2d(heads * width, channels, 1)

    def forward(self, x: Map) -> Map:
        """Keeps the shape."""
        q, k, v = (part.transpose(2, 3) for part in self.split(x))
        heard = F.scaled_dot_product_attention(q, k, v).transpose(2, 3)
        answer: Map = self.out(heard.flatten(1, 2).unflatten(2, x.shape[2:]))
        return answer


class LinearAttention(_Heads):
    """(softmax_n(k) v^T)^T softmax_d(q) / sqrt(d) (Shen et al. 2021, arXiv:1812.01243, section 3.2), a 1x1 convolution
    and GroupNorm(1): n positions cost n d^2 and not n^2 d."""

    def __init__(self, channels: int, heads: int, width: int) -> None:
        super().__init__(channels, heads, width)
        self.scale = width**-0.5
        self.out = nn.Sequential(nn.Conv2d(heads * width, channels, 1), nn.GroupNorm(1, channels))

    def forward(self, x: Map) -> Map:
        """Keeps the shape."""
        q, k, v = self.split(x)
        context = torch.einsum("bhdn,bhen->bhde", k.softmax(dim=3), v)
        heard = torch.einsum("bhde,bhdn->bhen", context, q.softmax(dim=2) * self.scale)
        answer: Map = self.out(heard.flatten(1, 2).unflatten(2, x.shape[2:]))
        return answer


def _shortcut(inputs: int, outputs: int) -> nn.Module:
    return nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
