"""Multi-modal distillation of PAD-Net (Xu et al. 2018, arXiv:1805.04409): branches exchange gated messages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import permutations
from typing import Literal

import torch
from torch import nn

from fathomseg.models.blocks import Map
from fathomseg.models.links.base import Branches, DecoderLinkPart, LinkModule


class PadNet(DecoderLinkPart):
    """Every branch hears a gated message of every other, once, with gradients both ways; in the papers at 1/4."""

    name: Literal["padnet"] = "padnet"
    early: tuple[str, ...] = ("segmentation",)
    """Tasks that are also predicted from their features before the exchange, for a loss that keeps these features
    their task's own (deep supervision). Hoyer et al. (2021) do so for the classes."""

    def build(self, branches: Branches) -> PadNetLink:
        """Raises `FathomError` if a branch has no map at `level`."""
        return PadNetLink(self, branches.widths(self.level))


class PadNetLink(LinkModule):
    """F_t' = F_t + sum over the other tasks s of SA_s(F_s)."""

    def __init__(self, part: PadNet, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.levels = (part.level,)
        pairs = permutations(widths, 2)
        self.messages = nn.ModuleDict({f"{a}_to_{b}": GatedMessage(widths[a], widths[b]) for a, b in pairs})
        self.tasks = tuple(widths)

    def senders(self, receivers: Collection[str]) -> frozenset[str]:
        """All other tasks."""
        return frozenset(task for task in self.tasks if any(task != receiver for receiver in receivers))

    def forward(self, level: int, maps: Mapping[str, Map], receivers: Collection[str]) -> dict[str, Map]:
        """The sum of each receiver's map and the messages to it."""
        changed = {}
        for receiver in receivers:
            x = maps[receiver]
            for sender in self.tasks:
                if sender != receiver:
                    x = x + self.messages[f"{sender}_to_{receiver}"](maps[sender])
            changed[receiver] = x
        return changed


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
