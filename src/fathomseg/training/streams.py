"""The streams of a training: which images each reads, with what is known of them, decoded once at working size."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import UInt8

from fathomseg.data.cache import Cache, Prepared
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.distilled import TARGETS
from fathomseg.data.held_out import without
from fathomseg.data.intrinsics import Intrinsics
from fathomseg.data.loading import Disparity, Stream
from fathomseg.data.progressive import SmallFirst
from fathomseg.data.sampling import Endless, RareClasses
from fathomseg.data.transforms import Geometry
from fathomseg.data.video_stream import choose_frames
from fathomseg.depth_sources import FreshMaps, prepare
from fathomseg.depth_sources.base import DepthSource
from fathomseg.distillation.targets import DistilledTargets, targets_of
from fathomseg.errors import FathomError
from fathomseg.io.owned import own
from fathomseg.io.progress import Tell, Waits, preparing, say
from fathomseg.training.domains import matched, same_data
from fathomseg.training.matching import match_geometry
from fathomseg.training.recipe import Recipe
from fathomseg.training.run_folder import FRAMES
from fathomseg.training.stream_config import StreamConfig, learned_as_is
from fathomseg.training.stream_ids import labels_in_use, split_ids, stream_ids
from fathomseg.types import Size

if TYPE_CHECKING:
    import accelerate

_SEED_STEP: Final = 1_000_003
"""Between the seeds of two streams, so that streams of the same images are shuffled apart."""

_COUNTED: Final = 64
"""Images by which the classes of an endless stream are counted."""


@dataclass(frozen=True)
class Streams:
    """What a training reads."""

    by_name: Mapping[str, Stream]
    intrinsics: Mapping[str, Intrinsics]
    """The cameras of the streams that learn from neighbouring frames."""

    @property
    def learned_focal_ids(self) -> dict[str, int]:
        """For every frame whose focal length is to be learned, the number of its camera over all streams."""
        found: dict[str, int] = {}
        first = 0
        for intrinsics in self.intrinsics.values():
            found |= {id: first + number for id, number in intrinsics.learned_focal_ids.items()}
            first += len(intrinsics.names) if intrinsics.learned else 0
        return found


def build_streams(
    recipe: Recipe, labelled: Mapping[str, Sequence[str]], folder: Path, accelerate: accelerate.Accelerator
) -> Streams:
    """Every stream of the recipe that gives something; every bad file is named before training starts.

    `labelled`: by stream the ids whose labels may be used. No image of the evaluation split is in any stream. Raises
    `DataError` for bad files, and `FathomError` for an objective or a sampling whose streams give nothing.
    """
    main = accelerate.is_local_main_process
    streams, intrinsics = {}, {}
    with accelerate.local_main_process_first(), preparing(main) as progress:
        for position, name in enumerate(recipe.streams):
            seed = recipe.seed + _SEED_STEP * position
            builder = _Builder(recipe, name, labelled, folder, progress, main)
            if builder.is_empty:
                if main:
                    say(f"{name}: a budget of no labels, so that this stream gives nothing.")
                continue
            streams[name], cameras = builder.build_endless(seed) if recipe.is_endless(name) else builder.build(seed)
            if cameras is not None:
                intrinsics[name] = cameras
    _all_learn(recipe, streams)
    refuse_mixed_cameras({name: recipe.dataset(name) for name in intrinsics}, intrinsics)
    match_geometry(recipe, streams)
    return Streams(streams, intrinsics)


@dataclass(frozen=True)
class _Builder:
    """One stream in the making."""

    recipe: Recipe
    name: str
    labelled: Mapping[str, Sequence[str]]
    folder: Path
    progress: Waits
    main: bool

    @cached_property
    def config(self) -> StreamConfig:
        """What the recipe says of it."""
        return self.recipe.streams[self.name]

    @cached_property
    def dataset(self) -> Dataset:
        """What it reads."""
        return self.recipe.dataset(self.name)

    @cached_property
    def ids(self) -> list[str]:
        """Its images."""
        return stream_ids(self.recipe, self.name, self.labelled)

    @cached_property
    def needs(self) -> frozenset[str]:
        """The targets without which its objectives learn nothing from an image."""
        return self.recipe.needs(self.name)

    @cached_property
    def uses(self) -> frozenset[str]:
        """The targets its objectives make use of."""
        return self.recipe.uses(self.name)

    @cached_property
    def working(self) -> Size:
        """The (height, width) that zoom and crop refer to."""
        return self.recipe.working_size(self.name)

    def _tell(self, what: str) -> Tell:
        """What tells of one of its waits."""
        return self.progress.of(f"{self.name}: {what}")

    @property
    def is_empty(self) -> bool:
        """Whether it gives nothing: it needs labels, has a budget of none, and nothing else that it needs."""
        labels = self.config.labels
        return labels is not None and labels.count == 0 and not self.ids

    def build(self, seed: int) -> tuple[Stream, Intrinsics | None]:
        """The stream, and the cameras of its frames if it has neighbours."""
        config, ids = self.config, self.ids
        geometry = config.geometry or Geometry()
        geometry = geometry.for_frames() if "frames" in self.needs else geometry
        size = self._prepared(geometry, ids[0])
        cache = Cache(self.dataset, size)
        neighbours, intrinsics = None, None
        if "frames" in self.needs:
            only = self.needs <= {"frames", "camera"}
            neighbours, intrinsics = self._neighbours(cache, ids, only)
            ids = [id for id in ids if id in neighbours] if only else ids
        labels_of = self._labels_of(ids)
        kinds = self._kinds(bool(labels_of))
        opened = {kind: labels_of if kind == "label" else frozenset(ids) for kind in kinds}
        wanted = [(id, kind) for id in ids for kind in kinds if id in opened[kind]]
        cache.prepare(wanted, self._tell("images"), check=self.main)
        distilled = dict(self._distilled(ids, size))
        disparity: Disparity | None = None
        if config.depth is not None and "disparity" in self.uses:
            self._refuse_other_depths(config.depth)
            disparity = prepare(config.depth, self.dataset, ids, size, progress=self._tell("depth"))
        cameras = None if intrinsics is None else intrinsics.cameras
        stream = Stream(
            cache,
            ids,
            kinds,
            geometry,
            seed,
            neighbours,
            cameras,
            labels_of=labels_of,
            disparity=disparity,
            distilled=distilled,
            working=self.working,
            with_whole="whole" in self.uses,
            classes=self._class_table() if labels_of else None,
            small_first=self._small_first(),
        )
        if "label" in self.needs and self.main:  # others read what is kept of this
            stream.count_labels(self._tell("pixels of every class"))
        if isinstance(config.sampling, RareClasses):
            classes, view = len(self.recipe.data.classes), geometry.view_size(self.working)
            stream.order = config.sampling.order(stream.label_counts_by_id, classes, self.working, seed, view)
        return stream, intrinsics

    def _refuse_other_depths(self, source: DepthSource) -> None:
        """Raise `FathomError` if disparity that is learned as it is would stand for depths of another proportion."""
        tasks = learned_as_is(self.recipe.objectives, self.name)
        if source.normalise.over != "none" or not tasks or (theirs := source.depth_range()) is None:
            return
        near, far = theirs
        for task in tasks:
            own = self.recipe.network.tasks[task].depth_range
            if own is None or isclose(far / near, own[1] / own[0], rel_tol=1e-6):
                continue
            raise FathomError(
                f"streams.{self.name}.depth gives disparity between depths of {far:g} and {near:g}, but the network's "
                f"is between {own[1]:g} and {own[0]:g}: far and near would not keep their proportion. Set "
                f"network.tasks.{task}.min_depth={near:g} and max_depth={far:g}."
            )

    def build_endless(self, seed: int) -> tuple[Stream, None]:
        """A stream whose samples are made as they are needed."""
        config, dataset = self.config, self.dataset
        depth = config.depth if "disparity" in self.uses else None
        geometry = config.geometry or Geometry()
        order = Endless(dataset, config.split or "train", seed)
        size = self._prepared(geometry, order.id_at(0))
        fresh = None if depth is None else FreshMaps(depth.open(dataset), size, depth.normalise.percentiles)
        labels = "label" in self.uses
        stream = Stream(
            Cache(dataset, size, limit_gb=0),
            [order.id_at(position) for position in range(_COUNTED)],
            self._kinds(labels),
            geometry,
            seed,
            disparity=fresh,
            working=self.working,
            with_whole="whole" in self.uses,
            order=order,
            classes=self._class_table() if labels else None,
            small_first=self._small_first(),
        )
        return stream, None

    def _small_first(self) -> SmallFirst | None:
        """Which of its samples are small."""
        config, train = self.config, self.recipe.train
        return None if config.progressive is None else config.progressive.at(train.steps, config.batch or train.batch)

    def _class_table(self) -> UInt8[np.ndarray, " 256"] | None:
        """What its label values become; None if they mean the same. Tells people how classes were matched."""
        match = matched(self.recipe, self.name)
        if match.same:
            return None
        if self.main:
            ours, theirs = self.recipe.data.name, self.dataset.name
            say("\n".join([f"{self.name}: classes of {ours} <- {theirs}", *match.lines()]))
        return match.table

    def _distilled(self, ids: Sequence[str], size: Size) -> Iterator[tuple[str, DistilledTargets]]:
        """What reads a teacher's predictions, as far as an objective makes use of them; every file was read once."""
        for task, folder in self.config.distilled.items():
            if parts := targets_of(self.uses, task):
                classes = self.recipe.data.classes.names if task == "segmentation" else ()
                reader = folder.reader(task, self.dataset, classes, size, parts)
                reader.prepare(self.dataset, ids, self._tell("distilled targets"))
                yield TARGETS[task], reader

    def _labels_of(self, ids: Sequence[str]) -> frozenset[str]:
        """The images whose labels it opens: its own budget, else those of other streams of the same dataset. Where its
        options make other images of these ids, none."""
        if "label" not in self.uses:
            return frozenset()
        if self.name in self.labelled:
            return frozenset(self.labelled[self.name])
        same = {name: own for name, own in self.labelled.items() if same_data(self.recipe.dataset(name), self.dataset)}
        both = frozenset(ids).intersection(id for own in same.values() for id in own)
        return both - frozenset(without(self.dataset, both, labels_in_use(self.recipe, same)))

    def _kinds(self, labels: bool) -> tuple[Prepared, ...]:
        """The arrays of each image that it reads."""
        there: dict[Prepared, bool] = {
            "image": True,
            "label": labels,
            "depth": "depth" in self.uses,
            "normals": "normals" in self.uses,
        }
        return tuple(kind for kind, wanted in there.items() if wanted)

    def _prepared(self, geometry: Geometry, first: str) -> Size:
        """The size images are prepared at; one of them stands for all if it is to be as large as they are stored."""
        if geometry.detail is None and geometry.zoom[1] <= 1:
            return self.working
        return geometry.prepared(self.working, Cache(self.dataset, None).stored_size(first))

    def _neighbours(self, cache: Cache, ids: Sequence[str], only: bool) -> tuple[dict[str, dict[int, str]], Intrinsics]:
        """For every frame that can be learned from the frames before and after, and all their cameras."""
        config = self.config
        frames = list(ids) if only else split_ids(self.recipe, self.name)
        cache.prepare([(id, "image") for id in frames], self._tell("frames"), check=self.main)
        file = self.folder / FRAMES.format(self.name)
        triplets = choose_frames(config.frames, cache, frames, file, self._tell("motion between frames"))
        if self.main:
            own(self.folder, [file.name])
        wanted = frozenset(ids)
        triplets = [triplet for triplet in triplets if triplet.target in wanted]
        intrinsics = config.camera.intrinsics(cache.dataset, [x.target for x in triplets])
        if self.main:
            say(
                f"{self.name}: learning from {len(triplets)} of {len(ids)} frames; {len(ids) - len(triplets)} lack "
                "motion or a neighbour."
            )
            if intrinsics.assumed:
                how = "its focal length is learned" if intrinsics.learned else "depth is stretched if it is wrong"
                say(
                    f"WARNING: {len(intrinsics.assumed)} frames have no known camera: a horizontal field of view of "
                    f"{config.camera.degrees:g} degrees is assumed; {how}."  # type: ignore[union-attr]
                )
        return {x.target: {-1: x.before, 1: x.after} for x in triplets}, intrinsics


def refuse_mixed_cameras(data: Mapping[str, Dataset], intrinsics: Mapping[str, Intrinsics]) -> None:
    """Raise `FathomError` if a focal length that is learned would be taken for that of other data: frames and cameras
    go by their names, which two datasets may both have."""
    for (first, one), (second, other) in combinations(intrinsics.items(), 2):
        if same_data(data[first], data[second]):
            continue
        found = [*set(one.learned_focal_ids).intersection(other.cameras)]
        found += set(other.learned_focal_ids).intersection(one.cameras)
        found += set(one.names).intersection(other.names) if one.learned and other.learned else ()
        if found:
            raise FathomError(
                f"streams.{first} and streams.{second} read different data, but both have {min(found)!r}, and learn "
                "focal lengths by such names: make them one stream of data.name=several, or rename a folder of clips."
            )


def _all_learn(recipe: Recipe, given: Collection[str]) -> None:
    """Every objective has a stream that gives something. Raises `FathomError`."""
    for name, objective in recipe.objectives.items():
        if not set(objective.streams) & set(given):
            streams = " and ".join(objective.streams)
            raise FathomError(
                f"Objective {name!r} has nothing to learn from: its streams ({streams}) have a budget of no labels. "
                f"Give streams.{objective.streams[0]}.labels.count, or one more stream: objectives.{name}.stream=[...]."
            )
        if lacking := set(objective.partners) - set(given):
            raise FathomError(
                f"Objective {name!r} mixes in images of stream {min(lacking)!r}, which has a budget of no labels. Give "
                f"streams.{min(lacking)}.labels.count."
            )
