"""A depth student that learns another network's disparity from single images: what it cannot learn is difficult."""

from __future__ import annotations

from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part
from fathomseg.data.colour import ColourJitter
from fathomseg.data.transforms import Geometry
from fathomseg.learners.base import Batches, Learner, to_unit
from fathomseg.losses.disparity import berhu
from fathomseg.losses.segmentation import upsample
from fathomseg.models.depth_network import DepthNetwork
from fathomseg.types import StepResult, Term


class Imitation(Part):
    """BerHu between the student's finest disparity and the teacher's, at the teacher's resolution."""

    name: Literal["imitation"] = "imitation"
    geometry: Geometry = Geometry(scale=(1.0, 1.0))
    """Random crop and flip of image and disparity."""
    colour: ColourJitter = ColourJitter(probability=0)
    """Random colours of the images; probability 0 = none."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Errors above this share of the largest one of the batch are squared."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the averaged weights, which are the ones that judge images; low, since students train briefly."""

    def build(self, network: DepthNetwork) -> ImitationLearner:
        """The training step around `network`."""
        return ImitationLearner(self, network)


class ImitationLearner(Learner[DepthNetwork]):
    """One step on the stream `images`, whose samples carry the teacher's disparity 0..1, NaN = does not count."""

    def __init__(self, config: Imitation, network: DepthNetwork) -> None:
        super().__init__(network, config.ema_decay)
        self.config = config

    def forward(self, batches: Batches) -> StepResult:
        """Predict disparity and compare it."""
        batch = batches["images"]
        assert batch.disparity is not None, "the images must carry disparity"
        image = self.config.colour(to_unit(batch), batch.keys)
        finest = self.network(image)["disparity"][0]
        student = upsample(finest, (batch.disparity.shape[2], batch.disparity.shape[3]))
        return StepResult({"imitation": Term(*berhu(student, batch.disparity, self.config.threshold))})

    def counts(self, batches: Batches) -> dict[str, Float[Tensor, ""]]:
        """The number of pixels of known disparity."""
        disparity = batches["images"].disparity
        return {} if disparity is None else {"imitation": (~disparity.isnan()).sum().float()}
