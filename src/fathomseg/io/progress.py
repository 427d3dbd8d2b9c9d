"""What a person sees while something takes long: lines and bars on standard error."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

from fathomseg.io.ranks import rank_and_world
from fathomseg.io.spoken import ProgressLines

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def say(text: str) -> None:
    """One line for the person, on standard error, so that standard output stays clean for results."""
    print(text, file=sys.stderr, flush=True)


Tell = Callable[[int, int], None]
"""What takes long calls it with (done, total)."""


class Waits:
    """Several waits one after the other, each with its own name, bar and time left; the first is the object itself."""

    def __init__(self, bar: Progress, active: bool, what: str) -> None:
        self.bar, self.active = bar, active
        self._first = self.of(what)

    def __call__(self, done: int, total: int) -> None:
        """Progress of the first wait."""
        self._first(done, total)

    def of(self, what: str) -> Tell:
        """The function to call for another wait, which begins now; its bar appears at the first call."""
        lines = ProgressLines(what)
        tasks: list[TaskID] = []

        def tell(done: int, total: int) -> None:
            if not tasks:
                tasks.append(self.bar.add_task(what))
            self.bar.update(tasks[0], completed=done, total=total)
            if self.active and not self.bar.console.is_terminal:
                lines.tell(done, total)

        return tell


@contextmanager
def preparing(active: bool, what: str = "preparing images") -> Iterator[Waits]:
    """Progress bars (lines, where there is no terminal), of decoding files and of what else is `named`."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    shown = active and console.is_terminal
    with Progress(*Progress.get_default_columns(), console=console, disable=not shown) as bar:
        yield Waits(bar, active, what)


def named(tell: Tell | None, what: str) -> Tell | None:
    """The same for another wait, if it is one of several; a plain function, or None, as it is."""
    return tell.of(what) if isinstance(tell, Waits) else tell


@contextmanager
def doing(what: str) -> Iterator[None]:
    """A wait whose length nobody can tell: on a terminal a sign of life with the seconds so far, else a line."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        say(f"{what} ...")
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        bar.add_task(what, total=None)
        yield


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A function to call after each item; on a terminal it moves a bar over this process's share of `total`."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    rank, world = rank_and_world()
    with Progress(console=console, disable=rank > 0 or not console.is_terminal) as bar:
        share = math.ceil(total / world)
        task, lines, counted = bar.add_task(what, total=share), ProgressLines(what), count(1)

        def advance() -> None:
            bar.advance(task)
            if rank == 0 and not console.is_terminal:
                lines.tell(next(counted), share)

        yield advance
