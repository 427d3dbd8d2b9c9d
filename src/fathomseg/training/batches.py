"""Batches that processes cannot share out, or whose parts are too small to be mixed, refused before any preparing.

Images of a stream that are mixed with each other need two of them in every micro-batch of a process: one alone has no
partner and comes back unmixed, a plain mean teacher, whatever the recipe says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fathomseg.engine.loop import batch_slices
from fathomseg.errors import FathomError
from fathomseg.mixing import NoMix
from fathomseg.objectives.pseudo_labels import PseudoLabels
from fathomseg.training.recipe import Recipe

if TYPE_CHECKING:
    import accelerate


def refuse_batches(recipe: Recipe, accelerate: accelerate.Accelerator) -> None:
    """Raise `FathomError` for a batch that cannot be shared out evenly, or leaves an image without one to mix with."""
    refuse_uneven(recipe, accelerate)
    refuse_unmixed(recipe, accelerate)


def refuse_uneven(recipe: Recipe, accelerate: accelerate.Accelerator) -> None:
    """Raise `FathomError` if the batch of a stream cannot be shared out over the processes.

    One that needs labels, with a budget of none, may give nothing: the trainer sees to it.
    """
    bare = {name for name, stream in recipe.streams.items() if stream.labels is not None and stream.labels.count == 0}
    giving = [name for name in recipe.streams if name not in bare or "label" not in recipe.needs(name)]
    batch_slices(giving, recipe.own_batch, recipe.train, accelerate)


def mixed_streams(recipe: Recipe) -> dict[str, str]:
    """By stream whose images are mixed with each other the name of the objective that does it."""
    return {
        stream: name
        for name, objective in recipe.objectives.items()
        if isinstance(objective, PseudoLabels) and objective.partner is None and not isinstance(objective.mixing, NoMix)
        for stream in objective.streams
    }


def refuse_unmixed(recipe: Recipe, accelerate: accelerate.Accelerator) -> None:
    """Raise `FathomError` if a process has a single image, in a micro-batch, of a stream whose images are mixed.

    Of a batch that cannot be shared out evenly at all nothing is said here (`data.loading.BatchSlice`).
    """
    loop, processes = recipe.train, accelerate.num_processes
    parts = processes * loop.accumulate
    for stream, name in mixed_streams(recipe).items():
        own = stream in recipe.own_batch
        setting, batch = (f"streams.{stream}.batch", recipe.own_batch[stream]) if own else ("train.batch", loop.batch)
        if batch == parts:
            raise FathomError(
                f"objectives.{name} mixes images of the stream {stream!r} with each other, but {setting} = {batch} over"
                f" {processes} processes x {loop.accumulate} accumulation steps leaves one image without another. Give"
                f" {setting}={2 * parts} or more, fewer parts, or objectives.{name}.mixing.name=none."
            )
