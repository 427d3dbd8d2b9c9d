"""What every link offers: a part that builds a module which carries features from branch to branch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Literal, cast

from torch import nn

from fathomseg.config import Part
from fathomseg.models.blocks import Map

Widths = Callable[[int], Mapping[str, int]]
"""The channels of every branch's map at a decoder level, by branch; raises `FathomError` where a branch has none."""


class LinkModule(nn.Module, ABC):
    """Changes the maps of branches at some levels of their decoders; level i is at 1/2^i of the image's size."""

    levels: tuple[int, ...]
    """Where the branches meet, coarse to fine."""

    @abstractmethod
    def senders(self, receivers: Collection[str]) -> frozenset[str]:
        """The branches whose maps are needed to change those of `receivers`."""

    @abstractmethod
    def forward(self, level: int, maps: Mapping[str, Map], receivers: Collection[str]) -> dict[str, Map]:
        """The changed maps of `receivers` at a level, from the maps of all branches that run there."""

    def __call__(self, level: int, maps: Mapping[str, Map], receivers: Collection[str]) -> dict[str, Map]:
        """`forward` with the types it has (PyTorch's own `__call__` has none)."""
        return cast(dict[str, Map], super().__call__(level, maps, receivers))


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

    @abstractmethod
    def build(self, widths: Widths) -> LinkModule | None:
        """The module between the branches, freshly initialised; None for no link.

        Raises `FathomError` if a branch has no map where they are to meet.
        """


class NoLinks(LinkPart):
    """Branches do not exchange features."""

    name: Literal["none"] = "none"

    def build(self, widths: Widths) -> None:
        """Nothing."""
