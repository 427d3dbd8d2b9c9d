"""What it means that a stream reads other data than the recipe's: whose classes, whose BatchNorm statistics."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from fathomseg.data.class_match import ClassMatch, match_classes
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.several import Several
from fathomseg.training.recipe import Recipe


def batch_norm(recipe: Recipe, stream: str) -> Literal["shared", "held", "own"]:
    """Whose BatchNorm statistics are for the images of a stream; decided by the datasets if the recipe leaves it."""
    usual: Literal["shared", "held"] = "shared" if same_data(recipe.dataset(stream), recipe.data) else "held"
    return recipe.streams[stream].batch_norm or usual


def held_for(recipe: Recipe, given: Collection[str] | None = None) -> dict[str, frozenset[str]]:
    """The streams that leave BatchNorm statistics alone, with the outputs whose statistics those are: those that other
    streams train. `given`: the streams that give something; left out: all."""
    there = [name for name in recipe.streams if given is None or name in given]
    foreign = {name: batch_norm(recipe, name) != "shared" for name in there}
    at_home = [o for o in recipe.objectives.values() if any(not foreign.get(stream, True) for stream in o.streams)]
    outputs = frozenset().union(*(objective.learns(recipe.network) for objective in at_home))
    return {name: outputs for name, apart in foreign.items() if apart and outputs}


def own_norms(recipe: Recipe, given: Collection[str]) -> dict[str, frozenset[str]]:
    """The streams with a scale and shift of their own in BatchNorms, with the outputs whose BatchNorms those are."""
    held = held_for(recipe, given)
    return {name: outputs for name, outputs in held.items() if batch_norm(recipe, name) == "own"}


def matched(recipe: Recipe, stream: str) -> ClassMatch:
    """What the classes of a stream's dataset are among those of the recipe's data. Raises `FathomError`."""
    theirs, ours = recipe.dataset(stream).classes.names, recipe.data.classes.names
    return match_classes(theirs, ours, recipe.streams[stream].classes, f"streams.{stream}.classes")


def shared_classes(recipe: Recipe) -> tuple[str, ...]:
    """The classes that every dataset has whose labels are used, if some lacks any of the recipe's data; else none."""
    if "segmentation" not in recipe.network.tasks:
        return ()
    used = [name for name in recipe.streams if "label" in recipe.needs(name)]
    matches = [matched(recipe, name) for name in used]
    names = recipe.data.classes.names
    both = tuple(name for name in names if all(name in match.shared for match in matches))
    return both if both != names else ()


def endless(recipe: Recipe, stream: str) -> bool:
    """Whether a stream reads a dataset without an end."""
    return recipe.dataset(stream).fresh(recipe.streams[stream].split or "train", 0, 0) is not None


def same_data(a: Dataset, b: Dataset) -> bool:
    """Whether two settings mean the same dataset, perhaps with other options; another look of the generated city is
    another dataset."""
    if isinstance(a, Several) and isinstance(b, Several):
        return a.datasets.keys() == b.datasets.keys() and all(
            same_data(a.datasets[k], b.datasets[k]) for k in a.datasets
        )
    return a.name == b.name and all(getattr(a, key, None) == getattr(b, key, None) for key in ("root", "domain"))
