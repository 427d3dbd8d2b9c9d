# src/fathomseg/models/links/decoder_stitch.py
"""Cross-stitch units between decoders (after Misra et al. 2016): every branch takes weighted sums of all maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from fathomseg.errors import FathomError
from fathomseg.models.blocks import Map
from fathomseg.models.links.base import Branches, LinkModule, LinkPart

Level = Annotated[int, Field(ge=0, le=4)]


class DecoderStitch(LinkPart):
    """Every branch keeps most of its own map and takes a little of the others', as much as it learns to."""

    name: Literal["decoder_stitch"] = "decoder_stitch"
    levels: tuple[Level, ...] = (3, 2)
    """Where branches meet, coarse to fine."""
    own: Annotated[float, Field(ge=0, le=1)] = 0.9
    """How much of its own map a branch goes on with at first."""

    def build(self, branches: Branches) -> DecoderStitchLink:
        """Raises `FathomError` if a branch has no map at a level, or maps of other widths."""
        return DecoderStitchLink(self, {level: branches.widths(level) for level in self.levels})


class DecoderStitchLink(LinkModule):
    """One matrix of shares for each level, from all branches to all."""

    def __init__(self, part: DecoderStitch, widths: Mapping[int, Mapping[str, int]]) -> None:
        super().__init__()
        self.levels = part.levels
        self.tasks = tuple(widths[part.levels[0]])
        for level, of in widths.items():
            if len(set(of.values())) > 1:
                raise FathomError(
                    f"decoder_stitch adds maps up, but at level {level} branches have {dict(of)} channels. Give all "
                    "tasks decoders of the same widths."
                )
        others = (1 - part.own) / max(1, len(self.tasks) - 1)
        start = torch.full((len(self.tasks),) * 2, others).fill_diagonal_(part.own)
        self.shares = nn.ParameterDict({str(level): start.clone() for level in part.levels})

    def senders(self, receivers: Collection[str]) -> frozenset[str]:
        """All tasks."""
        return frozenset(self.tasks)

    def forward(self, level: int, maps: Mapping[str, Map], receivers: Collection[str]) -> dict[str, Map]:
        """Each receiver's weighted sum of all maps."""
        stacked = torch.stack([maps[task] for task in self.tasks])
        share = self.shares[str(level)]
        return {task: torch.einsum("t,tbchw->bchw", share[self.tasks.index(task)], stacked) for task in receivers}
