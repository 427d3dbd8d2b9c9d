"""The sky has no disparity: what photometric losses cannot tell, since it looks the same from everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import NonNegativeFloat

from fathomseg.losses.class_groups import SKY, indices, members
from fathomseg.losses.far import far_away
from fathomseg.losses.guidance.base import Guidance, Seen
from fathomseg.types import ClassList, SumCount


class SkyIsFar(Guidance):
    """The disparity of sky pixels is pushed to a tenth of the image's mean disparity."""

    name: Literal["sky"] = "sky"
    weight: NonNegativeFloat = 0.1
    classes: tuple[str, ...] | None = None
    """The names of the classes that are sky; null = sky."""

    def indices(self, classes: ClassList) -> Mapping[str, tuple[int, ...]]:
        """Those of the sky."""
        return {"sky": indices(self.classes, SKY, classes, "losses.sky.classes")}

    def __call__(self, seen: Seen, roles: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[SumCount, float]]:
        """The mean over sky pixels, as ("", 1)."""
        sky = members(seen.label, roles["sky"])
        return {"": (far_away(seen.disparity, sky, seen.confidence), 1.0)}
