"""The objective `feature_distance`: the encoder does not forget its ImageNet features (Hoyer et al. 2021)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn

from fathomseg.data.class_match import find
from fathomseg.models.encoders import FeatureEncoder
from fathomseg.models.network import FEATURES, SHARED, Network, Outputs
from fathomseg.objectives.base import Base, Nets, Objective, ObjectiveModule, Request, Setup
from fathomseg.tasks.base import nothing
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import Batch, ClassList, Size, StepResult, Term


class FeatureDistance(Objective):
    """The distance of the deepest features from those of the encoder as `network.encoder.pretrained` gives it, whatever
    `init_from` loads: the mean over images of the L2 norm."""

    name: Literal["feature_distance"] = "feature_distance"
    stream: str | tuple[str, ...] = "clips"
    weight: NonNegativeFloat = 0.02
    """Hoyer et al. (2021) take 0.01 times the norm over a whole batch of 4, which is 0.02 here: norms of a batch grow
    with the square root of its images. DAFormer (Hoyer et al. 2022) takes 0.005 with `classes`."""
    classes: tuple[str, ...] = ()
    """Only where the labels show one of these classes, for example the things (what can be counted): the mean over
    cells of the feature map of the L2 norm there (DAFormer, section 3.3). Empty = everywhere, image by image."""
    min_ratio: Annotated[float, Field(gt=0, le=1)] = 0.75
    """With `classes`: the share of a cell that one of them fills at least."""

    def learns(self, network: NetworkConfig) -> frozenset[str]:
        """No output of its own: it holds the encoder."""
        return frozenset()

    def needs(self, network: NetworkConfig) -> frozenset[str]:
        """Labels, to know where the classes are."""
        return frozenset({"label"}) if self.classes else frozenset()

    def misfit(self, network: NetworkConfig) -> str | None:
        """Needs an encoder that tasks share."""
        if network.has_shared_encoder:
            return None
        return "it holds the shared encoder, and every task has its own: set network.tasks.TASK.encoder=shared"

    def refuse(self, classes: ClassList | None) -> None:
        """A class that is not learned."""
        self._indices(classes)

    def _indices(self, classes: ClassList | None) -> tuple[int, ...]:
        """Those it is confined to. Raises `FathomError` for one that is not learned."""
        names = () if classes is None else classes.names
        return tuple(find(name, names, "objectives.feature_distance.classes has") for name in self.classes)

    def brings(self, network: Network, pretrained: bool) -> nn.ModuleDict:
        """A copy of the encoder as it is now."""
        return nn.ModuleDict({"original": copy.deepcopy(network.encoders[SHARED])})

    def build(self, setup: Setup, network: Network, brought: nn.ModuleDict) -> FeatureDistanceObjective:
        """Keeps the copy. Raises `FathomError` for a class that is not learned."""
        original = brought["original"]
        assert isinstance(original, FeatureEncoder)
        return FeatureDistanceObjective(self, original, self._indices(setup.classes))


class FeatureDistanceObjective(ObjectiveModule):
    """The distance of one batch."""

    def __init__(self, config: FeatureDistance, original: FeatureEncoder, classes: Sequence[int] = ()) -> None:
        """`classes`: the indices of those it is confined to."""
        super().__init__()
        self.config, self.original, self.classes = config, original.requires_grad_(False).eval(), tuple(classes)

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
            difference = outputs[FEATURES].float() - wanted.float()
            if self.classes:
                return StepResult({"": self._where_they_are(difference, batch)})
            norms = torch.linalg.vector_norm(difference.flatten(1), dim=1)
            return StepResult({"": Term(norms.sum(), norms.new_full((), len(norms)))})

        return Request(losses, frozenset({FEATURES}))

    def _where_they_are(self, difference: Float[Tensor, "b c h w"], batch: Batch) -> Term:
        """The norms of the cells that show one of the classes."""
        norms = torch.linalg.vector_norm(difference, dim=1)
        if "label" not in batch.targets:
            return Term(*nothing(difference))
        size = (norms.shape[1], norms.shape[2])
        shown = shows(batch.targets["label"], self.classes, size, self.config.min_ratio)
        return Term((norms * shown).sum(), shown.sum().float())


def shows(
    label: UInt8[Tensor, "b hl wl"], classes: Sequence[int], size: Size, min_ratio: float
) -> Bool[Tensor, "b h w"]:
    """The cells of a (height, width) grid of which one of the classes fills at least this share."""
    one_hot = torch.stack([label == index for index in classes], dim=1).float()
    ratios = torch.nn.functional.adaptive_avg_pool2d(one_hot, size)
    return (ratios >= min_ratio).any(dim=1)
