"""Supervised learning from the labelled images alone: the baseline every other method is measured against."""

from __future__ import annotations

from typing import Annotated, Literal

from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part
from fathomseg.data.colour import ColourJitter
from fathomseg.data.transforms import Geometry
from fathomseg.learners.base import Batches, Learner, to_unit
from fathomseg.losses.segmentation import balancing_weights, cross_entropy, ohem_cross_entropy, upsample
from fathomseg.models.network import Network
from fathomseg.types import IGNORE, StepResult, Term


class Ohem(Part):
    """Online hard example mining: learn from the pixels the network is still unsure of."""

    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """Pixels whose true class has a probability below this are kept."""
    min_kept: Annotated[float, Field(gt=0, le=1)] = 0.15
    """At least this share of all pixels is kept, the hardest ones first."""


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
            total, count = ohem_cross_entropy(
                logits, batch.label, self.config.ohem.threshold, self.config.ohem.min_kept
            )
        else:
            total, count = cross_entropy(logits, batch.label, self.weight, self.config.smoothing)
        return StepResult(terms={"segmentation": Term(total, count)})

    def counts(self, batches: Batches) -> dict[str, Float[Tensor, ""]]:
        """The number of labelled pixels; what mining will keep is not known before the forward pass."""
        label = batches["labelled"].label
        if self.config.ohem is not None or label is None:
            return {}
        return {"segmentation": (label != IGNORE).sum().float()}
