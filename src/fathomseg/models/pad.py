"""Multi-modal distillation of PAD-Net (Xu et al. 2018, arXiv:1805.04409): what one task's features tell another's."""

from __future__ import annotations

import torch
from torch import nn

from fathomseg.models.blocks import Map


class GatedMessage(nn.Module):
    """SA(x) = conv(x) * sigmoid(gate(x)), both 3x3 without bias: what to say, and where it is worth hearing.

    Module C of Xu et al. 2018, section 3.4, as in Hoyer et al. 2021: the sender works its gate, whose weights start at
    zero, so that it is half open everywhere at first.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """From maps of `inputs` channels to ones of `outputs` channels; the published network has as many of both."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.gate = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        nn.init.zeros_(self.gate.weight)

    def forward(self, x: Map) -> Map:
        """One task's feature map -> what is added to the other's, of the same height and width."""
        message: Map = self.conv(x) * torch.sigmoid(self.gate(x))
        return message
