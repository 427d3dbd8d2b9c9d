"""Which images every stream reads, and whose labels it may use, by what exists and is not held out; none is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.distilled import TARGETS
from fathomseg.data.held_out import VAL, HeldOut, refuse_scored, shown, without
from fathomseg.data.labelled import Labels
from fathomseg.data.video_stream import frames_of, training_ids
from fathomseg.errors import FathomError
from fathomseg.training.domains import matched, same_data
from fathomseg.training.recipe import Recipe

_SCORED: Final = (VAL, "test", "testing")
"""Splits that are for scores, whatever a recipe holds out."""


def budgets(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """The ids whose labels each stream may use, save endless ones, which may use all. Only the existence of labels is
    looked at, no label is opened."""
    chosen = {}
    for name, stream in recipe.streams.items():
        if stream.labels is not None or "label" in recipe.needs(name):
            dataset = recipe.dataset(name)
            if "label" in recipe.uses(name):
                matched(recipe, name)  # fail before anything is read
            if recipe.is_endless(name):
                continue
            if dataset == recipe.data:
                refuse_scored(label_pool(recipe, name)[0], recipe.evaluation.split, f"streams.{name}.split")
            if stream.labels is None and "segmentation" in stream.distilled:
                chosen[name] = _beside_teacher(recipe, name)
            else:
                chosen[name] = _budget(recipe, name)
    return chosen


def label_pool(recipe: Recipe, stream: str) -> tuple[str, Sequence[str]]:
    """The split whose labels a stream may use, by name, and its images: of video that is learned from without need of
    labels the frames."""
    dataset, split, needs = recipe.dataset(stream), recipe.streams[stream].split, recipe.needs(stream)
    if "frames" in needs and "label" not in needs:
        return split or ("clips" if "clips" in dataset.splits else "train"), frames_of(dataset, split)
    return split or "train", dataset.ids(split or "train")


def _budget(recipe: Recipe, stream: str) -> tuple[str, ...]:
    """The labels a stream may use, none that is held out."""
    dataset, labels = recipe.dataset(stream), recipe.streams[stream].labels or Labels()
    split, ids = label_pool(recipe, stream)
    return labels.choose(dataset, split, recipe.seed, held_out(recipe, dataset, split), ids)


def _beside_teacher(recipe: Recipe, stream: str) -> tuple[str, ...]:
    """The labels of a stream whose other labels are a teacher's, and that has no budget: never one that other budgets
    hide."""
    dataset, (split, ids) = recipe.dataset(stream), label_pool(recipe, stream)
    others = [
        _budget(recipe, name)
        for name, other in recipe.streams.items()
        if other.labels is not None and same_data(recipe.dataset(name), dataset)
    ]
    if not others:
        kept = held_out(recipe, dataset, split).without(dataset, ids)
        return tuple(sorted(id for id in kept if dataset.has_label(id)))
    shared = set(ids) & {id for chosen in others for id in chosen}
    return tuple(sorted(shared)) if recipe.streams[stream].labelled_too else ()


def stream_ids(recipe: Recipe, name: str, labelled: Mapping[str, Sequence[str]]) -> list[str]:
    """The images of the stream: those with any target that is needed, or else all, whatever labels it may use. Raises
    `FathomError` if none is left."""
    config, dataset, needs = recipe.streams[name], recipe.dataset(name), recipe.needs(name)
    everything = split_ids(recipe, name)
    asked = {TARGETS[task]: frozenset(one.provenance(task).images) for task, one in config.distilled.items()}
    if needs & {"label", "depth", "normals"}:
        deep: set[str] = set()
        for target, wanted in (("depth", dataset.has_depth), ("normals", dataset.has_normals)):
            if target not in needs:
                continue
            having = [id for id in everything if id in asked.get(target, ()) or wanted(id)]
            if not having:
                what = "a depth" if target == "depth" else "normals, or a depth and a camera"
                unread = dataset.unread_depth()
                raise FathomError(
                    f"None of the {len(everything)} images of stream {name!r} ({dataset.name}) has {what} to "
                    f"learn from. {f'{unread} Or give' if unread else 'Give'} another streams.{name}.split or "
                    f".data, or leave the loss of {target} out."
                )
            deep |= set(having)
        deep |= asked.get("label", frozenset()).intersection(everything) if "label" in needs else frozenset()
        learns = "label" in needs or "label" in recipe.uses(name) or not deep
        known = frozenset(labelled.get(name, ())) if learns else frozenset()
        if asked and not config.labelled_too:
            deep = set(without(dataset, deep, labels_in_use(recipe, labelled)))
        return sorted({*known, *deep})
    all_too = config.labelled_too or config.labels is not None
    used = frozenset[str]() if all_too else labels_in_use(recipe, labelled)
    ids = without(dataset, everything, used)
    if not ids and everything:
        more = more_images(recipe, name, held_out(recipe, dataset), used)
        raise FathomError(
            f"No image is left in stream {name!r} ({dataset.name}): the labels of all {len(everything)} are "
            f"in use, and streams.{name}.labelled_too=false leaves such images out. {more}"
        )
    if not ids:
        raise FathomError(
            f"No image is left in stream {name!r} ({dataset.name}) without those that are held out "
            f"(evaluation.split={recipe.evaluation.split!r}). Give another streams.{name}.split."
        )
    return ids


def split_ids(recipe: Recipe, stream: str) -> list[str]:
    """The images of a stream's split, never one that is held out."""
    split, dataset = recipe.streams[stream].split, recipe.dataset(stream)
    if "frames" in recipe.needs(stream):
        scored = recipe.evaluation.split if dataset == recipe.data else None
        ids: Sequence[str] = training_ids(dataset, split, scored)
    else:
        ids = dataset.ids(split or "train")
    return held_out(recipe, dataset, split).without(dataset, ids)


def evaluated(recipe: Recipe) -> Sequence[str]:
    """The images that the run is scored on."""
    split = recipe.evaluation.split
    return recipe.data.ids(split) if split is not None and split in recipe.data.splits else ()


def held_out(recipe: Recipe, dataset: Dataset, asked: str | None = None) -> HeldOut:
    """What no stream of the recipe may read: the images it is scored on, and the drives that its data, or the data of
    the stream, hold out as a whole, unless the stream's split is the one that has them (`asked`: val)."""
    drives = HeldOut.of(dataset, None, asked)
    if dataset != recipe.data:
        drives |= HeldOut.of(recipe.data, None)
    return drives | HeldOut(shown(recipe.data, evaluated(recipe)))


def labels_in_use(recipe: Recipe, labelled: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """The images whose labels any stream uses, by what they show (`data.held_out`)."""
    return frozenset().union(*(shown(recipe.dataset(name), own) for name, own in labelled.items()))


def more_images(recipe: Recipe, stream: str, held_out: HeldOut, used: frozenset[str]) -> str:
    """A sentence on how the stream gets images without labels: by other splits that have some, none of them to score
    on, or else by more files."""
    dataset, own = recipe.dataset(stream), recipe.streams[stream].split or "train"
    away = held_out | HeldOut(used)
    others = [name for name in dataset.splits if name not in {own, *_SCORED}]
    having = [n for n in others if any(not dataset.has_label(id) for id in away.without(dataset, dataset.ids(n)))]
    if having:
        return f"Images without labels are in {' and '.join(having)}: set streams.{stream}.split={having[0]}."
    return f"Add images without labels, or give others as streams.{stream}.data."
