"""Category-level modulation of other branches' features by what segmentation sees (Li et al. 2023, arXiv:2102.06685).

As spatially-adaptive normalisation (Park et al. 2019, CVPR, arXiv:1903.07291), without the normalisation: so the link
changes nothing before it has learned.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from pydantic import Field
from torch import nn

from fathomseg.models.blocks import Map
from fathomseg.models.links.base import Branches, DecoderLinkPart, LinkModule


class Modulation(DecoderLinkPart):
    """F_t' = (1 + sum_k p_k gamma_k) F_t + sum_k p_k beta_k, where p tells soft categories apart in the map of
    `sender`; nothing goes the other way."""

    name: Literal["modulation"] = "modulation"
    sender: str = "segmentation"
    """The branch that modulates all others."""
    categories: int = Field(default=16, ge=2)
    """How many categories; what they are is learned."""
    detach: bool = False
    """Stop the gradient at the sender."""

    def misfit(self, encoders: Mapping[str, str]) -> str | None:
        """The sender must have a branch."""
        if self.sender in encoders:
            return None
        return f"links.sender is {self.sender!r}, but there is: {', '.join(encoders)}"

    def build(self, branches: Branches) -> ModulationLink:
        """Raises `FathomError` if a branch has no map at `level`."""
        return ModulationLink(self, branches.widths(self.level))


class ModulationLink(LinkModule):
    """One table of scales and one of offsets for each receiver."""

    def __init__(self, part: Modulation, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.levels = (part.level,)
        self.sender, self.detach = part.sender, part.detach
        self.units = nn.ModuleDict(
            {
                task: CategoryScale(widths[part.sender], width, part.categories)
                for task, width in widths.items()
                if task != part.sender
            }
        )

    def senders(self, receivers: Collection[str]) -> frozenset[str]:
        """The one sender, if anyone else receives."""
        return frozenset({self.sender} if any(task != self.sender for task in receivers) else ())

    def forward(self, level: int, maps: Mapping[str, Map], receivers: Collection[str]) -> dict[str, Map]:
        """The modulated map of each receiver; the sender's own as it is."""
        changed = {}
        for receiver in receivers:
            x = maps[receiver]
            if receiver in self.units:
                seen = maps[self.sender]
                x = self.units[receiver](x, seen.detach() if self.detach else seen)
            changed[receiver] = x
        return changed


class CategoryScale(nn.Module):
    """Scales and offsets a map by tables over soft categories of another; the identity before training."""

    def __init__(self, sender: int, receiver: int, categories: int) -> None:
        super().__init__()
        self.categories = nn.Conv2d(sender, categories, 1)
        self.scale = nn.Conv2d(categories, receiver, 1, bias=False)
        self.offset = nn.Conv2d(categories, receiver, 1, bias=False)
        nn.init.zeros_(self.scale.weight)
        nn.init.zeros_(self.offset.weight)

    def forward(self, x: Map, seen: Map) -> Map:
        """`x`, b x receiver x h x w, changed by `seen`, b x sender x h x w."""
        share = self.categories(seen).softmax(1)
        changed: Map = x * (1 + self.scale(share)) + self.offset(share)
        return changed
