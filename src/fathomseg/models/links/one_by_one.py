"""1x1 convolutions from encoder to decoder: at zero in the beginning (`zero_conv`), or not (`plain`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import nn

from fathomseg.models.blocks import Norm
from fathomseg.models.links.encoder_links import EncoderLinkPart, Unit


class ZeroConv(EncoderLinkPart):
    """x + W x_s + b with W = 0 and b = 0 at first: the branches begin as networks of their own, bit for bit.

    Sinha & Panda (2023), section 3.2, after ControlNet (Zhang et al. 2023, arXiv:2302.05543, section 3.1). The first
    gradient of W is not zero, that of the sender is: what a link carries grows before it asks for anything.
    """

    name: Literal["zero_conv"] = "zero_conv"

    def unit(self, own: int, others: Mapping[str, int], norm: Norm) -> Unit:
        """Any widths."""
        unit = _convolutions(own, others)
        for parameter in unit.parameters():
            nn.init.zeros_(parameter)
        return unit


class PlainConv(EncoderLinkPart):
    """The same with PyTorch's own weights at first: what zero is worth is the difference from this."""

    name: Literal["plain"] = "plain"

    def unit(self, own: int, others: Mapping[str, int], norm: Norm) -> Unit:
        """Any widths."""
        return _convolutions(own, others)


def _convolutions(own: int, others: Mapping[str, int]) -> Unit:
    return Unit({sender: nn.Conv2d(width, own, 1) for sender, width in others.items()})
