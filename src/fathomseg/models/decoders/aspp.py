"""Atrous spatial pyramid pooling: parallel convolutions of several dilations beside the pooled image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from fathomseg.models.blocks import ConvNormAct, Map, Norm, PooledContext
from fathomseg.models.encoders import Pyramid


class Aspp(nn.Module):
    """1x1, three dilated 3x3 and pooled context, each `width` channels; concatenated and projected to `width`.

    Chen et al. 2017 (arXiv:1706.05587), section 3.3, but for the pooled branch, which has no BatchNorm (see there).
    """

    def __init__(self, inputs: int, width: int, rates: Sequence[int], norm: Norm, *, separable: bool = False) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvNormAct(inputs, width, 1, norm)])
        for rate in rates:
            self.branches.append(ConvNormAct(inputs, width, 3, norm, dilation=rate, separable=separable))
        self.branches.append(PooledContext(inputs, width))
        self.project = ConvNormAct(len(self.branches) * width, width, 1, norm)

    def forward(self, x: Map) -> Map:
        """b x inputs x h x w -> b x width x h x w."""
        context: Map = self.project(torch.cat([branch(x) for branch in self.branches], dim=1))
        return context


def scaled_rates(rates: Sequence[int], pyramid: Pyramid) -> tuple[int, ...]:
    """Dilations given for output stride 16 as they must be here to see as many image pixels."""
    return tuple(max(1, rate * 16 // pyramid.strides[-1]) for rate in rates)
