"""What a person sees while something takes long: lines and bars on standard error."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from fathomseg.io.spoken import Spoken


def say(text: str) -> None:
    """One line for the person, on standard error, so that standard output stays clean for results."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def preparing(active: bool, what: str = "preparing images") -> Iterator[Callable[[int, int], None]]:
    """A progress bar (on a terminal) for decoding files; gives the function to call with (done, total)."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(
        *Progress.get_default_columns(), console=console, disable=not (active and console.is_terminal)
    ) as bar:
        task, spoken = bar.add_task(what, total=None), Spoken(what)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if active and not console.is_terminal:
                spoken.tell(done, total)

        yield tell


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A function to call after each item; on a terminal it moves a bar over this process's share of `total`."""
    import torch.distributed as dist
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    with Progress(console=console, disable=rank > 0 or not console.is_terminal) as bar:
        share = math.ceil(total / world)
        task, spoken, counted = bar.add_task(what, total=share), Spoken(what), count(1)

        def advance() -> None:
            bar.advance(task)
            if rank == 0 and not console.is_terminal:
                spoken.tell(next(counted), share)

        yield advance
