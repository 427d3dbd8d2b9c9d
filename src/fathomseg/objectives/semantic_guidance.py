"""The objective `semantic_guidance`: what classes say about depth (Li et al. 2023; Jung et al. 2021).

It teaches no depth by itself: others do (`photometric`, `supervised`), on the same images or on others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

import torch
from jaxtyping import Float, UInt8
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor, nn

from fathomseg.config import named_by_key
from fathomseg.data.distilled import target_name
from fathomseg.errors import FathomError
from fathomseg.geometry.camera import inverse_depth
from fathomseg.losses.class_groups import known_classes
from fathomseg.losses.guidance import AnyGuidance, SkyIsFar, Triplet
from fathomseg.losses.guidance.base import Seen
from fathomseg.losses.segmentation import upsample
from fathomseg.models.network import Network, Outputs, decoded
from fathomseg.objectives.base import Base, Nets, Objective, Request, RunSettings, Setup, SteppedObjective
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import IGNORE, Batch, ClassList, StepResult, Term


class SemanticGuidance(Objective):
    """Terms of depth and classes, on every pixel whose class is known: by the image's own label, or by a teacher's
    (`streams.NAME.distilled.segmentation`), or by the network's own prediction."""

    name: Literal["semantic_guidance"] = "semantic_guidance"
    stream: str | tuple[str, ...] = "clips"
    losses: Annotated[Mapping[str, AnyGuidance], BeforeValidator(named_by_key)] = {
        "triplet": Triplet(),
        "sky": SkyIsFar(),
    }
    """Any of ranking, smoothness, triplet, sky, contact; `triplet` needs the decoder depth_unet."""
    predicted: bool = False
    """Where neither a label nor a teacher's is known, take the classes the network itself predicts, without a gradient
    into them."""
    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Pixels of whose class a teacher, or the network, is less sure count nowhere."""
    weigh: bool = False
    """Multiply what a pixel says by that confidence."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the weight grows linearly from zero, for orders that must be learned before they are kept."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.losses:
            raise ValueError("give at least one of losses: {ranking: {}, smoothness: {}, triplet: {}, sky: {}}")
        return self

    def learns(self, network: NetworkConfig) -> frozenset[str]:
        """No output by itself: a constant depth satisfies most of it."""
        return frozenset()

    def uses(self, network: NetworkConfig) -> frozenset[str]:
        """Labels, and a teacher's."""
        sure = {"distilled_label_confidence"} if self.weigh or self.min_confidence > 0 else set()
        return frozenset({"label", "distilled_label", *sure})

    def misfit(self, network: NetworkConfig) -> str | None:
        """Needs depth that learns, and classes if it is to take the predicted ones."""
        if "depth" not in network.tasks:
            return "it guides depth, which the network does not predict: give network.tasks.depth={}"
        if network.tasks["depth"].frozen and self.weight > 0:
            return "it guides depth, which network.tasks.depth.frozen=true keeps as it is: give weight=0"
        if self.predicted and "segmentation" not in network.tasks:
            return "predicted=true takes classes that the network does not predict: give network.tasks.segmentation={}"
        return None

    def misfits(self, name: str, run: RunSettings) -> Iterator[str]:
        """Nobody says which classes are where."""
        labelled = any("label" in given for given in run.streams.values())
        labelled |= any("label" in other.needs(run.network) for other in run.objectives.values())
        distilled = any(target_name("label") in run.streams.get(stream, ()) for stream in self.streams)
        if not (self.predicted or labelled or distilled):
            yield (
                f"objective {name!r} goes by classes, which nothing gives: give "
                f"streams.{self.streams[0]}.distilled.segmentation.folder=FOLDER, labels of the images "
                f"(streams.{self.streams[0]}.labels={{}}), or objectives.{name}.predicted=true"
            )

    def refuse(self, classes: ClassList | None) -> None:
        """Classes that a term is about, if the data has none of them."""
        self._roles(classes)

    def _roles(self, classes: ClassList | None) -> dict[str, Mapping[str, tuple[int, ...]]]:
        """By term the classes it is about. Raises `FathomError` if there are none."""
        if classes is None:
            raise FathomError("objective 'semantic_guidance' needs classes, but the data of the recipe has none.")
        return {key: loss.indices(classes) for key, loss in self.losses.items()}

    def build(self, setup: Setup, network: Network, brought: nn.ModuleDict) -> SemanticGuidanceObjective:
        """Raises `FathomError` if the classes have none a term is about, or the decoder no level it looks at."""
        depth = setup.network.tasks["depth"]
        assert isinstance(depth, Depth)
        roles = self._roles(setup.classes)
        decoder = network.decoder_of("depth")
        levels = {
            key: tuple(level for level in loss.levels if decoder.width_at(level) is not None)
            for key, loss in self.losses.items()
        }
        for key, loss in self.losses.items():
            if loss.levels and not levels[key]:
                raise FathomError(
                    f"losses.{key} looks at the maps of the depth decoder at 1/2, 1/4 or 1/8 of the image: there is "
                    "none: choose network.tasks.depth.decoder.name=depth_unet."
                )
        return SemanticGuidanceObjective(self, depth, roles, levels)


class SemanticGuidanceObjective(SteppedObjective):
    """The terms of one batch."""

    def __init__(
        self,
        config: SemanticGuidance,
        depth: Depth,
        roles: Mapping[str, Mapping[str, tuple[int, ...]]],
        levels: Mapping[str, tuple[int, ...]],
    ) -> None:
        super().__init__()
        self.config, self.depth, self.roles, self.levels = config, depth, roles, levels

    def request(self, batch: Batch, base: Base, nets: Nets) -> Request:
        """The depth of the images, with the decoder's maps and the classes where they are looked at."""
        wanted = {"depth"}
        wanted |= {decoded("depth")} if any(self.levels.values()) else set()
        wanted |= {"segmentation"} if self.config.predicted else set()
        return Request(lambda outputs, _: self._losses(batch, outputs), frozenset(wanted))

    def _losses(self, batch: Batch, outputs: Outputs) -> StepResult:
        label, confidence = self._classes(batch, outputs)
        disparity = upsample(self.depth.disparity(outputs["depth"]), (label.shape[1], label.shape[2]))
        inverse = inverse_depth(disparity, *self.depth.depth_range)
        maps = outputs.get(decoded("depth"), {})
        terms, warmed = {}, self.warmed(self.config.warmup_steps)
        for key, loss in self.config.losses.items():
            seen = Seen(disparity, inverse, label, confidence, {level: maps[level] for level in self.levels[key]})
            for part, ((total, count), factor) in loss(seen, self.roles[key]).items():
                terms[f"{key}{part}"] = Term(total, count, warmed * loss.weight * factor)
        return StepResult(terms, {"known": (label != IGNORE).float().mean()})

    @torch.no_grad()
    def _classes(self, batch: Batch, outputs: Outputs) -> tuple[UInt8[Tensor, "b h w"], Float[Tensor, "b h w"]]:
        """The class of every pixel, 255 where nothing is sure enough of it; and how much it counts."""
        size = (batch.image.shape[2], batch.image.shape[3])
        label = torch.full((len(batch), *size), IGNORE, dtype=torch.uint8, device=batch.image.device)
        sure = torch.ones(label.shape, device=label.device)
        if self.config.predicted:
            sure, label = upsample(outputs["segmentation"], size).softmax(1).max(1)
        found = known_classes(batch.targets, self.config.min_confidence, [(label.to(torch.uint8), sure)])
        assert found is not None, "there are others"
        label, sure = found
        if batch.valid is not None:
            label = label.masked_fill(~batch.valid, IGNORE)
        return label, sure if self.config.weigh else torch.ones_like(sure)
