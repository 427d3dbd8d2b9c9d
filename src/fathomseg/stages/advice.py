"""What to do when a training is too large for its device, and how to go on with one that was stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from fathomseg.engine.guard import Interrupted
from fathomseg.engine.logging import say
from fathomseg.engine.loop import Loop
from fathomseg.errors import FathomError
from fathomseg.types import Size


@contextlib.contextmanager
def memory_advice(crop: Size, loop: Loop, model: str) -> Iterator[None]:
    """Turn running out of memory into advice that names the settings to change and their present values."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
        if not out_of_memory:
            raise
        raise FathomError(
            "Out of memory. Any of these helps, the first without changing the result:\n"
            f"  train.accumulate={loop.accumulate * 2}   (now {loop.accumulate}; the batch stays {loop.batch})\n"
            "  train.precision=bf16   on a GPU that has it\n"
            f"  learner.geometry.crop=[{crop[0] * 3 // 4},{crop[1] * 3 // 4}]   (now {crop[0]} x {crop[1]})\n"
            f"  train.batch={max(1, loop.batch // 2)}   (now {loop.batch})\n"
            f"  a smaller network.encoder.model   (now {model})\n"
            f"The device said: {str(error).splitlines()[0]}"
        ) from None


@contextlib.contextmanager
def resume_advice(verb: str, folder: Path) -> Iterator[None]:
    """When Ctrl-C or SIGTERM has stopped a training, tell the command that goes on with it."""
    try:
        yield
    except Interrupted:
        say(f"Go on with: fathom {verb} --resume {folder}")
        raise
