"""What a recipe says of a stream, and whether the images of two streams can be seen side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from fathomseg.config import Part
from fathomseg.config.bounds import Share
from fathomseg.data.class_match import ClassMapping
from fathomseg.data.colour import ColourJitter
from fathomseg.data.datasets import AnyDataset
from fathomseg.data.distilled import TARGETS, target_name
from fathomseg.data.geometry_sampling import MatchingGeometry
from fathomseg.data.intrinsics import AnyIntrinsics, Known
from fathomseg.data.labelled import Labels
from fathomseg.data.motion import AnyFrames, FixedStep
from fathomseg.data.progressive import Progressive
from fathomseg.data.sampling import AnySampling, Uniform
from fathomseg.data.transforms import Geometry, PositiveSize
from fathomseg.depth_sources import AnyDepthSource, OwnDepth
from fathomseg.distillation import DistilledFolder
from fathomseg.objectives import AnyObjective, PseudoLabels
from fathomseg.tasks.depth_loss import DepthLoss
from fathomseg.types import Size


class StreamColours(Part):
    """Random colours of a stream: what is null is as usual for what the stream carries."""

    probability: Share | None = None
    """Share of the samples that are changed at all."""
    brightness: Share | None = None
    """Factor drawn from 1 - b .. 1 + b."""
    contrast: Share | None = None
    """Factor drawn from 1 - c .. 1 + c, about the grey mean of each image."""
    saturation: Share | None = None
    """Factor drawn from 1 - s .. 1 + s, between the image and its grey version."""
    hue: Annotated[float, Field(ge=0, le=0.5)] | None = None
    """Shift drawn from -h .. h, in turns of the colour circle."""
    grey: Share | None = None
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
    one. No image of evaluation.split is used, and none of a drive that the dataset holds out (`data.val`), save for
    `split=val` where another split is scored, or none."""
    labels: Labels | None = None
    """The label budget: whose labels may be used. Where an objective needs labels these are the images of the stream,
    and null = all that have one; elsewhere, as of video, images without a label stay in it."""
    classes: ClassMapping | None = None
    """Where the classes of `data` have other names than those of the recipe's: their name -> ours, or null for one that
    is to be ignored; or the YAML file that holds this (streets-camvid and others come with the package). Classes it
    does not name are matched by equal names, and ignored without a match. It holds for all streams of the same data."""
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
    batch: PositiveInt | None = None
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
    streams: Mapping[str, StreamConfig], objectives: Mapping[str, AnyObjective], batch: int, size: Size
) -> Iterator[str]:
    """What keeps image i of one stream from being shown beside image i of another, one sentence each; `batch` and
    `size` are those of the recipe."""
    pairs = [(partner, own) for o in objectives.values() for partner in o.partners for own in o.streams]
    drawn = [(n, s.sampling.partner) for n, s in streams.items() if isinstance(s.sampling, MatchingGeometry)]
    for name, other in drawn:
        if other not in streams or other == name:
            yield f"streams.{name}.sampling.partner={other!r} is no other stream; there is: {', '.join(streams)}"
        elif isinstance(streams[other].sampling, MatchingGeometry):
            yield f"streams.{name} and streams.{other} would each be drawn by the other: leave one sampling out"
        elif (name, other) not in pairs:
            yield (
                f"streams.{name}.sampling fits its images to {other}, but nothing mixes the two: give "
                f"objectives.NAME.partner={name}, or streams.{name}.sampling.name=uniform"
            )
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
        if not _on_one_scale(streams[first], streams[second]):
            yield from _scale_misfits(first, second, (first, second) in drawn, objectives)


def _on_one_scale(first: StreamConfig, second: StreamConfig) -> bool:
    """Whether the disparities of two streams, as far as both have some, are normalised alike."""
    found = [stream.depth.normalise for stream in (first, second) if stream.depth is not None]
    return len({(one.over, one.over == "none" or one.percentiles) for one in found}) <= 1


def _scale_misfits(first: str, second: str, drawn: bool, objectives: Mapping[str, AnyObjective]) -> Iterator[str]:
    """What compares the depths of two streams that are normalised differently; `drawn`: the images of one by them."""
    both = f"depths of streams {first!r} and {second!r}, which are normalised differently: give both the same"
    if drawn:
        yield f"streams.{first}.sampling compares {both} depth.normalise"
    for name, objective in objectives.items():
        if not isinstance(objective, PseudoLabels) or objective.partner != first or second not in objective.streams:
            continue
        if objective.mixing.needs_disparity and objective.depth_scale == "given":
            yield f"objective {name!r} compares {both} depth.normalise, or objectives.{name}.depth_scale=image"


def endless_misfits(
    name: str,
    streams: Mapping[str, StreamConfig],
    needs: Collection[str],
    uses: Collection[str],
    objectives: Mapping[str, AnyObjective],
) -> Iterator[str]:
    """What needs the images of an endless stream listed, one sentence each; `needs` and `uses`: its targets,
    `objectives`: those that learn from it."""
    stream = streams[name]
    labels, depth = stream.labels, stream.depth
    by_image = isinstance(depth, OwnDepth) and depth.normalise.over == "image"
    wanted = {
        f"streams.{name}.sampling={stream.sampling.name}": not isinstance(stream.sampling, Uniform),
        f"a label budget (streams.{name}.labels)": labels is not None and (labels.count, labels.file) != (None, None),
        f"streams.{name}.distilled": bool(stream.distilled),
        "learning from neighbouring frames": "frames" in needs,
        f"streams.{name}.depth (all but name=dataset, normalised over each image)": (
            depth is not None and "disparity" in uses and not by_image
        ),
        **{f"objectives.{own}": objective.lists_samples for own, objective in objectives.items()},
        **{
            f"streams.{other}.sampling={config.sampling.name}": config.sampling.partner == name
            for other, config in streams.items()
            if isinstance(config.sampling, MatchingGeometry) and other != name
        },
    }
    for what in (what for what, there in wanted.items() if there):
        yield (
            f"streams.{name} is endless, but {what} needs all its images listed: leave that out, or give "
            f"streams.{name}.data.endless=false"
        )


def learned_as_is(objectives: Mapping[str, AnyObjective], stream: str) -> list[str]:
    """The tasks that learn the disparity of a stream as it is, of whatever scale and shift it may be."""
    learning = [o for o in objectives.values() if stream in o.streams]
    losses = [loss for o in learning for loss in o.task_losses.values() if isinstance(loss, DepthLoss)]
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
