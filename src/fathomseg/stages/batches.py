"""Batches that processes share out evenly, or a word on it before anything is prepared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fathomseg.engine.loop import shares
from fathomseg.stages.recipe import Recipe

if TYPE_CHECKING:
    import accelerate


def refuse_uneven(recipe: Recipe, accelerate: accelerate.Accelerator) -> None:
    """Raise `FathomError` if the batch of a stream cannot be shared out over the processes.

    One with a budget of no labels may give nothing: the trainer sees to it.
    """
    giving = [name for name, stream in recipe.streams.items() if stream.labels is None or stream.labels.count != 0]
    shares(giving, recipe.own_batch, recipe.train, accelerate)
