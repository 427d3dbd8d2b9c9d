"""What a training says of the labels it uses, images without any, stray files, and clips it should not share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.files import FileDataset
from fathomseg.data.datasets.several import Several
from fathomseg.data.held_out import shared_clips, warning, without
from fathomseg.io.progress import say
from fathomseg.objectives.pseudo_labels import PseudoLabels
from fathomseg.training.domains import endless
from fathomseg.training.recipe import Recipe
from fathomseg.training.stream_ids import evaluated, held_out, labels_in_use, more_images
from fathomseg.training.streams import Streams


def tell_left_out(recipe: Recipe) -> None:
    """Say which objectives and streams take no part, and which tasks then stay as they begin."""
    left = [name for name in recipe.objectives if name not in recipe.at_work.objectives]
    streams = [name for name in recipe.streams if name not in recipe.at_work.streams]
    learned = frozenset().union(*(o.learns(recipe.network) for o in recipe.at_work.objectives.values()))
    if left:
        beside = f", and with them the streams {', '.join(streams)}" if streams else ""
        say(f"Objectives of weight 0 are left out: {', '.join(left)}{beside}.")
    for task in recipe.network.tasks:
        if task not in learned:
            say(f"WARNING: {task} is predicted but not learned: every objective that trains it has weight 0.")


def tell_labels(recipe: Recipe, labelled: Mapping[str, Sequence[str]], shown: int = 3) -> None:
    """Say how many labels each stream uses of how many images, and which files of its dataset nobody reads."""
    told: list[Dataset] = []
    for name, ids in labelled.items():
        dataset = recipe.dataset(name)
        split = recipe.streams[name].split or "train"
        say(f"{name}: {len(ids)} labels are used, of {len(dataset.ids(split))} images in {split} of {dataset.name}.")
        if dataset in told or not isinstance(dataset, FileDataset | Several):
            continue
        told.append(dataset)
        strays = list(dict.fromkeys(dataset.layout_problems(())))
        for problem in strays[:shown]:
            say(f"  {problem}")
        if len(strays) > shown:
            say(f"  ... and {len(strays) - shown} more such files; `fathom check` lists them.")
        for line in dataset.passed_over():
            say(f"  {line}")


def tell_all_labelled(recipe: Recipe, labelled: Mapping[str, Sequence[str]], streams: Streams) -> None:
    """Warn of streams of `pseudo_labels` whose images all have their labels in use: nothing unlabelled is learned."""
    pseudo = [one for one in recipe.objectives.values() if isinstance(one, PseudoLabels)]
    names = dict.fromkeys(name for one in pseudo for name in one.streams if name in streams.by_name)
    used = labels_in_use(recipe, labelled) if names else frozenset()
    for name in names:
        dataset, ids = recipe.dataset(name), streams.by_name[name].ids
        if endless(recipe, name) or len(ids) > len(used) or without(dataset, ids, used):
            continue
        more = more_images(recipe, name, held_out(recipe, dataset), used)
        say(
            f"WARNING: {name}: the labels of all its {len(ids)} images are in use, so nothing is learned from "
            f"unlabelled ones. {more}"
        )


def tell_shared_clips(recipe: Recipe, streams: Streams) -> None:
    """Warn of clips that have frames to score on and frames in a stream, which look alike."""
    scored = evaluated(recipe)
    for name, stream in streams.by_name.items():
        if recipe.dataset(name) == recipe.data:
            shared = shared_clips(recipe.data, scored, stream.ids)
            if text := warning(shared, f"split {recipe.evaluation.split!r}", f"stream {name!r}"):
                say(text)
