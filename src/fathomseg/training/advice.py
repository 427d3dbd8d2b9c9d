"""What to do when a training is too large for its device, and how to resume one that was stopped."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from fathomseg.engine.guard import Interrupted
from fathomseg.engine.loop import Loop
from fathomseg.errors import FathomError
from fathomseg.io.progress import say
from fathomseg.models.ema import effective_decay, reached_at
from fathomseg.training.batches import mixed_streams
from fathomseg.training.recipe import Recipe


@contextlib.contextmanager
def memory_advice(recipe: Recipe, processes: int = 1) -> Iterator[None]:
    """Turn running out of memory, or of pixels for BatchNorm, into advice: what to change, and its present value."""
    loop, encoder = recipe.train, recipe.network.encoder
    setting = f"model   (now {encoder.model})" if encoder.name == "timm" else f"channels   (now {encoder.channels})"
    stream, config = next(iter(recipe.streams.items()))
    crop = config.view_size(recipe.size)
    try:
        yield
    except ValueError as error:  # of PyTorch's batch_norm
        if "more than 1 value per channel" not in str(error):
            raise
        raise FathomError(
            f"BatchNorm has one value to learn from: a batch of {loop.batch} in {loop.accumulate} part(s) at "
            f"{crop[0]} x {crop[1]} leaves one pixel at the network's coarsest level. Give network.norm=frozen or "
            "network.norm=group, a larger train.batch, or larger images."
        ) from None
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
        if not out_of_memory:
            raise
        batches = {"train": loop.batch, **{f"streams.{name}": size for name, size in recipe.own_batch.items()}}
        least = _least(recipe)
        advice = [
            *_accumulated(loop, batches, least, processes),
            "train.precision=bf16   on a GPU that has it",
            f"streams.{stream}.geometry.crop=[{crop[0] * 3 // 4},{crop[1] * 3 // 4}]   (now {crop[0]} x {crop[1]})",
            *(
                f"{name}.batch={size // 2}   (now {size})"
                for name, size in batches.items()
                if _shared_out(size // 2, loop.accumulate * processes, least[name])
            ),
            f"a smaller network.encoder.{setting}",
        ]
        raise FathomError(
            "Out of memory. Any of these helps, those that change the result least first:\n"
            + "".join(f"  {line}\n" for line in advice)
            + f"The device said: {str(error).splitlines()[0]}"
        ) from None


def _accumulated(loop: Loop, batches: Mapping[str, int], least: Mapping[str, int], processes: int) -> list[str]:
    """The advice to cut the batches into more parts, if there is a number that divides them all and leaves enough."""
    for parts in range(loop.accumulate + 1, min(batches.values()) + 1):
        if all(_shared_out(batch, parts * processes, least[name]) for name, batch in batches.items()):
            return [f"train.accumulate={parts}   (now {loop.accumulate}; the batch stays {loop.batch})"]
    return []


def _shared_out(batch: int, parts: int, least: int) -> bool:
    """Whether a batch can be cut into parts of at least so many images."""
    return batch % parts == 0 and batch // parts >= least


def _least(recipe: Recipe) -> dict[str, int]:
    """By setting of a batch how many images a part must have: two, if images are mixed with each other."""
    mixed = mixed_streams(recipe).keys()
    own = {f"streams.{name}": 1 + (name in mixed) for name in recipe.own_batch}
    return {"train": 1 + bool(mixed - recipe.own_batch.keys()), **own}


def averaging_advice(loop: Loop) -> str | None:
    """What a decay of the averaged weights comes to in a training too short for it; None if it is long enough."""
    first = reached_at(loop.ema_decay)
    if first < loop.steps:
        return None
    last = effective_decay(loop.ema_decay, loop.steps - 1)
    return (
        f"train.ema_decay={loop.ema_decay:g} is not reached in {loop.steps} steps: it takes {first + 1}, and the decay "
        f"of the averaged weights grows to {last:.3g} (they look back over a tenth of the steps so far)."
    )


@contextlib.contextmanager
def resume_advice(verb: str, folder: Path) -> Iterator[None]:
    """When Ctrl-C or SIGTERM has stopped a training, print the command that resumes it."""
    try:
        yield
    except Interrupted:
        say(f"Resume with: fathom {verb} --resume {shlex.quote(str(folder))}")
        raise
