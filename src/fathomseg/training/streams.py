"""The streams of a training: which images each reads, with what is known of them, decoded once at working size."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import UInt8

from fathomseg.data.cache import Cache, Prepared, cache_folder
from fathomseg.data.colour import ColourJitter
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.distilled import TARGETS
from fathomseg.data.geometry_sampling import Geometries, MatchingGeometry, smaller
from fathomseg.data.held_out import without
from fathomseg.data.intrinsics import Intrinsics
from fathomseg.data.loading import Disparity, Stream
from fathomseg.data.progressive import SmallFirst
from fathomseg.data.sampling import Endless, RareClasses
from fathomseg.data.transforms import Geometry
from fathomseg.data.video_stream import choose_frames
from fathomseg.depth_sources import DisparityMaps, FreshMaps, prepare
from fathomseg.depth_sources.base import DepthSource
from fathomseg.distillation.targets import DistilledTargets, targets_of
from fathomseg.errors import FathomError
from fathomseg.io import array_store
from fathomseg.io.owned import own
from fathomseg.io.progress import Tell, Waits, preparing, say
from fathomseg.training.domains import matched, same_data
from fathomseg.training.recipe import Recipe
from fathomseg.training.run_folder import FRAMES
from fathomseg.training.stream_config import learned_as_is
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

    `labelled`: by stream the ids whose labels may be used. No image of the evaluation split is in any stream, unless a
    label budget names that split.
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
    for name in streams:
        if isinstance(sampling := recipe.streams[name].sampling, MatchingGeometry):
            if sampling.partner not in streams:
                raise FathomError(
                    f"streams.{name}.sampling compares depths with those of stream {sampling.partner!r}, which gives "
                    "nothing. Name another stream, or take sampling.name=uniform."
                )
            target, source = (geometries(streams[one], one) for one in (sampling.partner, name))
            streams[name].order = sampling.order(target, source, recipe.seed)
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

    def _tell(self, what: str) -> Tell:
        """What tells of one of its waits."""
        return self.progress.of(f"{self.name}: {what}")

    @property
    def is_empty(self) -> bool:
        """Whether it gives nothing: it has a budget of no labels, and nothing else that it needs."""
        labels = self.recipe.streams[self.name].labels
        return labels is not None and labels.count == 0 and not self.ids()

    def build(self, seed: int) -> tuple[Stream, Intrinsics | None]:
        """The stream, and the cameras of its frames if it has neighbours."""
        recipe, config, dataset = self.recipe, self.recipe.streams[self.name], self.recipe.dataset(self.name)
        needs, uses = recipe.needs(self.name), recipe.uses(self.name)
        working, ids = recipe.working_size(self.name), self.ids()
        geometry = config.geometry or Geometry()
        geometry = geometry.for_frames() if "frames" in needs else geometry
        size = _prepared(geometry, working, dataset, ids[0])
        cache = Cache(dataset, size)
        neighbours, intrinsics = None, None
        if "frames" in needs:
            neighbours, intrinsics = self._neighbours(cache, ids, only=needs <= {"frames", "camera"})
            ids = [id for id in ids if id in neighbours] if needs <= {"frames", "camera"} else ids
        labels_of = self._labels_of(ids, uses)
        kinds = _kinds(uses, bool(labels_of))
        opened = {kind: labels_of if kind == "label" else frozenset(ids) for kind in kinds}
        wanted = [(id, kind) for id in ids for kind in kinds if id in opened[kind]]
        cache.prepare(wanted, self._tell("images"), check=self.main)
        distilled = dict(self._distilled(ids, uses, size))
        disparity: Disparity | None = None
        if config.depth is not None and "disparity" in uses:
            self._refuse_other_depths(config.depth)
            disparity = prepare(config.depth, dataset, ids, size, progress=self._tell("depth"))
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
            working=working,
            with_whole="whole" in uses,
            classes=self._class_table() if labels_of else None,
            small_first=self._small_first(),
        )
        if "label" in needs and self.main:  # others read what is kept of this
            stream.count_labels(self._tell("pixels of every class"))
        if isinstance(config.sampling, RareClasses):
            classes, view = len(recipe.data.classes), geometry.view_size(working)
            stream.order = config.sampling.order(stream.label_counts_by_id, classes, working, seed, view)
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
        recipe, config, dataset = self.recipe, self.recipe.streams[self.name], self.recipe.dataset(self.name)
        uses, split = recipe.uses(self.name), config.split or "train"
        depth = config.depth if "disparity" in uses else None
        working, geometry = recipe.working_size(self.name), config.geometry or Geometry()
        order = Endless(dataset, split, seed)
        size = _prepared(geometry, working, dataset, order.id_at(0))
        fresh = None if depth is None else FreshMaps(depth.open(dataset), size, depth.normalise.percentiles)
        labels = "label" in uses
        stream = Stream(
            Cache(dataset, size, limit_gb=0),
            [order.id_at(position) for position in range(_COUNTED)],
            _kinds(uses, labels),
            geometry,
            seed,
            disparity=fresh,
            working=working,
            with_whole="whole" in uses,
            order=order,
            classes=self._class_table() if labels else None,
            small_first=self._small_first(),
        )
        return stream, None

    def _small_first(self) -> SmallFirst | None:
        """Which of its samples are small."""
        config, train = self.recipe.streams[self.name], self.recipe.train
        return None if config.progressive is None else config.progressive.at(train.steps, config.batch or train.batch)

    def _class_table(self) -> UInt8[np.ndarray, " 256"] | None:
        """What its label values become; None if they mean the same. Tells people how classes were matched."""
        match = matched(self.recipe, self.name)
        if match.same:
            return None
        if self.main:
            name = self.recipe.dataset(self.name).name
            say("\n".join([f"{self.name}: classes of {self.recipe.data.name} <- {name}", *match.lines()]))
        return match.table

    def ids(self) -> list[str]:
        """The images of the stream."""
        return stream_ids(self.recipe, self.name, self.labelled)

    def _distilled(
        self, ids: Sequence[str], uses: frozenset[str], size: Size
    ) -> Iterator[tuple[str, DistilledTargets]]:
        """What reads a teacher's predictions, as far as an objective makes use of them; every file was read once."""
        dataset, config = self.recipe.dataset(self.name), self.recipe.streams[self.name]
        for task, folder in config.distilled.items():
            if parts := targets_of(uses, task):
                classes = self.recipe.data.classes.names if task == "segmentation" else ()
                reader = folder.reader(task, dataset, classes, size, parts)
                reader.prepare(dataset, ids, self._tell("distilled targets"))
                yield TARGETS[task], reader

    def _labels_of(self, ids: Sequence[str], uses: frozenset[str]) -> frozenset[str]:
        """The images whose labels it opens: its own budget, else those of other streams of the same dataset. Where its
        options make other images of these ids, none."""
        if "label" not in uses:
            return frozenset()
        if self.name in self.labelled:
            return frozenset(self.labelled[self.name])
        dataset = self.recipe.dataset(self.name)
        same = {name: own for name, own in self.labelled.items() if same_data(self.recipe.dataset(name), dataset)}
        both = frozenset(ids).intersection(id for own in same.values() for id in own)
        return both - frozenset(without(dataset, both, labels_in_use(self.recipe, same)))

    def _neighbours(self, cache: Cache, ids: Sequence[str], only: bool) -> tuple[dict[str, dict[int, str]], Intrinsics]:
        """For every frame that can be learned from the frames before and after, and all their cameras."""
        config = self.recipe.streams[self.name]
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


def _kinds(uses: frozenset[str], labels: bool) -> tuple[Prepared, ...]:
    """The arrays of each image that a stream reads."""
    there: dict[Prepared, bool] = {
        "image": True,
        "label": labels,
        "depth": "depth" in uses,
        "normals": "normals" in uses,
    }
    return tuple(kind for kind, wanted in there.items() if wanted)


def _prepared(geometry: Geometry, working: Size, dataset: Dataset, first: str) -> Size:
    """The size images are prepared at; one of them stands for all if it is to be as large as they are stored."""
    if geometry.detail is None and geometry.zoom[1] <= 1:
        return working
    return geometry.prepared(working, Cache(dataset, None).stored_size(first))


def colours(recipe: Recipe) -> dict[str, ColourJitter | None]:
    """The random colours of every stream."""
    papers = ColourJitter(probability=0.5, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
    found: dict[str, ColourJitter | None] = {}
    for name, stream in recipe.streams.items():
        needs = recipe.needs(name)
        usual = ColourJitter() if needs & {"label", "depth", "normals"} else papers if "frames" in needs else None
        seen = any(objective.trains_network for objective in recipe.objectives_of(name).values())
        colour = usual if stream.colour is None else stream.colour.over(usual or ColourJitter())
        found[name] = colour if seen else None
    return found


def geometries(stream: Stream, name: str) -> Geometries:
    """The depths of the images of a stream, small and kept in the cache, and the views it shows of them."""
    assert stream.disparity is not None, f"checked: {name} has a source of depth"
    kept = None
    if isinstance(stream.disparity, DisparityMaps):
        kept = array_store.entry(cache_folder(), f"small disparity|{stream.disparity.key}")
    small = None if kept is None else array_store.load(kept)
    if small is None or small.shape[0] != len(stream.ids):
        small = np.stack([smaller(stream.disparity(id)) for id in sorted(stream.ids)])
        if kept is not None:
            array_store.store(kept, small)
    places = {id: place for place, id in enumerate(sorted(stream.ids))}
    assert stream.cache.size is not None
    return Geometries(
        small, places, stream.order.id_at, stream.geometry, stream.seed, stream.cache.size, stream.working
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
