"""The objective `contrastive`: a scene model learns which depth map and which segmentation show the same scene.

It looks at what is known of the images and at none of the images, so that a run of it alone needs no network
(`network: {tasks: {}}`). Sinha & Panda 2023, section 3.2; Radford et al. 2021 (CLIP).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from fathomseg.data.places import Place, places
from fathomseg.geometry.numerics import full_precision
from fathomseg.losses.contrastive import info_nce, told_apart
from fathomseg.losses.ranks import of_all_ranks
from fathomseg.metrics.retrieval import ranks
from fathomseg.models.network import Network
from fathomseg.models.scene.inputs import inverse_of, painted_label, palette
from fathomseg.models.scene.model import SceneEncoder, SceneModel
from fathomseg.models.scene.towers import TimmTower
from fathomseg.objectives.base import Base, Nets, Objective, ObjectiveModule, Request, Setup, Shown
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import IGNORE, Batch, StepResult, Term

START: Final = math.log(1 / 0.07)
"""The logarithm of the scale of similarities before training (Radford et al. 2021)."""

LARGEST: Final = math.log(100.0)
"""And its largest value: beyond, single pairs decide everything and training becomes unstable (ibid., section 2.5)."""


class Contrastive(Objective):
    """Symmetric InfoNCE between the depth maps and the segmentations of a batch."""

    name: Literal["contrastive"] = "contrastive"
    stream: str = "labelled"
    """The stream it learns from; give it a geometry without padding (scale=[1, 2]), whose borders would tell pairs."""
    encoder: SceneEncoder = SceneEncoder()
    """The scene model: its towers, and what is inside them."""
    apart: Annotated[int, Field(ge=1)] = 20
    """Samples of one clip fewer frames apart show nearly the same: they are no wrong pairs to each other, and only one
    of them is in the pool of a retrieval. Renderings of one moment in other weather are never wrong pairs."""

    trains_network: ClassVar[bool] = False
    lists_samples: ClassVar[bool] = True
    single: ClassVar[str | None] = "scene model"

    def learns(self, network: NetworkConfig) -> frozenset[str]:
        """No output of the network."""
        return frozenset()

    def needs(self, network: NetworkConfig) -> frozenset[str]:
        """Labels and true depth; a sample that lacks one counts nowhere."""
        return frozenset({"label", "depth"})

    def brings(self, network: Network, pretrained: bool) -> nn.ModuleDict:
        """The scene model."""
        return nn.ModuleDict({"scene": self.encoder.build(pretrained)})

    def build(self, setup: Setup, network: Network, brought: nn.ModuleDict) -> ContrastiveObjective:
        """With the class colours, and the place of every sample in its clip."""
        scene = brought["scene"]
        assert isinstance(scene, SceneModel)
        assert setup.classes is not None, "labels are needed, so there are classes"
        return ContrastiveObjective(self, scene, palette(setup.classes.colours), places(*setup.samples[self.stream]))


class ContrastiveObjective(ObjectiveModule):
    """The scene model in training, with its temperature."""

    colours: Float[Tensor, "c 3"]

    def __init__(
        self, config: Contrastive, scene: SceneModel, colours: Float[Tensor, "c 3"], where: Mapping[str, Place]
    ) -> None:
        """`where`: by sample id its clip and its place there."""
        super().__init__()
        self.config, self.scene, self.where = config, scene, where
        self.log_scale = nn.Parameter(torch.tensor(START))
        self.register_buffer("colours", colours, persistent=False)

    def request(self, batch: Batch, base: Base, nets: Nets) -> Request:
        """Nothing of the network."""
        return Request(lambda _, __: self._losses(batch))

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Those of towers that begin with pretrained weights."""
        tower = self.config.encoder.tower
        if not (isinstance(tower, TimmTower) and tower.pretrained):
            return []
        return [p for name, p in self.scene.named_parameters() if ".tower." in name]

    def after_step(self, step: int) -> None:
        """Holds the temperature in its bounds."""
        with torch.no_grad():
            self.log_scale.clamp_(max=LARGEST)

    @torch.no_grad()
    def shown(self, batch: Batch, base: Base, nets: Nets) -> list[Shown]:
        """The pairs of depth and classes whose likeness is learned, with the images they are of."""
        if not (rows := batch.rows("label", "depth")):
            return []
        pairs = batch.take(rows)
        return [
            Shown("image", "image", base.clean[rows], pairs.ids),
            Shown("its depth", "depth", pairs.targets["depth"], pairs.ids),
            Shown("its classes", "label", pairs.targets["label"], pairs.ids),
        ]

    def _losses(self, batch: Batch) -> StepResult:
        """Over the samples of all ranks: each computes the whole loss (`of_all_ranks`)."""
        device, count, size = batch.image.device, len(batch), batch.image.shape[2:]
        label = batch.targets.get("label", torch.full((count, *size), IGNORE, dtype=torch.uint8, device=device))
        depth = batch.targets.get("depth", torch.zeros((count, 1, *size), device=device))
        both = self.scene(inverse_of(depth), painted_label(label, self.colours))
        first, second = (of_all_ranks(vectors) for vectors in both)
        clip, place, there = of_all_ranks(self._known(batch).to(device, non_blocking=True)).unbind(1)
        pairs = told_apart(clip, place, there.bool(), self.config.apart)
        scale = self.log_scale.clamp(max=LARGEST).exp()
        total, terms = info_nce(first, second, scale, pairs)
        logs = {"top1": found_first(first, second, pairs), "scale": scale.detach()}
        return StepResult({"": Term(total, terms)}, logs)

    def _known(self, batch: Batch) -> Tensor:
        """By sample its clip, its place there, and whether it has a label and a depth; on the host."""
        nobody = torch.zeros(len(batch), dtype=torch.bool)
        there = batch.present.get("label", nobody) & batch.present.get("depth", nobody)
        where = torch.tensor([self.where[id] for id in batch.ids])
        return torch.cat([where, there.long()[:, None]], dim=1)


@torch.no_grad()
@full_precision  # in bfloat16 many similarities are equal, which counts as not found
def found_first(
    first: Float[Tensor, "n e"], second: Float[Tensor, "n e"], pairs: Bool[Tensor, "n n"]
) -> Float[Tensor, ""]:
    """The share of the samples whose own partner is the most similar of those they are compared with."""
    found = (ranks((first @ second.T).masked_fill(~pairs, -2.0)) == 0) & pairs.diagonal()
    return found.sum() / pairs.diagonal().sum().clamp(min=1)
