"""What every link offers: a part that builds a module which carries features from branch to branch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, cast

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.errors import FathomError
from fathomseg.models.blocks import Map, Norm
from fathomseg.models.decoders.base import DecoderModule
from fathomseg.models.encoders import Pyramid

_QUARTER: Final = 2
"""The level at a quarter of the image's size, where most decoders have a map."""


@dataclass(frozen=True, slots=True)
class Branches:
    """What links can join: the branches of a network, by name."""

    decoders: Mapping[str, DecoderModule]
    pyramids: Mapping[str, Pyramid]
    """What the encoder of each branch delivers to its decoder."""
    norm: Norm = "batch"

    def widths(self, level: int) -> dict[str, int]:
        """The channels of every decoder's map at a level. Raises `FathomError` if one has no such map."""
        found = {task: decoder.width_at(level) for task, decoder in self.decoders.items()}
        if lacking := [task for task, width in found.items() if width is None]:
            raise FathomError(
                f"The links join decoders at 1/{2**level} of the image's size, but there is no map there of "
                f"{' and '.join(f'{task!r} (1/{self.decoders[task].stride})' for task in lacking)}. Give "
                f"{' and '.join(self._there(task, level) for task in lacking)}."
            )
        return {task: width for task, width in found.items() if width is not None}

    def _there(self, task: str, level: int) -> str:
        """The setting by which the decoder of a task gets a map at a level, or the links go where it has one."""
        decoder = f"network.tasks.{task}.decoder"
        if not self.pyramids[task].plain:
            unet = f"{decoder}={{name: depth_unet, stride: {min(2**level, 2**_QUARTER)}}}"
            return f"{decoder}.name=fpn" if level == _QUARTER else unet
        if level <= _QUARTER:
            return f"{decoder}.stride={2**level}"
        return f"{decoder}.stride={2**_QUARTER} with network.links.level={_QUARTER}"


class LinkModule(nn.Module):
    """Changes the maps of branches: those their decoders read from encoders (`pyramids`), or those at some `levels` of
    their decoders (`forward`; level i is at 1/2^i of the image's size). A link overrides the half it is about."""

    levels: tuple[int, ...] = ()
    """Where decoders meet, coarse to fine."""
    decays: ClassVar[bool] = True
    """Whether weight decay applies to its matrices."""
    on: bool = True
    """Whether it takes part at all; where not, every branch is as it would be alone."""

    def senders(self, receivers: Collection[str]) -> frozenset[str]:
        """The branches whose decoders' maps are needed to change those of `receivers`."""
        return frozenset()

    def forward(self, level: int, maps: Mapping[str, Map], receivers: Collection[str]) -> dict[str, Map]:
        """The changed maps of `receivers` at a level, from the maps of all branches that run there."""
        return {receiver: maps[receiver] for receiver in receivers}

    def __call__(self, level: int, maps: Mapping[str, Map], receivers: Collection[str]) -> dict[str, Map]:
        """`forward` with the types it has (PyTorch's own `__call__` has none)."""
        return cast(dict[str, Map], super().__call__(level, maps, receivers))

    def encoder_senders(self, receivers: Collection[str]) -> frozenset[str]:
        """The branches whose encoders' maps are needed to change what the decoders of `receivers` read."""
        return frozenset()

    def pyramids(self, maps: Mapping[str, Sequence[Map]], receivers: Collection[str]) -> Mapping[str, Sequence[Map]]:
        """The pyramids that the decoders of `receivers` read, from those of all branches whose encoders run."""
        return {receiver: maps[receiver] for receiver in receivers}

    def begin_step(self, step: int, measuring: bool = False) -> None:
        """Called before optimiser step `step` (0 = first); `measuring`: whether `measured` will be asked for."""

    def measured(self) -> dict[str, Float[Tensor, ""]]:
        """What is to be logged of the last pass of a step that was measured, on the device."""
        return {}


class LinkPart(Part, ABC):
    """Base of all links' settings."""

    name: str

    @property
    def early_tasks(self) -> tuple[str, ...]:
        """The tasks that are also predicted from their map at `early_level`, before the link changes it."""
        return ()

    @property
    def early_level(self) -> int:
        """The decoder level of these early predictions."""
        raise NotImplementedError

    def misfit(self, encoders: Mapping[str, str]) -> str | None:
        """Why it cannot join these branches, given the name of the encoder of each, and what to set; None if it can."""
        return None

    @abstractmethod
    def build(self, branches: Branches) -> LinkModule | None:
        """The module between the branches, freshly initialised; None for no link.

        Raises `FathomError` if a branch has no map where they are to meet.
        """


class DecoderLinkPart(LinkPart):
    """Base of the settings of links between decoders at one level."""

    level: int = Field(default=2, ge=0, le=4)
    """Where: level i is at 1/2^i of the image's size."""
    early: tuple[str, ...] = ()
    """Tasks that are also predicted from their map at `level` before the link changes it, for a loss that keeps these
    maps their task's own (deep supervision)."""

    @property
    def early_tasks(self) -> tuple[str, ...]:
        """As set."""
        return self.early

    @property
    def early_level(self) -> int:
        """Where the decoders meet."""
        return self.level


class NoLinks(LinkPart):
    """Branches do not exchange features."""

    name: Literal["none"] = "none"

    def build(self, branches: Branches) -> None:
        """Nothing."""
