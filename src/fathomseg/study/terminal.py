"""A study at the keyboard: how far it is, and how it is asked to stop."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


@contextmanager
def stop_requests(stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Ctrl-C, SIGTERM and a closed terminal call `stop`; gives a function that says whether one came."""
    seen: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        seen.append(number)
        if len(seen) == 1:  # stopping once is enough, and must not interrupt itself
            print("Stopping: waiting for the trainings to save ...", file=sys.stderr, flush=True)
            stop()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def shown(total: int) -> Iterator[Callable[[int, str], None]]:
    """A function to show how far the study is: a bar on a terminal, elsewhere a line whenever one more is settled."""
    console = Console(stderr=True)
    if not console.is_terminal:
        said: list[int] = []

        def line(settled: int, words: str) -> None:
            if said[-1:] != [settled]:
                said.append(settled)
                print(
                    f"{settled} of {total} trainings done",
                    *filter(None, [words]),
                    sep=", ",
                    file=sys.stderr,
                    flush=True,
                )

        yield line
        return
    columns = (TextColumn("trainings"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total)
        yield lambda settled, words: bar.update(task, completed=settled, description=words)
