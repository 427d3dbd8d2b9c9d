"""Supervised learning from the labelled images alone: the baseline every other method is measured against."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Tensor

from fathomseg.config import Part
from fathomseg.data.colour import ColourJitter
from fathomseg.data.transforms import Geometry
from fathomseg.learners.base import Batches, Learner, to_unit
from fathomseg.losses.segmentation import Ohem, balancing_weights, cross_entropy, upsample
from fathomseg.models.network import Network
from fathomseg.types import IGNORE, StepResult, Term


class Supervised(Part):
    """Cross-entropy on the labelled images, at the label's resolution."""

    name: Literal["supervised"] = "supervised"
    geometry: Geometry = Geometry()
    """Random scale, crop and flip."""
    colour: ColourJitter = ColourJitter()
    """Random brightness, contrast, saturation and hue; probability 0 = none."""
    ohem: Ohem | None = None
    """Hard example mining; nothing = all pixels."""
    balance: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weigh classes by (share of labelled pixels)^-balance in the plain cross-entropy; 0 = every pixel the same."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Label smoothing of the plain cross-entropy."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the averaged weights, which are the ones evaluated and used."""

    @model_validator(mode="after")
    def _plain_or_mined(self) -> Self:
        if self.ohem is not None and (self.balance > 0 or self.smoothing > 0):
            raise ValueError(
                f"balance {self.balance:g} and smoothing {self.smoothing:g} belong to the plain cross-entropy, which "
                "ohem replaces; set them to 0, or ohem to null"
            )
        return self

    def build(self, network: Network, pixels: Int64[Tensor, " c"]) -> SupervisedLearner:
        """The training step around `network`; `pixels` counts the labelled pixels of every class."""
        return SupervisedLearner(self, network, balancing_weights(pixels, self.balance))


class SupervisedLearner(Learner[Network]):
    """One supervised step on the stream `labelled`."""

    weight: Float[Tensor, " c"]

    def __init__(self, config: Supervised, network: Network, weight: Float[Tensor, " c"]) -> None:
        super().__init__(network, config.ema_decay)
        self.config = config
        self.register_buffer("weight", weight)

    def forward(self, batches: Batches) -> StepResult:
        """Augment, predict, compare with the label at the label's own resolution."""
        batch = batches["labelled"]
        assert batch.label is not None, "the labelled stream must carry labels"
        image = self.config.colour(to_unit(batch), batch.keys)
        logits = upsample(self.network(image)["segmentation"], (batch.label.shape[1], batch.label.shape[2]))
        if self.config.ohem is not None:
            total, count = self.config.ohem(logits, batch.label)
        else:
            total, count = cross_entropy(logits, batch.label, self.weight, self.config.smoothing)
        return StepResult(terms={"segmentation": Term(total, count)})

    def counts(self, batches: Batches) -> dict[str, Float[Tensor, ""]]:
        """The number of labelled pixels; what mining will keep is not known before the forward pass."""
        label = batches["labelled"].label
        if self.config.ohem is not None or label is None:
            return {}
        return {"segmentation": (label != IGNORE).sum().float()}
