"""The settings of a network: an encoder, the tasks it predicts with a branch each, and the links between them.

It lies here and not in models/, because a task's settings belong to its task, and a network knows none.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Self

from pydantic import BeforeValidator, model_validator
from torch import nn

from fathomseg.config import Part, named_by_key
from fathomseg.models.blocks import Norm
from fathomseg.models.decoders.base import DecoderModule
from fathomseg.models.encoders import AnyEncoder, Encoder, FeatureEncoder
from fathomseg.models.links import AnyLinks, NoLinks
from fathomseg.models.links.base import Branches
from fathomseg.models.network import SHARED, Network, early
from fathomseg.tasks import AnyTask, Segmentation
from fathomseg.tasks.base import Task


class NetworkConfig(Part):
    """One network with named tasks. As published by Hoyer et al. (2021): resnet101 at output stride 16, tasks
    segmentation and depth with decoder depth_unet (channels 64, 128, 128, 256, 256; aspp 6, 12, 18), links padnet."""

    encoder: AnyEncoder = Encoder()
    """What turns the image into a pyramid of feature maps, shared by all tasks without their own: a timm model, or
    ddpm (the encoder of a diffusion U-Net, from random weights)."""
    tasks: Annotated[Mapping[str, AnyTask], BeforeValidator(named_by_key)] = {"segmentation": Segmentation()}
    """What is predicted, each by a decoder and a head: any of segmentation, depth, normals, source_depth (for
    training alone). Tasks with `decoder: shared` bring a head alone. {} where nothing but a scene model is trained
    (`contrastive`)."""
    links: AnyLinks = NoLinks()
    """What branches tell each other: none; padnet (gated messages between decoders at a quarter of the image's size);
    or, from each encoder to the others' decoders, zero_conv, plain, cross_stitch, nddr."""
    norm: Norm = "batch"
    """batch: BatchNorm with batch statistics. frozen: BatchNorm whose statistics never move (tiny batches). group:
    GroupNorm in decoders and fixed BatchNorm statistics in encoders. Scales and offsets train in all three."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if wrong := [key for key, task in self.tasks.items() if key != task.name]:
            raise ValueError(f"a task goes by its own name, so {wrong[0]!r} must be {self.tasks[wrong[0]].name!r}")
        if wrong := [task for task in self.links.early_tasks if task not in task_names()]:
            raise ValueError(f"links.early has {wrong[0]!r}, which is no task; there is: {', '.join(task_names())}")
        branches = [task for task in self.tasks.values() if task.decoder != "shared"]
        if self.tasks and not branches:
            raise ValueError("all tasks have decoder=shared: give the first of them the decoder to be shared")
        if wrong := [
            task.name for task in self.tasks.values() if task.decoder == "shared" and task.encoder != "shared"
        ]:
            raise ValueError(
                f"tasks.{wrong[0]} shares the decoder of another task, and with it that task's encoder: give "
                "encoder=shared, or a decoder of its own"
            )
        if len(branches) < 2 and not isinstance(self.links, NoLinks):
            raise ValueError(
                f"links.name={self.links.name} joins decoders, and there is {'one' if branches else 'none'}: give "
                "another task a decoder of its own, or none"
            )
        for task in (task for task in self.tasks.values() if task.frozen):
            if "shared" in (task.encoder, task.decoder):
                raise ValueError(
                    f"tasks.{task.name}.frozen=true keeps a branch as it is, and others train what it shares: give "
                    f"tasks.{task.name}.encoder=own and a decoder of its own"
                )
            away = f"{task.name}_to_"
            if not (isinstance(self.links, NoLinks) or str(getattr(self.links, "direction", "")).startswith(away)):
                raise ValueError(
                    f"tasks.{task.name}.frozen=true keeps a branch as it is, and links.name={self.links.name} would "
                    f"change it: give links.name=zero_conv and links.direction={away}TASK"
                )
        own = {task.name: SHARED if task.encoder == "shared" else task.name for task in self.branches.values()}
        if (reason := self.links.misfit(own)) is not None:
            raise ValueError(reason)
        return self

    @property
    def ordered(self) -> dict[str, Task]:
        """The tasks in the order of their branches, whatever the order in the recipe."""
        return {name: self.tasks[name] for name in task_names() if name in self.tasks}

    @property
    def predicted(self) -> dict[str, Task]:
        """The tasks that people get to see, in their order: those that are not auxiliary."""
        return {name: task for name, task in self.ordered.items() if not task.auxiliary}

    @property
    def branches(self) -> dict[str, Task]:
        """The tasks that bring a decoder, in their order."""
        return {name: task for name, task in self.ordered.items() if task.decoder != "shared"}

    def branch_of(self, task: str) -> str | None:
        """The task whose decoder a task reads: itself or the first that has one; None for a task there is not."""
        if task not in self.tasks:
            return None
        return task if task in self.branches else next(iter(self.branches))

    @property
    def has_shared_encoder(self) -> bool:
        """Whether any decoder reads the encoder of the network and not one of its own."""
        return any(task.encoder == "shared" for task in self.branches.values())

    @property
    def outputs(self) -> frozenset[str]:
        """The task outputs the network will have, early ones included."""
        return frozenset({*self.tasks, *(early(task) for task in self.links.early_tasks if task in self.tasks)})

    def build(self, classes: int = 0, pretrained: bool = True) -> Network:
        """The network; `classes` is what segmentation tells apart, `pretrained=False` skips the encoders' weights (a
        saved file brings them).

        Raises `FathomError` if an encoder or its weights cannot be had, or it lacks a stride a decoder needs.
        """
        encoders: dict[str, FeatureEncoder] = {}
        decoders: dict[str, DecoderModule] = {}
        if self.has_shared_encoder:
            encoders[SHARED] = self.encoder.build(pretrained)
        for name, task in self.branches.items():
            if task.encoder != "shared":
                encoders[name] = (self.encoder if task.encoder == "own" else task.encoder).build(pretrained)
        for name, task in self.branches.items():
            assert task.decoder != "shared", "a branch brings its decoder"
            pyramid = encoders[name if name in encoders else SHARED].pyramid
            place = f"network.tasks.{name}.decoder"
            decoders[name] = task.decoder.build(replace(pyramid, read_by=place), self.norm)
        read = {name: name if name in decoders else next(iter(decoders)) for name in self.ordered}
        heads = {name: task.build_head(decoders[read[name]], classes) for name, task in self.ordered.items()}
        pyramids = {name: encoders[name if name in encoders else SHARED].pyramid for name in decoders}
        branches = Branches(decoders, pyramids, self.norm)
        early_heads: dict[str, nn.Module] = {}
        for name, task in self.ordered.items():
            if name in self.links.early_tasks:
                early_heads[name] = task.build_early_head(branches.widths(self.links.early_level)[read[name]], classes)
        level = self.links.early_level if early_heads else 0
        links, frozen = self.links.build(branches), [name for name, task in self.tasks.items() if task.frozen]
        return Network(encoders, decoders, heads, links, early_heads, level, self.norm, read, frozen)


def task_names() -> tuple[str, ...]:
    """The names of all tasks, in the order of the table `AnyTask`."""
    union = typing.get_args(AnyTask)[0]
    return tuple(kind.model_fields["name"].default for kind in typing.get_args(union))
