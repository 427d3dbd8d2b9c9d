"""What a training says of its data: of labels before streams are built, and of the streams then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from fathomseg.config import load
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.held_out import BLOCKS, HeldOut, shared_clips, warning, without
from fathomseg.data.video_stream import read_triplets
from fathomseg.errors import FathomError
from fathomseg.io.files import CONFIG
from fathomseg.io.progress import say
from fathomseg.objectives.pseudo_labels import PseudoLabels
from fathomseg.training.needed_runs import needed_runs
from fathomseg.training.recipe import Recipe
from fathomseg.training.run_folder import FRAMES, IDS, labelled_ids
from fathomseg.training.stream_ids import evaluated, held_out, label_pool, labels_in_use, more_images
from fathomseg.training.streams import Streams

_SHOWN: Final = 3
"""Stray files named of each dataset."""


def tell_left_out(recipe: Recipe) -> None:
    """Say which objectives and streams take no part, and which tasks then stay as they begin."""
    left = [name for name in recipe.objectives if name not in recipe.at_work.objectives]
    streams = [name for name in recipe.streams if name not in recipe.at_work.streams]
    learned = frozenset().union(*(o.learns(recipe.network) for o in recipe.at_work.objectives.values()))
    if left:
        beside = f", and with them the streams {', '.join(streams)}" if streams else ""
        say(f"Objectives of weight 0 are left out: {', '.join(left)}{beside}.")
    for name, task in recipe.network.tasks.items():
        if name not in learned and not task.frozen:
            say(f"WARNING: {name} is predicted but not learned: every objective that trains it has weight 0.")


def tell_labels(recipe: Recipe, labelled: Mapping[str, Sequence[str]]) -> None:
    """Before anything is prepared: which labels are used, and whether earlier runs have seen what is held out now."""
    tell_labels_used(recipe, labelled)
    tell_seen_before(recipe)


def tell_streams(recipe: Recipe, labelled: Mapping[str, Sequence[str]], streams: Streams) -> None:
    """Whether streams have nothing unlabelled, or share clips with what is scored on."""
    tell_all_labelled(recipe, labelled, streams)
    tell_shared_clips(recipe, streams)


def tell_labels_used(recipe: Recipe, labelled: Mapping[str, Sequence[str]]) -> None:
    """Say how many labels each stream uses of how many images, and which files of its dataset nobody reads."""
    told: list[Dataset] = []
    for name, ids in labelled.items():
        dataset, (split, images) = recipe.dataset(name), label_pool(recipe, name)
        say(f"{name}: {len(ids)} labels are used, of {len(images)} images in {split} of {dataset.name}.")
        if dataset in told:
            continue
        told.append(dataset)
        strays = list(dict.fromkeys(dataset.layout_problems(())))
        for problem in strays[:_SHOWN]:
            say(f"  {problem}")
        if len(strays) > _SHOWN:
            say(f"  ... and {len(strays) - _SHOWN} more such files; `fathom check` lists them.")
        for line in dataset.passed_over():
            say(f"  {line}")
        if few := dataset.few_to_train():
            say(f"WARNING: {few}")


def tell_seen_before(recipe: Recipe) -> None:
    """Warn of earlier runs whose lists have images that are held out now: they were trained before it was said."""
    held = HeldOut.of(recipe.data, recipe.evaluation.split)
    for run in dict.fromkeys(run.absolute() for _, run in needed_runs([recipe])):
        try:
            seen = seen_by(run, held)
        except FathomError as error:
            say(f"WARNING: whether {run} has learned from images that are held out now cannot be told: {error}")
            continue
        if seen:
            say(
                f"WARNING: {run} has learned from {len(seen)} images that are held out now, for example {seen[0]}, so "
                "that scores come out too good: train it again."
            )


def seen_by(run: Path, held: HeldOut) -> list[str]:
    """The images among those held out that a run lists as its own. Raises `FathomError` if it cannot be told, as its
    data has moved or its settings are those of another version."""
    recipe = load(Recipe, run / CONFIG)
    found: dict[str, None] = {}
    for name in recipe.streams:
        ids, dataset = list(_listed(run, name)), recipe.dataset(name)
        kept = frozenset(held.without(dataset, ids))
        found |= dict.fromkeys(id for id in ids if id not in kept)
    return list(found)


def _listed(run: Path, stream: str) -> Iterator[str]:
    """What a run, or a phase of it, has written down of a stream."""
    for path in sorted(run.rglob(FRAMES.format(stream))):
        for triplet in read_triplets(path):
            yield from (triplet.target, triplet.before, triplet.after)
    for path in sorted(run.rglob(IDS.format(stream))):
        yield from labelled_ids(path.parent, [stream])[stream]


def tell_all_labelled(recipe: Recipe, labelled: Mapping[str, Sequence[str]], streams: Streams) -> None:
    """Warn of streams of `pseudo_labels` whose images all have their labels in use: nothing unlabelled is learned."""
    pseudo = [one for one in recipe.objectives.values() if isinstance(one, PseudoLabels)]
    names = dict.fromkeys(name for one in pseudo for name in one.streams if name in streams.by_name)
    used = labels_in_use(recipe, labelled) if names else frozenset()
    for name in names:
        dataset, ids = recipe.dataset(name), streams.by_name[name].ids
        if recipe.is_endless(name) or len(ids) > len(used) or without(dataset, ids, used):
            continue
        more = more_images(recipe, name, held_out(recipe, dataset), used)
        say(
            f"WARNING: {name}: the labels of all its {len(ids)} images are in use, so nothing is learned from "
            f"unlabelled ones. {more}"
        )


def tell_shared_clips(recipe: Recipe, streams: Streams) -> None:
    """Warn of clips that have frames to score on and frames in a stream, which look alike."""
    scored = evaluated(recipe) if recipe.evaluation.split != BLOCKS else ()
    for name, stream in streams.by_name.items():
        if recipe.dataset(name) == recipe.data:
            shared = shared_clips(recipe.data, scored, stream.ids)
            if text := warning(recipe.data, shared, f"split {recipe.evaluation.split!r}", f"stream {name!r}"):
                say(f"WARNING: {text}")
