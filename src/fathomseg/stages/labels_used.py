"""What a training says of the labels it uses, of files that belong to nothing, and of clips it should not share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.files import FileDataset
from fathomseg.data.datasets.several import Several
from fathomseg.data.held_out import shared_clips, warning
from fathomseg.io.progress import say
from fathomseg.stages.recipe import Recipe
from fathomseg.stages.streams import Streams, evaluated


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


def tell_shared_clips(recipe: Recipe, streams: Streams) -> None:
    """Warn of clips that have frames to score on and frames in a stream, which look alike."""
    scored = evaluated(recipe)
    for name, stream in streams.by_name.items():
        if recipe.dataset(name) == recipe.data:
            shared = shared_clips(recipe.data, scored, stream.ids)
            if text := warning(shared, f"split {recipe.evaluation.split!r}", f"stream {name!r}"):
                say(text)
