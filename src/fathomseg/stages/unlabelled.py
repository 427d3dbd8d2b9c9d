"""What is left of the images of a stream without those whose labels are in use, and where more are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fathomseg.data.held_out import VAL, HeldOut, shown
from fathomseg.stages.recipe import Recipe

_SCORED: Final = (VAL, "test", "testing")
"""Splits that are for scores, whatever a recipe holds out."""


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
