"""Small images first, large ones later."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from fathomseg.config import Part
from fathomseg.data.sizes import scaled
from fathomseg.data.transforms import View


class Progressive(Part):
    """Progressive resizing: a training begins with small images, of which a step takes a fraction of the time.

    Howard 2018 (fast.ai, DAWNBench); Tan & Le 2021 (EfficientNetV2), section 4, in more stages.
    """

    scale: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Height and width of the first images, as a share of what they are later (in whole steps, `sizes.scaled`)."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """The share of the steps that they are taken for."""

    def at(self, steps: int, batch: int) -> SmallFirst:
        """For so many steps of so many images."""
        return SmallFirst(round(self.share * steps) * batch, self.scale)


@dataclass(frozen=True, slots=True)
class SmallFirst:
    """Which of a stream's samples are small."""

    samples: int
    """How many of the first; a whole number of batches, so that those of a batch are of one size."""
    scale: float

    def __call__(self, view: View, position: int) -> View:
        """The view as it is shown at a position of the stream."""
        if position >= self.samples:
            return view
        return replace(view, size=scaled(view.size, self.scale))
