"""A recipe: everything one training run depends on, in one frozen part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from fathomseg.config import Part, named_by_key, without_null
from fathomseg.data.datasets import AnyDataset
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.patterns import is_pattern
from fathomseg.data.transforms import PositiveSize
from fathomseg.engine.balancing import AnyBalancing, Fixed
from fathomseg.engine.loop import Loop
from fathomseg.engine.optimiser import Optimiser
from fathomseg.inference.settings import Inference
from fathomseg.objectives import AnyObjective, Supervised
from fathomseg.objectives.base import groups_of
from fathomseg.objectives.check import misfits
from fathomseg.tasks.network import NetworkConfig
from fathomseg.training.init_from import InitFrom
from fathomseg.training.metric_scale import MetricScale
from fathomseg.training.stream_config import StreamConfig, endless_misfits, geometry_streams, pair_misfits, zoom_misfits
from fathomseg.types import Size


class Evaluation(Part):
    """When and on what a run is scored; these images choose nothing, and no training sees them."""

    split: str | None = "val"
    """The split to score on, every task that it has truth for, at the native size. A dataset without it is not scored.
    null: nothing is scored, and nothing held out but what the dataset itself holds out (`data.val`)."""
    every: Annotated[int, Field(ge=0)] = 0
    """Steps between evaluations of the averaged weights; 0 = only after the last step."""
    limit: Annotated[int, Field(gt=0)] | None = None
    """Images scored while training, evenly spread over the split; null = all. After the last step it is always all."""
    inference: Inference = Inference()
    """Whole image or sliding window, and at what size."""
    report: bool = True
    """Write the HTML pages of the training and of its scores after the last step."""

    @model_validator(mode="after")
    def _names_a_split(self) -> Evaluation:
        if self.split is not None and is_pattern(self.split):
            raise ValueError(f"split is the pattern {self.split!r}: hold it out by data.val=[{self.split}], split=val")
        return self


class Recipe(Part):
    """One training run."""

    data: AnyDataset
    """Where the images come from; `several` for more than one dataset, with cameras of their own."""
    size: PositiveSize
    """Working (height, width): images are prepared at this size once, and the network sees this scale."""
    network: NetworkConfig = NetworkConfig()
    """Encoder, tasks and links."""
    streams: Annotated[Mapping[str, StreamConfig], BeforeValidator(without_null)] = {"labelled": StreamConfig()}
    """What a step reads, by name; null takes a stream out that the recipe has."""
    objectives: Annotated[Mapping[str, AnyObjective], BeforeValidator(named_by_key)] = {"supervised": Supervised()}
    """What a step learns, by name."""
    init_from: InitFrom | None = None
    """An earlier run, for example of `fathom pretrain`, or one for each task, whose weights this one begins with."""
    balancing: AnyBalancing = Fixed()
    """How the losses of several tasks are weighted against each other: `fixed` (by their weights in this recipe),
    `uncertainty`, `dwa`, `gradnorm`, `pcgrad`, `mgda`."""
    optimiser: Optimiser = Optimiser()
    """Optimiser and learning rate."""
    train: Loop = Loop()
    """Length, batch, precision, checkpoints."""
    evaluation: Evaluation = Evaluation()
    """Scoring."""
    metric_scale: MetricScale = MetricScale()
    """Where depth that is learned from video gets its metres from."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Every random choice of the run is a function of this number, the step and the sample."""
    phases: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """Several trainings one after the other, each from the end of the one before: a name for each, and the settings it
    changes, written as on the command line ("train.steps=1000"). Empty = one training. A phase takes over everything
    unless it says otherwise ("init_from.parts=[pose]"); `init_from.tasks` may name any earlier phase as a run."""

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if self.phases:
            return self  # each phase is checked as the recipe it becomes
        given = {name: stream.gives for name, stream in self.streams.items()}
        if found := list(misfits(self.network, given, self.objectives)):
            raise ValueError("; ".join(found))
        for name in filter(self.is_endless, self.streams):
            own = self.objectives_of(name)
            if found := list(endless_misfits(name, self.streams, self.needs(name), self.uses(name), own)):
                raise ValueError("; ".join(found))
        if found := list(pair_misfits(self.streams, self.objectives, self.train.batch, self.size)):
            raise ValueError("; ".join(found))
        if found := list(zoom_misfits(self.streams, self.objectives)):
            raise ValueError("; ".join(found))
        for name in (name for name, task in self.network.tasks.items() if task.frozen):
            if self.init_from is None or not self.init_from.fills(name):
                raise ValueError(
                    f"network.tasks.{name}.frozen=true keeps what an earlier run has learned: give "
                    f"init_from.tasks.{name}.run"
                )
        if not self.at_work.objectives:
            raise ValueError("nothing is learned: every objective has weight 0")
        if (reason := self.balancing.misfit(groups_of(self.at_work.objectives, self.network))) is not None:
            raise ValueError(reason)
        if self.balancing.splits_backward and self.train.compile:
            raise ValueError(
                f"balancing {self.balancing.name!r} differentiates the losses one by one, which a compiled network "
                "cannot do: give train.compile=false, or balancing.name=uncertainty or dwa"
            )
        if (start := getattr(self.network.links, "start_step", 0)) >= self.train.steps:
            raise ValueError(
                f"network.links.start_step={start} is never reached in train.steps={self.train.steps}: give fewer, or "
                "network.links.name=none"
            )
        return self

    @property
    def at_work(self) -> Recipe:
        """The same without the objectives of weight 0 and the streams that only they read: what is trained."""
        kept = {name: objective for name, objective in self.objectives.items() if objective.weight > 0}
        if len(kept) == len(self.objectives):
            return self
        read = {stream for objective in kept.values() for stream in (*objective.streams, *objective.partners)}
        read |= geometry_streams({name: stream for name, stream in self.streams.items() if name in read})
        streams = {name: stream for name, stream in self.streams.items() if name in read}
        return self.model_copy(update={"objectives": kept, "streams": streams})

    @property
    def own_batch(self) -> dict[str, int]:
        """The size of the batches of each stream to which train.batch does not apply."""
        return {name: stream.batch for name, stream in self.streams.items() if stream.batch}

    def dataset(self, stream: str) -> Dataset:
        """Where the images of a stream come from."""
        return self.streams[stream].data or self.data

    def is_endless(self, stream: str) -> bool:
        """Whether a stream reads a dataset without an end."""
        return self.dataset(stream).fresh(self.streams[stream].split or "train", 0, 0) is not None

    def working_size(self, stream: str) -> Size:
        """(height, width) at which a stream's images are seen."""
        return self.streams[stream].size or self.size

    def objectives_of(self, stream: str) -> dict[str, AnyObjective]:
        """The objectives that learn from a stream."""
        return {name: objective for name, objective in self.objectives.items() if stream in objective.streams}

    def needs(self, stream: str) -> frozenset[str]:
        """The targets that some objective of the stream cannot do without."""
        own = (o.needs(self.network) for o in self.objectives_of(stream).values())
        return frozenset().union(*own, *(o.partner_needs(self.network) for o in self._paired_with(stream)))

    def uses(self, stream: str) -> frozenset[str]:
        """All targets that the objectives of the stream can make use of."""
        own = (o.uses(self.network) for o in self.objectives_of(stream).values())
        paired = (o.partner_uses(self.network) for o in self._paired_with(stream))
        by_depth = {"disparity"} if stream in geometry_streams(self.streams) else set()
        return self.needs(stream).union(by_depth, *own, *paired)

    def _paired_with(self, stream: str) -> list[AnyObjective]:
        """The objectives whose partner a stream is."""
        return [objective for objective in self.objectives.values() if stream in objective.partners]
