"""A recipe of `fathom pretrain`: everything one training of depth from video depends on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from fathomseg.config import Part
from fathomseg.data.datasets import AnyDataset
from fathomseg.data.frames import AnyFrames
from fathomseg.data.intrinsics import AnyIntrinsics, Known
from fathomseg.data.motion import MotionFilter
from fathomseg.data.transforms import PositiveSize
from fathomseg.engine.loop import Loop
from fathomseg.engine.optimiser import Optimiser
from fathomseg.learners.depth import SelfSupervisedDepth
from fathomseg.models.depth_network import DepthNetworkConfig
from fathomseg.stages.start import Start


class DepthEvaluation(Part):
    """When and on what a depth run is scored; these images choose nothing, and no training sees them."""

    split: str | None = "val"
    """The split to score on, if its images have depth or poses; no frame of it is trained on. null: nothing is held
    out and nothing scored, for data too small to spare any."""
    every: Annotated[int, Field(ge=0)] = 0
    """Steps between scores of the averaged weights; 0 = only after the last step."""
    limit: Annotated[int, Field(gt=0)] | None = 100
    """Images scored while training, evenly spread over the split; null = all. After the last step it is always all."""
    report: bool = True
    """Write the HTML report after the last step."""


class DepthRecipe(Part):
    """One training of depth from video."""

    data: AnyDataset
    """Where the video is; `several` for more than one dataset, with cameras of their own."""
    split: str | None = None
    """The split to learn from; null = `clips` if there is one, else `train`. No frame of evaluation.split is used."""
    size: PositiveSize
    """Working (height, width): frames are prepared at this size once; cameras follow."""
    frames: AnyFrames = MotionFilter()
    """Which frames are learned from together: `motion` sees to it that the camera moves, `fixed` takes a fixed step."""
    camera: AnyIntrinsics = Known()
    """Where intrinsics come from."""
    start: Start | None = None
    """An earlier depth run to go on from."""
    network: DepthNetworkConfig = DepthNetworkConfig()
    """Encoder, decoder and scales of disparity."""
    learner: SelfSupervisedDepth = SelfSupervisedDepth()
    """The training step: pose network, loss, augmentation."""
    optimiser: Optimiser = Optimiser()
    """Optimiser and learning rate."""
    train: Loop = Loop()
    """Length, batch, precision, checkpoints."""
    evaluation: DepthEvaluation = DepthEvaluation()
    """Scoring."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Every random choice of the run is a function of this number, the step and the sample."""
    phases: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """Several trainings one after the other, each from the end of the one before: a name for each, and the settings it
    changes, written as on the command line ("train.steps=1000"). Empty = one training. A phase takes over everything
    unless it says otherwise ("start.parts=[pose]")."""
