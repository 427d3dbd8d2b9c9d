"""Cross-stitch units: a branch reads a weighted sum of its own map and the others', with a weight for each channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fathomseg.models.blocks import Map, Norm
from fathomseg.models.links.encoder_links import EncoderLinkPart, Unit


class CrossStitch(EncoderLinkPart):
    """x' = alpha x + sum beta_s x_s (Misra et al. 2016, arXiv:1604.03539, equation 1), alpha and beta by channel.

    There the sum goes on through the encoder; here it is what the decoder reads, so that any encoder can be used.
    """

    name: Literal["cross_stitch"] = "cross_stitch"
    own: float = Field(default=0.9, ge=0, le=1)
    """How much of its own map a branch reads at first; the others' share the rest."""

    def unit(self, own: int, others: Mapping[str, int], norm: Norm) -> Unit:
        """Maps of one width."""
        same_widths(self.name, own, others)
        rest = (1 - self.own) / len(others)
        return Unit({sender: Scale(own, rest) for sender in others}, Scale(own, self.own))


class Scale(nn.Module):
    """A factor for each channel."""

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.full((channels,), start))

    def forward(self, x: Map) -> Map:
        """Keeps the shape."""
        return x * self.factors[:, None, None]


def same_widths(name: str, own: int, others: Mapping[str, int]) -> None:
    """Raises `ValueError` for links that only join maps of one width."""
    for sender, width in others.items():
        if width != own:
            raise ValueError(
                f"{name} joins maps of one width, but it has {own} channels and that of {sender!r} {width}. Give both "
                "branches encoders of the same widths, or links.name=zero_conv, which joins any."
            )
