"""Which frames of a clip are learned from together: a part of the recipe of every training on video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import Field, Tag

from fathomseg.config import Part, by_name
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.motion import MotionFilter, Picture, Triplet


class FixedStep(Part):
    """The frames a fixed number of steps before and after, whether the camera moved or not: the papers' choice."""

    name: Literal["fixed"] = "fixed"
    step: int = Field(default=1, ge=1)
    """How many frames apart."""

    def triplets(
        self,
        dataset: Dataset,
        ids: Sequence[str],
        tick: Callable[[], None] = lambda: None,
        read: Picture | None = None,
    ) -> list[Triplet]:
        """The frames among `ids` whose two neighbours are among them too; no image is read."""
        there = set(ids)
        found = []
        for id in ids:
            before, after = dataset.neighbour(id, -self.step), dataset.neighbour(id, self.step)
            if before in there and after in there and before is not None and after is not None:
                found.append(Triplet(id, before, after))
            tick()
        return found


AnyFrames = Annotated[
    Annotated[MotionFilter, Tag("motion")] | Annotated[FixedStep, Tag("fixed")],
    by_name("motion"),
]
"""Every way to choose frames; `motion` if nothing is said, so that one of its settings can be given by itself."""
