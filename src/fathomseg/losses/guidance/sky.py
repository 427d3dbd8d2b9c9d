"""The sky has no disparity: what photometric losses cannot tell, since it looks the same from everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch.nn.functional as F
from jaxtyping import Bool
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from fathomseg.losses.class_groups import SKY, indices, members
from fathomseg.losses.far import far_away
from fathomseg.losses.guidance.base import Guidance, Seen
from fathomseg.types import ClassList, SumCount


class SkyIsFar(Guidance):
    """The disparity of sky pixels is pushed to a tenth of the image's mean disparity."""

    name: Literal["sky"] = "sky"
    weight: NonNegativeFloat = 0.01
    """Ten times as much is as large as the photometric loss itself, and depth of all else is learned worse."""
    classes: tuple[str, ...] | None = None
    """The names of the classes that are sky; null = sky."""
    margin: Annotated[int, Field(ge=0)] = 4
    """Pixels of sky beside anything else that are left alone: a network of small images cannot jump within them, and
    what is half as near as a roof is twice as far."""

    def indices(self, classes: ClassList) -> Mapping[str, tuple[int, ...]]:
        """Those of the sky."""
        return {"sky": indices(self.classes, SKY, classes, "losses.sky.classes")}

    def __call__(self, seen: Seen, roles: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[SumCount, float]]:
        """The mean over sky pixels, as ("", 1)."""
        sky = inner(members(seen.label, roles["sky"]), self.margin)
        return {"": (far_away(seen.disparity, sky, seen.confidence), 1.0)}


def inner(where: Bool[Tensor, "b h w"], margin: int) -> Bool[Tensor, "b h w"]:
    """Those of the pixels with nothing else within `margin` rows and columns; beyond the image is nothing."""
    other = (~where).float()[:, None]
    return where & (F.max_pool2d(other, 2 * margin + 1, 1, margin)[:, 0] == 0)
