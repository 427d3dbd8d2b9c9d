"""Neural discriminative dimensionality reduction: all branches' maps, concatenated, through one 1x1 convolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fathomseg.models.blocks import Norm, norm_layer
from fathomseg.models.links.cross_stitch import same_widths
from fathomseg.models.links.encoder_links import EncoderLinkPart, Unit

MOMENTUM = 0.05
"""Of the BatchNorm's running statistics, as published."""


class Nddr(EncoderLinkPart):
    """x' = relu(norm(W [x, x_s ...])) (Gao et al. 2019, arXiv:1801.08297, section 3), W near the identity at first.

    The convolution is held as one block for each branch, whose sum it is. There the result goes on through the encoder;
    here it is what the decoder reads, so that any encoder can be used.
    """

    name: Literal["nddr"] = "nddr"
    own: float = Field(default=0.9, ge=0, le=1)
    """The diagonal of the branch's own block at first; the others' share the rest."""

    def unit(self, own: int, others: Mapping[str, int], norm: Norm) -> Unit:
        """Maps of one width."""
        same_widths(self.name, own, others)
        rest = (1 - self.own) / len(others)
        layer = norm_layer(own, norm)
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = MOMENTUM
        heard = {sender: _diagonal(own, rest) for sender in others}
        return Unit(heard, _diagonal(own, self.own), nn.Sequential(layer, nn.ReLU()))


def _diagonal(channels: int, value: float) -> nn.Conv2d:
    conv = nn.Conv2d(channels, channels, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(value * torch.eye(channels)[:, :, None, None])
    return conv
