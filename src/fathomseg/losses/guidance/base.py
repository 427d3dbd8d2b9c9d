"""What every semantic guidance of depth offers: a term from predicted depth and the classes of the same pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Bool, Float, UInt8
from pydantic import NonNegativeFloat
from torch import Tensor

from fathomseg.config import Part
from fathomseg.types import IGNORE, ClassList, SumCount


@dataclass(frozen=True)
class Seen:
    """Depth and classes of the same images."""

    disparity: Float[Tensor, "b 1 h w"]
    """0..1, 1 = nearest, at the size of the label; what the gradient goes to."""
    inverse_depth: Float[Tensor, "b 1 h w"]
    """1/z, positive, of the same."""
    label: UInt8[Tensor, "b h w"]
    """Class indices; 255 where they are not known, or not surely enough."""
    confidence: Float[Tensor, "b h w"]
    """How much each pixel's class counts, 0..1."""
    maps: Mapping[int, Float[Tensor, "b _ _ _"]] = field(default_factory=dict)
    """The depth decoder's maps by level (level i at 1/2^i of the image's size), if they are wanted."""

    @property
    def known(self) -> Bool[Tensor, "b h w"]:
        """Where a class is known."""
        return self.label != IGNORE


class Guidance(Part, ABC):
    """The settings of one term."""

    name: str
    weight: NonNegativeFloat
    """Weight beside the other terms."""

    levels: ClassVar[Sequence[int]] = ()
    """The levels of the depth decoder it looks at."""

    def indices(self, classes: ClassList) -> Mapping[str, tuple[int, ...]]:
        """By role the classes it tells apart. Raises `FathomError` if the list has none of them."""
        return {}

    @abstractmethod
    def __call__(self, seen: Seen, roles: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[SumCount, float]]:
        """Terms and the factor of each, by their own names ("" if there is one); the names are always the same.

        `roles`: what `indices` gave. (0, 0) with a zero gradient where nothing is known.
        """
