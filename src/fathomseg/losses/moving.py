"""Which pixels move in the world, so that the photometric loss, which assumes they do not, leaves them out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part
from fathomseg.geometry.flow import optical_flow
from fathomseg.geometry.numerics import full_precision, size_of
from fathomseg.geometry.warp import inside, locate, projection
from fathomseg.losses.class_groups import MOVING, indices, known_classes, members
from fathomseg.types import ClassList


@dataclass(frozen=True)
class Views:
    """Frames with the depth and the camera motion that are predicted of them; nothing here has a gradient."""

    image: Float[Tensor, "b 3 h w"]
    sources: Float[Tensor, "b s 3 h w"]
    inverse_depth: Float[Tensor, "b 1 h w"]
    K: Float[Tensor, "b 3 3"]
    src_T_tgt: Float[Tensor, "b s 4 4"]
    targets: Mapping[str, Tensor]
    """Those of the batch: labels, a teacher's."""


class Moving(Part, ABC):
    """How moving pixels are found."""

    name: str
    by_motion: ClassVar[bool] = False
    """Whether it goes by the camera's motion."""

    def uses(self) -> frozenset[str]:
        """The targets it makes use of."""
        return frozenset()

    def indices(self, classes: ClassList | None) -> tuple[int, ...]:
        """The classes that move, if it goes by classes."""
        return ()

    @abstractmethod
    def weight(self, views: Views, classes: tuple[int, ...]) -> Float[Tensor, "b 1 h w"] | None:
        """How much each pixel counts, 0..1; None = all count."""


class Anything(Moving):
    """All pixels count; the automask and the minimum over frames must do."""

    name: Literal["none"] = "none"

    def weight(self, views: Views, classes: tuple[int, ...]) -> None:
        """None."""


class MovingClasses(Moving):
    """Pixels of classes that move (people, vehicles) count less, those that stand still too."""

    name: Literal["classes"] = "classes"
    classes: tuple[str, ...] | None = None
    """Their names; null = person, rider, car, truck, bus ..."""
    keep: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How much they count."""
    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Pixels whose class the teacher predicts with less confidence are not masked; 0 = its prediction always counts."""

    def uses(self) -> frozenset[str]:
        """Labels, and a teacher's, with its confidence if that counts."""
        sure = {"distilled_label_confidence"} if self.min_confidence > 0 else set()
        return frozenset({"label", "distilled_label", *sure})

    def indices(self, classes: ClassList | None) -> tuple[int, ...]:
        """Raises `FathomError` if there are none."""
        assert classes is not None, "what uses labels has classes"
        return indices(self.classes, MOVING, classes, "objectives.photometric.moving.classes")

    def weight(self, views: Views, classes: tuple[int, ...]) -> Float[Tensor, "b 1 h w"] | None:
        """`keep` on these classes where they are sure enough, 1 elsewhere."""
        found = known_classes(views.targets, self.min_confidence)
        return None if found is None else torch.where(members(found[0], classes), self.keep, 1.0)[:, None]


class ResidualFlow(Moving):
    """Pixels whose optical flow is not that of a rigid scene at the predicted depth and motion of the camera.

    The flow must differ in all frames that show the pixel (occlusions differ in one), by more than `pixels` and by more
    than `times` the median difference of the image: while depth is still poor, it all differs. What drives ahead along
    the camera's own path has the flow of a rigid thing farther away, so that no flow tells it.
    """

    name: Literal["residual_flow"] = "residual_flow"
    by_motion: ClassVar[bool] = True
    pixels: Annotated[float, Field(ge=0)] = 1.0
    """The least difference, in pixels of the working size."""
    times: Annotated[float, Field(ge=0)] = 4.0
    """The least difference, in medians."""
    confidence: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Optical flow that is less sure tells nothing."""
    keep: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How much moving pixels count."""
    classes: tuple[str, ...] | None = None
    """Only pixels of these classes may move, by labels or a teacher's, so that parked cars and all shadows stay in.
    null = of any class, or of none."""

    def uses(self) -> frozenset[str]:
        """Labels and a teacher's, if it goes by classes too."""
        return frozenset() if self.classes is None else frozenset({"label", "distilled_label"})

    def indices(self, classes: ClassList | None) -> tuple[int, ...]:
        """Raises `FathomError` for a class that is not there."""
        if self.classes is None:
            return ()
        assert classes is not None, "what uses labels has classes"
        return indices(self.classes, MOVING, classes, "objectives.photometric.moving.classes")

    def weight(self, views: Views, classes: tuple[int, ...]) -> Float[Tensor, "b 1 h w"]:
        """`keep` where pixels move, 1 elsewhere."""
        moving = self.moving(views)
        if self.classes is not None:
            found = known_classes(views.targets, 0.0)
            moving = torch.zeros_like(moving) if found is None else moving & members(found[0], classes)
        return torch.where(moving, self.keep, 1.0)[:, None]

    def moving(self, views: Views) -> Bool[Tensor, "b h w"]:
        """Where they do."""
        residual, known = residual_flow(views, self.confidence)
        least = torch.where(known, residual, torch.inf).amin(1)
        median = torch.where(known, residual, torch.nan).flatten(1).nanmedian(dim=1).values.nan_to_num()
        threshold = (self.times * median).clamp(min=self.pixels)
        return known.any(1) & (least > threshold[:, None, None])


AnyMoving = Annotated[Anything | MovingClasses | ResidualFlow, Field(discriminator="name")]
"""Every way to find moving pixels. A new one is listed here and nowhere else."""


@torch.no_grad()
@full_precision
def residual_flow(views: Views, confidence: float) -> tuple[Float[Tensor, "b s h w"], Bool[Tensor, "b s h w"]]:
    """|optical flow - rigid flow| into each source in pixels, and where both are known."""
    height, width = size_of(views.image)
    frames = views.sources.shape[1]
    grey = [x.mean(-3, keepdim=True) for x in (views.image[:, None].expand_as(views.sources), views.sources)]
    seen, sure = optical_flow(grey[0].flatten(0, 1), grey[1].flatten(0, 1))
    matrices = projection(views.K, views.src_T_tgt, views.K[:, None], (height, width))
    grid, shown = locate(matrices, views.inverse_depth)
    x, y = ((grid[:, :, i] + 1) / 2 * max(n - 1, 1) for i, n in ((0, width), (1, height)))
    rows, columns = torch.meshgrid(
        *(torch.arange(n, device=grid.device, dtype=grid.dtype) for n in (height, width)), indexing="ij"
    )
    rigid = torch.stack([x - columns, y - rows], dim=2)
    known = shown & inside(grid) & (sure.unflatten(0, (-1, frames))[:, :, 0] >= confidence)
    return torch.linalg.vector_norm(seen.unflatten(0, (-1, frames)) - rigid, dim=2), known
