"""What it means that a stream reads other data than the recipe's: whose classes, whose BatchNorm statistics."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from fathomseg.data.class_match import ClassMatch, match_classes
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.several import Several
from fathomseg.errors import ConfigError
from fathomseg.models.network import FEATURES
from fathomseg.objectives import PseudoLabels
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
    """The streams with a scale and shift of their own in BatchNorms, with the outputs that they train: what never runs
    for a stream has none."""
    return {name: _trained(recipe, name) for name in held_for(recipe, given) if batch_norm(recipe, name) == "own"}


def _trained(recipe: Recipe, stream: str) -> frozenset[str]:
    """The outputs that the objectives of a stream train; what trains none by itself reaches the features."""
    own = [objective for objective in recipe.objectives_of(stream).values() if objective.trains_network]
    return frozenset().union(*(objective.learns(recipe.network) or {FEATURES} for objective in own))


def matched(recipe: Recipe, stream: str) -> ClassMatch:
    """What the classes of a stream's dataset are among those of the recipe's data: what one stream says of them holds
    for all streams of the same data. Raises `FathomError`, also if two say different things."""
    dataset, ours = recipe.dataset(stream), recipe.data.classes.names
    theirs = dataset.classes.names
    saying = [
        name
        for name, config in recipe.streams.items()
        if config.classes is not None and same_data(recipe.dataset(name), dataset)
    ]
    found = {
        name: match_classes(theirs, ours, recipe.streams[name].classes, f"streams.{name}.classes")
        for name in saying or [stream]
    }
    first, *others = found
    if different := [name for name in others if found[name] != found[first]]:
        raise ConfigError(
            f"streams.{first}.classes and streams.{different[0]}.classes give the classes of the same data "
            f"({dataset.name}) two meanings: give one of them, which holds for both."
        )
    return found[first]


def shared_classes(recipe: Recipe) -> tuple[str, ...]:
    """The classes that every dataset has whose labels are used, if some lacks any of the recipe's data; else none."""
    if "segmentation" not in recipe.network.tasks:
        return ()
    used = [name for name in recipe.streams if "label" in recipe.needs(name)]
    matches = [matched(recipe, name) for name in used]
    names = recipe.data.classes.names
    both = tuple(name for name in names if all(name in match.shared for match in matches))
    return both if both != names else ()


def weighing_objective(recipe: Recipe, weighing: Collection[str]) -> str | None:
    """Which of these supervised objectives, those that weigh classes, has the class weights of a run: of several the
    one that learns from the recipe's own data. Raises `ConfigError` where `logit_adjusted` leaves two."""
    at_home = [
        name
        for name in weighing
        if any(same_data(recipe.dataset(stream), recipe.data) for stream in recipe.objectives[name].streams)
    ]
    found = at_home or list(weighing)
    adjusted = [name for name, o in recipe.objectives.items() if isinstance(o, PseudoLabels) and o.logit_adjusted]
    if len(found) > 1 and adjusted:
        raise ConfigError(
            f"objectives.{adjusted[0]}.logit_adjusted goes by the class weights of one supervised objective, but "
            f"{' and '.join(found)} each have their own: set losses.segmentation.balance=0 in all but one of them, or "
            "make them one objective of several streams."
        )
    return found[0] if found else None


def same_data(a: Dataset, b: Dataset) -> bool:
    """Whether two settings mean the same dataset, perhaps with other options; another look of the generated city, or
    another weather of Virtual KITTI, is another dataset."""
    if isinstance(a, Several) and isinstance(b, Several):
        return a.datasets.keys() == b.datasets.keys() and all(
            same_data(a.datasets[k], b.datasets[k]) for k in a.datasets
        )
    keys = ("root", "domain", "variations")
    return a.name == b.name and all(getattr(a, key, None) == getattr(b, key, None) for key in keys)
