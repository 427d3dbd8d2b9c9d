"""The objective `feature_distance`: the encoder does not forget what ImageNet taught it (Hoyer et al. 2021)."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import nn

from fathomseg.models.encoders import FeatureEncoder
from fathomseg.models.network import FEATURES, SHARED, Network, Outputs
from fathomseg.objectives.base import Base, Nets, Objective, ObjectiveModule, Request, Setup, Weight
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import Batch, StepResult, Term


class FeatureDistance(Objective):
    """The distance of the deepest features from those of the encoder as `network.encoder.pretrained` gives it, whatever
    `init_from` loads: the mean over images of the L2 norm."""

    name: Literal["feature_distance"] = "feature_distance"
    stream: str | tuple[str, ...] = "clips"
    weight: Weight = 0.02
    """Hoyer et al. (2021) take 0.01 times the norm over a whole batch of 4, which is 0.02 here: norms of a batch grow
    with the square root of its images."""

    def learns(self, network: NetworkConfig) -> frozenset[str]:
        """No output of its own: it holds the encoder."""
        return frozenset()

    def misfit(self, network: NetworkConfig) -> str | None:
        """Needs an encoder that tasks share."""
        if network.has_shared_encoder:
            return None
        return "it holds the shared encoder, and every task has its own: set network.tasks.TASK.encoder=shared"

    def brings(self, network: Network, pretrained: bool) -> nn.ModuleDict:
        """A copy of the encoder as it is now."""
        return nn.ModuleDict({"original": copy.deepcopy(network.encoders[SHARED])})

    def build(self, setup: Setup, network: Network, brought: nn.ModuleDict) -> FeatureDistanceObjective:
        """Keeps the copy."""
        original = brought["original"]
        assert isinstance(original, FeatureEncoder)
        return FeatureDistanceObjective(self.weight, original)


class FeatureDistanceObjective(ObjectiveModule):
    """The distance of one batch."""

    def __init__(self, weight: float, original: FeatureEncoder) -> None:
        super().__init__()
        self.weight, self.original = weight, original.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> FeatureDistanceObjective:
        """The original encoder stays in eval mode."""
        super().train(mode)
        self.original.eval()
        return self

    def request(self, batch: Batch, base: Base, nets: Nets) -> Request:
        """The features of the images."""

        def losses(outputs: Outputs, _: object) -> StepResult:
            with torch.no_grad():
                wanted = self.original(base.image)[-1]
            norms = torch.linalg.vector_norm((outputs[FEATURES].float() - wanted.float()).flatten(1), dim=1)
            return StepResult({"": Term(norms.sum(), norms.new_tensor(float(len(norms))), self.weight)})

        return Request(losses, frozenset({FEATURES}))
