"""What every objective offers: one thing a training step learns, with what it needs and what it brings.

An objective is given a batch of its stream. It asks for outputs of the network on the batch's own images (the base
view, which all objectives of a stream share, so that they cost one pass together) or on images it makes itself (views),
and turns what it gets into loss terms.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int64, Shaped
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.data.colour import ColourJitter
from fathomseg.data.datasets.base import Dataset
from fathomseg.models.network import Network, Outputs, Pyramids
from fathomseg.tasks.base import TaskLoss
from fathomseg.tasks.network import NetworkConfig
from fathomseg.tasks.segmentation_loss import SegmentationLoss
from fathomseg.types import Batch, ClassList, StepResult


@dataclass(frozen=True)
class Base:
    """The images of a batch as the network sees them, 0..1."""

    clean: Float[Tensor, "b 3 h w"]
    """As they are stored."""
    image: Float[Tensor, "b 3 h w"]
    """In the random colours of the stream."""
    frames: Float[Tensor, "b s 3 h w"] | None
    """The frame before, the image and the frame after, all in the same random colours, if there are neighbours."""
    clean_frames: Float[Tensor, "b s 3 h w"] | None = None
    """The same as they are stored."""
    beside: Mapping[str, Batch] = field(default_factory=dict)
    """The batches of all streams in this step, for objectives that pair images of two (`Objective.partners`)."""

    @classmethod
    def of(cls, batch: Batch, colour: ColourJitter | None, beside: Mapping[str, Batch] | None = None) -> Base:
        """Converted on the device, so that a quarter of the bytes travels there."""
        clean, beside = to_unit(batch.image), beside or {}
        if "frames" not in batch.targets:
            return cls(clean, clean if colour is None else colour(clean, batch.keys), None, None, beside)
        frames = clean_frames = ordered(batch)
        if colour is not None:
            frames = recoloured(colour, frames, batch.keys)
        return cls(clean, frames[:, frames.shape[1] // 2], frames, clean_frames, beside)


@dataclass(frozen=True)
class View:
    """Images an objective has made, and the outputs it wants of them."""

    image: Float[Tensor, "n 3 h w"]
    outputs: frozenset[str]
    change: Pyramids | None = None
    """Applied to the encoder's feature maps."""
    foreign: bool = False
    """Whether they show more than images of the stream: BatchNorm statistics are not to be theirs then, nor those of
    the stream's other views, but those of its images, unmixed."""


@dataclass(frozen=True)
class Request:
    """What an objective wants of the network for one batch, and what it makes of it."""

    losses: Callable[[Outputs, Sequence[Outputs]], StepResult]
    """The loss terms from the outputs of the base view and those of each of `views`."""
    outputs: frozenset[str] = frozenset()
    """Outputs of the base view."""
    views: Sequence[View] = ()
    """Images of its own."""


@dataclass(frozen=True)
class Shown:
    """One kind of map of some samples of a batch, for people to look at."""

    name: str
    """What it shows, in words."""
    kind: Literal["image", "label", "depth", "disparity", "share"]
    """How it is drawn: RGB 0..1, class indices (255 = ignore), depth of any unit (0 = unknown), disparity 0..1 (NaN =
    unknown), anything else of 0..1."""
    maps: Shaped[Tensor, "n *c h w"]
    ids: tuple[str, ...]
    """Of the samples."""


Whom = tuple[str, str]
"""A teacher: the network that predicts, and what it is shown."""


@dataclass(frozen=True)
class Nets:
    """The networks of a step."""

    student: Network
    """The one that learns."""
    averaged: Network
    """Its averaged weights, in eval mode; takes no gradient."""
    asked: Mapping[Whom, frozenset[str]] = field(default_factory=dict)
    """The outputs that all objectives of the stream ask of teachers (`ObjectiveModule.asks`)."""
    known: dict[Whom, Outputs] = field(default_factory=dict)
    """What teachers have said of the images of this batch, so that objectives with one teacher share its pass."""

    def shared_pass(self, whom: Whom, outputs: Collection[str], run: Callable[[Collection[str]], Outputs]) -> Outputs:
        """These outputs of a teacher: of an earlier pass in which they were among the outputs, else of one `run` for
        all that is asked of it."""
        found = self.known.get(whom)
        if found is None or not found.keys() >= set(outputs):
            found = self.known[whom] = run(frozenset(outputs) | self.asked.get(whom, frozenset()))
        return found


@dataclass(frozen=True)
class Setup:
    """What objectives are built from, beside their own settings."""

    network: NetworkConfig
    steps: int
    """The length of the training."""
    label_pixels: Mapping[str, Int64[Tensor, " c"]] = field(default_factory=dict)
    """By stream, where labels are used, the pixels of every class: each image counts as often as it is drawn."""
    focal_ids: Mapping[str, int] = field(default_factory=dict)
    """By sample id the number of its camera, if that camera's focal length is to be learned."""
    focal_factors: Sequence[float] = ()
    """By camera, what its learned focal length begins at, as a factor of the one it is given as."""
    focal_cameras: Sequence[tuple[str, float]] = ()
    """By camera its name and the focal length it is given as, in pixels of the stored images, to be logged by."""
    class_weights: Float[Tensor, " c"] | None = None
    """The weights the supervised loss gives the classes, if it weighs them."""
    classes: ClassList | None = None
    """The classes of the labels; None if the recipe has none."""
    samples: Mapping[str, tuple[Dataset, Sequence[str]]] = field(default_factory=dict)
    """By stream the dataset it reads, and the ids."""


@dataclass(frozen=True)
class RunSettings:
    """What an objective's settings have to fit."""

    network: NetworkConfig
    streams: Mapping[str, Collection[str]]
    """By stream the targets that its settings give, as for `check.misfits`."""
    objectives: Mapping[str, Objective]
    """All of the run."""


class Objective(Part, ABC):
    """The settings of an objective."""

    name: str
    stream: str | tuple[str, ...]
    """The stream, or streams, it learns from."""
    weight: NonNegativeFloat = 1.0
    """Weight beside the other objectives. With 0 it is left out of the training, with the streams that only it reads;
    what no other objective trains stays as it begins, and is predicted all the same."""

    trains_network: ClassVar[bool] = True
    """Whether it has anything to do with the network, or trains what it brings from what is known of the images."""

    lists_samples: ClassVar[bool] = False
    """Whether it must know all samples of its streams beforehand (`Setup.samples`), which endless ones cannot list."""

    single: ClassVar[str | None] = None
    """What it brings that a run has one of, such as a pose network: two such objectives are reported by `check`."""

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams it learns from."""
        return (self.stream,) if isinstance(self.stream, str) else self.stream

    @property
    def partners(self) -> tuple[str, ...]:
        """Streams whose batches it looks at beside that of the stream it learns from: image i of the one beside image i
        of the other."""
        return ()

    def partner_needs(self, network: NetworkConfig) -> frozenset[str]:
        """The targets without which an image of its `partners` is of no use."""
        return frozenset()

    def partner_uses(self, network: NetworkConfig) -> frozenset[str]:
        """The targets of its `partners` that it makes use of where there are some."""
        return frozenset()

    @abstractmethod
    def learns(self, network: NetworkConfig) -> frozenset[str]:
        """The outputs of the network that it trains. Those of them that the network lacks are reported by `check`."""

    def groups(self, network: NetworkConfig) -> dict[str, frozenset[str]]:
        """What may be balanced against other losses (`engine/balancing`): by `Term.group` the outputs these terms
        train. All of them are one group, unless it trains no output: a regulariser keeps its weight."""
        return {"": learned} if (learned := self.learns(network)) else {}

    def needs(self, network: NetworkConfig) -> frozenset[str]:
        """The targets (`Batch.targets`) without which it learns nothing from a sample."""
        return frozenset()

    def uses(self, network: NetworkConfig) -> frozenset[str]:
        """The targets it makes use of where there are some."""
        return frozenset()

    def misfit(self, network: NetworkConfig) -> str | None:
        """Anything else that keeps it from training this network, with what to set; None if nothing does."""
        return None

    def misfits(self, name: str, run: RunSettings) -> Iterator[str]:
        """What of the run around it keeps it from learning, one sentence each, with what to set.

        `name`: its own.
        """
        return iter(())

    @property
    def task_losses(self) -> Mapping[str, TaskLoss]:
        """The losses by which it teaches tasks what is known of the images."""
        return {}

    @property
    def weighs_classes(self) -> bool:
        """Whether rare classes count more in them."""
        return any(isinstance(loss, SegmentationLoss) and loss.balance > 0 for loss in self.task_losses.values())

    @property
    def takes_several(self) -> bool:
        """Whether one such objective can learn from several streams."""
        return type(self).model_fields["stream"].annotation is not str

    def refuse(self, classes: ClassList | None) -> None:
        """Raise `FathomError` for settings that do not fit the classes of the data (None: there are none), or for a
        file they name that cannot be used: asked before anything is prepared."""

    def brings(self, network: Network, pretrained: bool) -> nn.ModuleDict:
        """Networks it adds, such as a pose network, freshly built: with the pretrained weights of their encoders,
        unless a resumed run brings them. `network` is as it was built, before any earlier run's weights are loaded."""
        return nn.ModuleDict()

    @abstractmethod
    def build(self, setup: Setup, network: Network, brought: nn.ModuleDict) -> ObjectiveModule:
        """The objective at work on `network`, with what it `brings`."""


class ObjectiveModule(nn.Module, ABC):
    """An objective at work. What a checkpoint must hold of it is in its `state_dict`."""

    @abstractmethod
    def request(self, batch: Batch, base: Base, nets: Nets) -> Request:
        """What it wants to see of the network for this batch. Terms must have the same names for every batch, and where
        several processes train what is logged, too; the step weighs terms by `Objective.weight`."""

    def asks(self, batch: Batch) -> Mapping[Whom, frozenset[str]]:
        """The outputs it will ask of teachers in `request`, which several objectives share (`Nets.shared_pass`)."""
        return {}

    def counts(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Counts of terms that can be read off the data before the forward pass.

        With them, accumulating micro-batches gives exactly the gradient of the whole batch. Terms that are not named
        here are averaged within each micro-batch first.
        """
        return {}

    def encoder_parameters(self) -> list[nn.Parameter]:
        """The parameters of encoders it brings, for their own learning rate."""
        return []

    def after_step(self, step: int) -> None:
        """Called after every optimiser step."""

    @torch.no_grad()
    def shown(self, batch: Batch, base: Base, nets: Nets) -> list[Shown]:
        """What is worth looking at of a batch, for the page of a training; nothing, unless it says so. Called outside
        training; must change nothing."""
        return []


class SteppedObjective(ObjectiveModule):
    """An objective that goes by the optimiser steps done."""

    done: int = 0
    """They go on in a resumed run."""

    def warmed(self, steps: int) -> float:
        """0..1: grows linearly over the first `steps`; 0 = 1 from the first on."""
        return min(1.0, self.done / steps) if steps else 1.0

    def after_step(self, step: int) -> None:
        """Count it."""
        self.done = step + 1

    def get_extra_state(self) -> dict[str, Any]:
        """The steps done, for a resumed run."""
        return {"done": self.done}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Continue from the steps done."""
        self.done = int(state["done"])


def groups_of(objectives: Mapping[str, Objective], network: NetworkConfig) -> dict[str, frozenset[str]]:
    """All groups of loss terms of a step by name, with the outputs they train."""
    return {
        qualified(name, group): outputs
        for name, objective in objectives.items()
        for group, outputs in objective.groups(network).items()
    }


def qualified(objective: str, part: str) -> str:
    """The name of a part of an objective; that of the objective itself for the part without a name."""
    return f"{objective}.{part}" if part else objective


def to_unit(image: Tensor) -> Float[Tensor, "*b 3 h w"]:
    """Bytes -> float32 0..1."""
    return image.to(torch.float32).div_(255.0)


def ordered(batch: Batch) -> Float[Tensor, "b s 3 h w"]:
    """The frame before, the image and the frame after, 0..1."""
    frames = batch.targets["frames"]
    assert frames.shape[1] == 2, "one frame before and one after"
    return torch.cat([frames[:, :1], batch.image[:, None], frames[:, 1:]], dim=1).float() / 255


def recoloured(
    colour: ColourJitter, frames: Float[Tensor, "b s 3 h w"], keys: Sequence[int]
) -> Float[Tensor, "b s 3 h w"]:
    """All frames of a sample in the same random colours."""
    count = frames.shape[1]
    return colour(frames.flatten(0, 1), [key for key in keys for _ in range(count)]).view(frames.shape)
