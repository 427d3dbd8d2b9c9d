"""Vehicles and people stand on the ground: they are as far as the ground right below them.

The photometric loss assumes a rigid world: what drives ahead looks farther than it is, what comes towards the camera
nearer. The ground below does not move.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int64
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from fathomseg.geometry.numerics import full_precision
from fathomseg.losses.class_groups import GROUND, MOVING, indices, members
from fathomseg.losses.disparity import over_mean
from fathomseg.losses.guidance.base import Guidance, Seen
from fathomseg.types import ClassList, SumCount


class GroundContact(Guidance):
    """|ln z - ln z of the ground below|, over the pixels of classes that move and stand on visible ground. Ours.

    In each column, a run of such pixels that ends on ground has the depth of that ground, which gets no gradient: true
    for upright faces, nearly so for the rest of a car.
    """

    name: Literal["contact"] = "contact"
    weight: NonNegativeFloat = 0.01
    """Ten times as much outweighs the photometric loss of the road, which is nearly plain, and flattens it."""
    classes: tuple[str, ...] | None = None
    """The names of the classes that stand; null = those that move (person, rider, car, truck ...)."""
    ground: tuple[str, ...] | None = None
    """The names of the classes they stand on; null = road, sidewalk, terrain ..."""
    below: Annotated[int, Field(ge=0)] = 1
    """Rows between a run's last pixel and the ground pixel it is compared with: depth at the border is blurred."""

    def indices(self, classes: ClassList) -> Mapping[str, tuple[int, ...]]:
        """Of what stands, and of the ground."""
        return {
            "standing": indices(self.classes, MOVING, classes, "losses.contact.classes"),
            "ground": indices(self.ground, GROUND, classes, "losses.contact.ground"),
        }

    def __call__(self, seen: Seen, roles: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[SumCount, float]]:
        """The mean over pixels, as ("", 1)."""
        standing, ground = (members(seen.label, roles[role]) for role in ("standing", "ground"))
        row, there = foot(standing, ground, self.below)
        return {"": (contact(seen.inverse_depth, row, there, seen.confidence), 1.0)}


@torch.no_grad()
def foot(
    standing: Bool[Tensor, "b h w"], ground: Bool[Tensor, "b h w"], below: int = 1
) -> tuple[Int64[Tensor, "b h w"], Bool[Tensor, "b h w"]]:
    """For each pixel the row of the ground below its run of `standing` pixels, and whether there is one.

    The row is `below` rows under the first that is not standing; both must be ground.
    """
    height = standing.shape[1]
    rows = torch.arange(height, device=standing.device).view(1, -1, 1)
    end = torch.where(standing, height, rows).flip(1).cummin(1).values.flip(1)
    row = (end + below).clamp(max=height - 1)
    there = standing & (end + below < height)
    return row, there & ground.gather(1, end.clamp(max=height - 1)) & ground.gather(1, row)


@full_precision
def contact(
    inverse_depth: Float[Tensor, "b 1 h w"],
    row: Int64[Tensor, "b h w"],
    there: Bool[Tensor, "b h w"],
    confidence: Float[Tensor, "b h w"],
) -> SumCount:
    """The sum over the pixels that are `there`, each times its confidence, and their number.

    Inverse depth is divided by its mean over the image, which takes its part of the gradient: pixels that follow a
    constant ground upwards took the scale along, and the ground with it, until all was nearest.
    """
    log = over_mean(inverse_depth)[:, 0].log()
    off = (log - log.detach().gather(1, row)).abs() * confidence
    return torch.where(there, off, 0.0).sum(), there.sum().to(off.dtype)
