"""A recipe: everything one training run depends on, in one frozen part."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fathomseg.config import Part
from fathomseg.data import AnyDataset
from fathomseg.data.labelled import Labels
from fathomseg.data.transforms import PositiveSize
from fathomseg.engine.loop import Loop
from fathomseg.engine.optimiser import Optimiser
from fathomseg.learners import AnyLearner, Supervised
from fathomseg.models.network import NetworkConfig
from fathomseg.predictor import Inference
from fathomseg.stages.start import Start


class Evaluation(Part):
    """When and on what a run is scored while it trains; the val images choose nothing."""

    split: str = "val"
    """The split to score on, at the native size of its labels. A dataset without it is not scored."""
    every: Annotated[int, Field(ge=0)] = 0
    """Steps between evaluations of the averaged weights; 0 = only after the last step."""
    inference: Inference = Inference()
    """Whole image or sliding window, and at what size."""
    report: bool = True
    """Write the HTML report after the last step."""


class Recipe(Part):
    """One training run."""

    data: AnyDataset
    """Where the images come from."""
    size: PositiveSize
    """Working (height, width): images are prepared at this size once, and the network sees this scale."""
    labels: Labels = Labels()
    """Which images count as labelled."""
    start: Start | None = None
    """An earlier run, for example of `fathom pretrain`, whose encoder, or encoder and decoder, this one begins with."""
    network: NetworkConfig = NetworkConfig()
    """Encoder, decoder and normalisation."""
    learner: AnyLearner = Supervised()
    """The training step."""
    optimiser: Optimiser = Optimiser()
    """Optimiser and learning rate."""
    train: Loop = Loop()
    """Length, batch, precision, checkpoints."""
    evaluation: Evaluation = Evaluation()
    """Scoring."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Every random choice of the run is a function of this number, the step and the sample."""
