"""What a person sees while something takes long: lines and bars on standard error."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    """One line for the person, on standard error, so that standard output stays clean for results."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def preparing(active: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar (on a terminal) for decoding files; gives the function to call with (done, total)."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(
        *Progress.get_default_columns(), console=console, disable=not (active and console.is_terminal)
    ) as bar:
        task = bar.add_task("preparing files", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A function to call after each item; on a terminal it moves a bar over this process's share of `total`."""
    import torch.distributed as dist
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    with Progress(console=console, disable=rank > 0 or not console.is_terminal) as bar:
        task = bar.add_task(what, total=math.ceil(total / world))
        yield lambda: bar.advance(task)
