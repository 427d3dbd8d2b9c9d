# src/fathomseg/objectives/entropy.py
"""The objective `entropy`: predictions on unlabelled images become decided (Grandvalet & Bengio 2004)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from fathomseg.losses.segmentation import upsample
from fathomseg.models.network import Network, Outputs
from fathomseg.objectives.base import Base, Nets, Objective, ObjectiveModule, Request, Setup
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import Batch, StepResult, Term


class Entropy(Objective):
    """The mean entropy of the predicted classes, in nats per pixel."""

    name: Literal["entropy"] = "entropy"
    stream: str | tuple[str, ...] = "unlabelled"
    weight: NonNegativeFloat = 0.01
    """Weight beside the other objectives."""

    def learns(self, network: NetworkConfig) -> frozenset[str]:
        """The classes."""
        return frozenset({"segmentation"})

    def build(self, setup: Setup, network: Network, brought: nn.ModuleDict) -> EntropyObjective:
        """Needs nothing else."""
        return EntropyObjective()


class EntropyObjective(ObjectiveModule):
    """The entropy of one batch."""

    def request(self, batch: Batch, base: Base, nets: Nets) -> Request:
        """The classes of the images."""

        def losses(outputs: Outputs, _: object) -> StepResult:
            size = (batch.image.shape[2], batch.image.shape[3])
            entropy = torch.special.entr(upsample(outputs["segmentation"], size).softmax(1)).sum(1)
            seen = shown(batch)
            return StepResult({"": Term(entropy.where(seen, 0.0).sum(), seen.sum().float())})

        return Request(losses, frozenset({"segmentation"}))

    def counts(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """All pixels but padding; known before the forward pass."""
        return {"": shown(batch).sum().float()}


def shown(batch: Batch) -> Bool[Tensor, "b h w"]:
    """The pixels that show something."""
    return torch.ones_like(batch.image[:, 0], dtype=torch.bool) if batch.valid is None else batch.valid
