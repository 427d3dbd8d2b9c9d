"""A recipe: everything one training run depends on, in one frozen part."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Tag, model_validator

from fathomseg.config import Part, by_name
from fathomseg.data.datasets import AnyDataset
from fathomseg.data.frames import AnyFrames, FixedStep
from fathomseg.data.intrinsics import AnyIntrinsics, Known
from fathomseg.data.labelled import Labels
from fathomseg.data.transforms import PositiveSize
from fathomseg.depth_sources import AnyDepthSource
from fathomseg.engine.loop import Loop, Positive
from fathomseg.engine.optimiser import Optimiser
from fathomseg.inference.predictor import Inference
from fathomseg.learners import AnyLearner, SemiSupervised, Supervised
from fathomseg.models.joint import JointNetworkConfig
from fathomseg.models.network import NetworkConfig
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


class Unlabelled(Part):
    """Images without labels, for a learner that uses them. Their label files are never opened."""

    data: AnyDataset | None = None
    """Where they come from; null = the dataset of the recipe."""
    split: str = "train"
    """The split they come from. Images of evaluation.split are never among them."""
    labelled_too: bool = True
    """Whether the labelled images of the recipe are among them."""
    batch: Positive | None = None
    """How many of them are in one optimiser step; null = train.batch."""


class Clips(Part):
    """Video, for a joint network that learns depth along."""

    data: AnyDataset | None = None
    """Where it comes from; null = the dataset of the recipe."""
    split: str | None = None
    """The split; null = `clips` if there is one, else `train`. Images of evaluation.split are never among them."""
    size: PositiveSize | None = None
    """Working (height, width) of the frames; null = that of the recipe. Video of another shape should keep its own."""
    frames: AnyFrames = FixedStep()
    """Which frames are learned from together."""
    camera: AnyIntrinsics = Known()
    """Where intrinsics come from."""
    batch: Positive | None = None
    """How many frames, each with its neighbours, are in one optimiser step; null = train.batch."""


AnySegmenter = Annotated[
    Annotated[NetworkConfig, Tag("segmentation")] | Annotated[JointNetworkConfig, Tag("joint")],
    by_name("segmentation"),
]


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
    unlabelled: Unlabelled | None = None
    """Images without labels; learner.name=semi needs them."""
    clips: Clips | None = None
    """Video to learn depth from along with the classes; learner.video needs it."""
    depth: AnyDepthSource | None = None
    """Where DepthMix has depth from; null = the network's own, if it is a joint one."""
    network: AnySegmenter = NetworkConfig()
    """Encoder, decoder and normalisation. `joint` gives depth as well."""
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

    @property
    def foreign_clips(self) -> bool:
        """Whether the clips are of another dataset than the images."""
        return self.clips is not None and self.clips.data is not None and self.clips.data.name != self.data.name

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        learner, joint = self.learner, isinstance(self.network, JointNetworkConfig)
        if not isinstance(learner, SemiSupervised):
            for name in ("unlabelled", "clips", "depth"):
                if getattr(self, name) is not None:
                    raise ValueError(f"`{name}` is for learner.name=semi; learner {learner.name!r} does not use it")
            if joint:
                raise ValueError("network.name=joint needs learner.name=semi, which trains both of its tasks")
            return self
        if self.unlabelled is None:
            raise ValueError("learner.name=semi needs images without labels: give `unlabelled: {}` for the same data")
        if (learner.video is None) != (self.clips is None):
            raise ValueError("`clips` and learner.video belong together: give both, or neither")
        if learner.video is not None and not joint:
            raise ValueError("learner.video teaches depth to a joint network: give network.name=joint")
        if joint and learner.video is None:
            raise ValueError("network.name=joint learns depth as well: give `learner: {video: {}}` and `clips: {}`")
        if isinstance(self.network, JointNetworkConfig) and self.network.intermediate and not learner.intermediate:
            raise ValueError("learner.intermediate=0 would leave the side output untrained: network.intermediate=false")
        consistency = learner.unlabelled
        if consistency.mixing.needs_disparity and self.depth is None and not joint:
            raise ValueError("this mixing compares depths: give `depth: {name: run, run: ...}`, or network.name=joint")
        if consistency.complementary_dropout and joint:
            raise ValueError("complementary_dropout is for network.name=segmentation")
        return self

    @property
    def own_batch(self) -> dict[str, int]:
        """The size of the batches of each stream to which train.batch does not apply."""
        streams = {"unlabelled": self.unlabelled, "clips": self.clips}
        return {name: stream.batch for name, stream in streams.items() if stream is not None and stream.batch}
