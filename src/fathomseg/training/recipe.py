"""A recipe: everything one training run depends on, in one frozen part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from fathomseg.config import Part, named_by_key
from fathomseg.data.class_match import ClassMapping
from fathomseg.data.colour import ColourJitter, Strength
from fathomseg.data.datasets import AnyDataset
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.files import is_pattern
from fathomseg.data.distilled import TARGETS, target_name
from fathomseg.data.geometry_sampling import MatchingGeometry
from fathomseg.data.intrinsics import AnyIntrinsics, Known
from fathomseg.data.labelled import Labels
from fathomseg.data.motion import AnyFrames, FixedStep
from fathomseg.data.progressive import Progressive
from fathomseg.data.sampling import AnySampling, Uniform
from fathomseg.data.transforms import Geometry, PositiveSize
from fathomseg.depth_sources import AnyDepthSource
from fathomseg.distillation import DistilledFolder
from fathomseg.engine.balancing import AnyBalancing, Fixed
from fathomseg.engine.loop import Loop, Positive
from fathomseg.engine.optimiser import Optimiser
from fathomseg.inference.settings import Inference
from fathomseg.objectives import AnyObjective, Supervised
from fathomseg.objectives.base import groups_of
from fathomseg.objectives.check import misfits
from fathomseg.tasks.depth_loss import DepthLoss
from fathomseg.tasks.network import NetworkConfig
from fathomseg.training.init_from import InitFrom
from fathomseg.training.metric_scale import MetricScale
from fathomseg.types import Size


class StreamColours(Part):
    """Random colours of a stream: what is null is as usual for what the stream carries."""

    probability: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the samples that are changed at all."""
    brightness: Strength | None = None
    """Factor drawn from 1 - b .. 1 + b."""
    contrast: Strength | None = None
    """Factor drawn from 1 - c .. 1 + c, about the grey mean of each image."""
    saturation: Strength | None = None
    """Factor drawn from 1 - s .. 1 + s, between the image and its grey version."""
    hue: Annotated[float, Field(ge=0, le=0.5)] | None = None
    """Shift drawn from -h .. h, in turns of the colour circle."""
    grey: Strength | None = None
    """Share of the samples that are made grey, all frames of one alike; where some images are grey as stored."""

    def over(self, usual: ColourJitter) -> ColourJitter:
        """The usual colours but for what is given here."""
        return usual.model_copy(update=self.model_dump(exclude_none=True))


class StreamConfig(Part):
    """What a training step reads a batch from. What is read of each image (labels, depth, neighbouring frames) follows
    from the objectives that learn from the stream."""

    data: AnyDataset | None = None
    """Where the images come from; null = the dataset of the recipe."""
    split: str | None = None
    """The split, or a pattern of images (`clips/town/*`); null = `train`, or for frames of video `clips` if there is
    one. No image of evaluation.split is used, and none of a drive that the dataset holds out (`data.val`)."""
    labels: Labels | None = None
    """The label budget: which images are in the stream. null = all that have a label, where an objective needs
    labels."""
    classes: ClassMapping | None = None
    """Where the classes of `data` have other names than those of the recipe's: their name -> ours, or null for one that
    is to be ignored; or the YAML file that holds this (streets-camvid and others come with the package). Classes it
    does not name are matched by equal names, and ignored without a match."""
    sampling: AnySampling = Uniform()
    """`uniform`, `rare_classes`: images of rare classes more often, or `matching_geometry`: those whose depth fits an
    image of another stream."""
    labelled_too: bool = True
    """Without labels of its own: whether the labelled images of the other streams are among its images."""
    depth: AnyDepthSource | None = None
    """Where the disparity of the images comes from, for DepthMix or as a target; null = nowhere."""
    distilled: Mapping[str, DistilledFolder] = Field(default_factory=dict)
    """By task (segmentation, depth, normals) the predictions of a teacher, which stand in for what images lack:
    {segmentation: {folder: FOLDER}}. With that of segmentation and no labels of its own, the stream uses the labels of
    the other streams' budgets of the same data, if there are any."""
    frames: AnyFrames = FixedStep()
    """Which frames are learned from together: `fixed` takes a fixed step, `motion` sees to it that the camera moves."""
    camera: AnyIntrinsics = Known()
    """Where intrinsics come from."""
    size: PositiveSize | None = None
    """Working (height, width); null = that of the recipe. Video of another shape should keep its own."""
    batch: Positive | None = None
    """How many images are in one optimiser step; null = train.batch."""
    progressive: Progressive | None = None
    """Small images first, which learn as much in a fraction of the time (progressive resizing). null: never."""
    geometry: Geometry | None = None
    """Random scale, crop and flip. null: zoom 1 to 2 and flip; with neighbouring frames flip alone."""
    colour: StreamColours | None = None
    """Random colours of the images the network sees. null: none without labels or frames. Usual are, with frames,
    `probability=0.5, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1`, else `probability=0.8, brightness=0.3,
    contrast=0.3, saturation=0.3, hue=0.05`."""
    batch_norm: Literal["shared", "held", "own"] | None = None
    """Whose the BatchNorm statistics of what the other streams train are. shared: its images are averaged into them.
    held: they stay those of the other streams (Li et al. 2017, AdaBN). own: held, and its images go through a scale and
    shift of their own, which end with the training (Chang et al. 2019, DSBN). null = held if the data is another
    dataset than the recipe's, else shared."""

    @model_validator(mode="after")
    def _known_tasks(self) -> StreamConfig:
        if unknown := [task for task in self.distilled if task not in TARGETS]:
            raise ValueError(f"distilled has {unknown[0]!r}; a teacher writes {', '.join(TARGETS)}")
        return self

    def view_size(self, size: Size) -> Size:
        """The (height, width) of its views, in a recipe of this working size."""
        return (self.geometry or Geometry()).view_size(self.size or size)

    @property
    def gives(self) -> list[str]:
        """The targets that these settings bring."""
        disparity = ["disparity"] if self.depth is not None else []
        labels = ["label"] if self.labels is not None else []
        return [*disparity, *labels, *(target_name(TARGETS[task]) for task in self.distilled)]


def geometry_streams(streams: Mapping[str, StreamConfig]) -> frozenset[str]:
    """The streams whose depths decide which images of one of them are drawn."""
    matched = {n: s.sampling.partner for n, s in streams.items() if isinstance(s.sampling, MatchingGeometry)}
    return frozenset(matched.keys() | set(matched.values()))


def pair_misfits(
    streams: Mapping[str, StreamConfig], pairs: Sequence[tuple[str, str]], batch: int, size: Size
) -> Iterator[str]:
    """What keeps image i of one stream from being shown beside image i of another, one sentence each; `batch` and
    `size` are those of the recipe."""
    drawn = [(n, s.sampling.partner) for n, s in streams.items() if isinstance(s.sampling, MatchingGeometry)]
    for name, other in drawn:
        if other not in streams or other == name:
            yield f"streams.{name}.sampling.partner={other!r} is no other stream; there is: {', '.join(streams)}"
        elif isinstance(streams[other].sampling, MatchingGeometry):
            yield f"streams.{name} and streams.{other} would each be drawn by the other: leave one sampling out"
        if lacking := [one for one in (name, other) if one in streams and streams[one].depth is None]:
            yield f"streams.{name}.sampling compares depths: give streams.{lacking[0]}.depth={{name: run, run: RUN}}"
    for first, second in dict.fromkeys([*pairs, *(pair for pair in drawn if pair[1] in streams)]):
        sizes = [streams[one].batch or batch for one in (first, second)]
        if sizes[0] != sizes[1]:
            yield (
                f"streams {first!r} and {second!r} are paired, image by image, but have batches of {sizes[0]} and "
                f"{sizes[1]}: give streams.{first}.batch={sizes[1]}"
            )
        views = [streams[one].view_size(size) for one in (first, second)]
        if views[0] != views[1] and (first, second) in pairs:
            shown = " and ".join(f"{height} x {width}" for height, width in views)
            yield (
                f"streams {first!r} and {second!r} are paired, image by image, but have views of {shown}: give both "
                "the same size, or the same geometry.crop"
            )
        if streams[first].progressive != streams[second].progressive:
            yield (
                f"streams {first!r} and {second!r} are paired, image by image, and so must be of one size at every "
                "step: give both the same progressive"
            )


def learned_as_is(objectives: Mapping[str, AnyObjective], stream: str) -> list[str]:
    """The tasks that learn the disparity of a stream as it is, of whatever scale and shift it may be."""
    learning = [o for o in objectives.values() if isinstance(o, Supervised) and stream in o.streams]
    losses = [loss for o in learning for loss in o.losses.values() if isinstance(loss, DepthLoss)]
    return sorted({loss.name for loss in losses if loss.target == "disparity" and not loss.leaves_scale_open})


def zoom_misfits(streams: Mapping[str, StreamConfig], objectives: Mapping[str, AnyObjective]) -> Iterator[str]:
    """Streams whose depth is divided by the zoom while a disparity learned as it is stays, one sentence each."""
    for name in sorted(streams):
        depth, geometry = streams[name].depth, streams[name].geometry
        if not learned_as_is(objectives, name):
            continue
        follows = geometry is not None and geometry.depth_follows_zoom and geometry.zoom != (1, 1)
        if follows and depth is not None and depth.normalise.over == "none":
            yield (
                f"streams.{name}.geometry.depth_follows_zoom divides depth by the zoom, but not the disparity of "
                f"streams.{name}.depth, which normalise.over=none leaves as it is: give depth_follows_zoom=false, or "
                f"learn from depth (fathom distill, streams.{name}.distilled.depth)"
            )


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
    streams: Mapping[str, StreamConfig] = {"labelled": StreamConfig()}
    """What a step reads, by name."""
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
        for name, stream in self.streams.items():
            chosen = not isinstance(stream.sampling, Uniform)
            if chosen and self.dataset(name).fresh(stream.split or "train", 0, 0) is not None:
                raise ValueError(
                    f"streams.{name} is endless, but streams.{name}.sampling={stream.sampling.name} needs all its "
                    f"images listed: give streams.{name}.data.endless=false"
                )
        given = {name: stream.gives for name, stream in self.streams.items()}
        if found := list(misfits(self.network, given, self.objectives)):
            raise ValueError("; ".join(found))
        pairs = [(p, s) for o in self.objectives.values() for p in o.partners for s in o.streams]
        if found := list(pair_misfits(self.streams, pairs, self.train.batch, self.size)):
            raise ValueError("; ".join(found))
        if found := list(zoom_misfits(self.streams, self.objectives)):
            raise ValueError("; ".join(found))
        if (reason := self.balancing.misfit(groups_of(self.objectives, self.network))) is not None:
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
    def own_batch(self) -> dict[str, int]:
        """The size of the batches of each stream to which train.batch does not apply."""
        return {name: stream.batch for name, stream in self.streams.items() if stream.batch}

    def dataset(self, stream: str) -> Dataset:
        """Where the images of a stream come from."""
        return self.streams[stream].data or self.data

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
