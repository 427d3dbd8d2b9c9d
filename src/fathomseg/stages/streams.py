"""The streams of a segmentation training: labelled images, images without labels, and video, each with its own data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fathomseg.data.cache import Cache
from fathomseg.data.datasets.base import Dataset, Kind
from fathomseg.data.loading import Disparity, Stream
from fathomseg.data.video_stream import TRIPLETS, choose_frames, known_lenses, training_ids, video_stream
from fathomseg.depth_sources import prepare
from fathomseg.engine.logging import preparing
from fathomseg.errors import FathomError
from fathomseg.learners import SemiSupervised
from fathomseg.stages.recipe import Clips, Recipe, Unlabelled

if TYPE_CHECKING:
    import accelerate

_SEEDS = {"labelled": 0, "unlabelled": 1, "clips": 2}
"""Added to the run's seed (times three), so that streams of the same images are shuffled apart."""


@dataclass(frozen=True)
class Streams:
    """What a training reads."""

    by_name: Mapping[str, Stream]
    guessed: Mapping[str, int]
    """For `VideoLoss`: the number of the camera of every frame whose focal length is to be learned."""

    @property
    def labelled(self) -> Stream:
        """The stream every training has."""
        return self.by_name["labelled"]


def build_streams(recipe: Recipe, labelled: Sequence[str], folder: Path, accelerate: accelerate.Accelerator) -> Streams:
    """Everything a learner asks for, decoded once at working size; every bad file is named before training starts.

    `labelled`: the ids whose labels may be used. No image of the evaluation split is in any stream but by `labelled`.
    """
    main = accelerate.is_local_main_process
    with accelerate.local_main_process_first(), preparing(main) as progress:
        cache = Cache(recipe.data, recipe.size)
        kinds: tuple[Kind, ...] = ("image", "label")
        cache.prepare([(id, kind) for id in labelled for kind in kinds], progress)
        streams = {"labelled": Stream(cache, labelled, kinds, recipe.learner.geometry, recipe.seed)}
        guessed: Mapping[str, int] = {}
        if isinstance(recipe.learner, SemiSupervised):
            assert recipe.unlabelled is not None, "checked by the recipe"
            streams["unlabelled"] = _unlabelled(recipe, recipe.unlabelled, labelled, progress)
            if recipe.clips is not None:
                streams["clips"], guessed = _clips(recipe, recipe.clips, folder, progress)
    return Streams(streams, guessed)


def unlabelled_ids(recipe: Recipe, wanted: Unlabelled, labelled: Sequence[str]) -> list[str]:
    """The images without labels: never one that is evaluated on. Raises `FathomError` if none is left."""
    dataset: Dataset = wanted.data or recipe.data
    known = frozenset() if wanted.labelled_too else shown(recipe.data, labelled)
    ids = without(dataset, dataset.ids(wanted.split), shown(recipe.data, _evaluated(recipe)) | known)
    if not ids:
        raise FathomError(
            f"No unlabelled image is left in split {wanted.split!r} of {dataset.name} without those of "
            f"evaluation.split={recipe.evaluation.split!r}. Give another unlabelled.split."
        )
    return ids


def _unlabelled(recipe: Recipe, wanted: Unlabelled, labelled: Sequence[str], progress: object) -> Stream:
    dataset: Dataset = wanted.data or recipe.data
    ids = unlabelled_ids(recipe, wanted, labelled)
    cache = Cache(dataset, recipe.size)
    cache.prepare([(id, "image") for id in ids], progress)  # type: ignore[arg-type]
    disparity: Disparity | None = None
    assert isinstance(recipe.learner, SemiSupervised)
    if recipe.depth is not None and recipe.learner.unlabelled.mixing.needs_disparity:
        disparity = prepare(recipe.depth, dataset, ids, recipe.size, progress=progress)  # type: ignore[arg-type]
    with_truth = recipe.learner.unlabelled.truth and (wanted.data is None or wanted.data == recipe.data)
    kinds: tuple[Kind, ...] = ("image", "label") if with_truth else ("image",)
    return Stream(
        cache,
        ids,
        kinds,
        recipe.learner.geometry,
        _seed(recipe, "unlabelled"),
        labels_of=frozenset(labelled),
        disparity=disparity,
    )


def _clips(recipe: Recipe, wanted: Clips, folder: Path, progress: object) -> tuple[Stream, Mapping[str, int]]:
    dataset: Dataset = wanted.data or recipe.data
    held_out = recipe.evaluation.split if dataset == recipe.data else None
    ids = training_ids(dataset, wanted.split, held_out)
    ids = tuple(without(dataset, ids, shown(recipe.data, _evaluated(recipe))))
    assert isinstance(recipe.learner, SemiSupervised)
    assert recipe.learner.video is not None, "checked by the recipe"
    cache = Cache(dataset, wanted.size or recipe.size)
    cache.prepare([(id, "image") for id in ids], progress)  # type: ignore[arg-type]
    triplets = choose_frames(wanted.frames, cache, ids, folder / TRIPLETS, progress)  # type: ignore[arg-type]
    lenses = known_lenses(wanted.camera, dataset, triplets)
    stream = video_stream(cache, triplets, lenses, recipe.learner.video.geometry, _seed(recipe, "clips"))
    return stream, lenses.guessed if lenses.learned else {}


def shown(dataset: Dataset, ids: Iterable[str]) -> frozenset[str]:
    """Names of the images behind some ids, the same whether a dataset is used alone, among several, or set otherwise.

    An image that has no fingerprint is known by its id and the dataset's name.
    """
    return frozenset(dataset.fingerprint(id, "image") or f"{dataset.name} {id}" for id in ids)


def without(dataset: Dataset, ids: Iterable[str], images: frozenset[str]) -> list[str]:
    """The ids that show none of these images."""
    return [id for id in ids if not images & shown(dataset, [id])]


def _evaluated(recipe: Recipe) -> Sequence[str]:
    split = recipe.evaluation.split
    return recipe.data.ids(split) if split in recipe.data.splits else ()


def _seed(recipe: Recipe, stream: str) -> int:
    """The labelled stream keeps the run's own seed, whatever other streams there are."""
    return recipe.seed + 1_000_003 * _SEEDS[stream]
