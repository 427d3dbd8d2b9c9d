"""A runner at the keyboard: how far it is, and how it is asked to stop."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fathomseg.study.runner import Runner

Status = tuple[int, str]
"""How many jobs are done, and the rest in words: what runs, what failed, time left."""


def run_all(
    runner: Runner, workers: int, status: Callable[[], Status], what: str = "trainings", every_s: float = math.inf
) -> bool:
    """Run until nothing is left, and show how far it is; returns whether it was asked to stop before.

    Without a terminal a line comes whenever one more of `what` is done, and every `every_s` seconds.
    """
    with stop_requests(runner.stop) as stopped, shown(len(runner.jobs), what, every_s) as show:
        runner.start(workers)
        while not runner.wait():
            show(*status())
        show(*status())
        return stopped()


@contextmanager
def stop_requests(stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Ctrl-C, SIGTERM and a closed terminal call `stop`; gives a function that says whether one came."""
    seen: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        seen.append(number)
        if len(seen) == 1:  # stopping once is enough, and must not interrupt itself
            print("Stopping: waiting for what runs to save ...", file=sys.stderr, flush=True)
            stop()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def shown(
    total: int, what: str, every_s: float = math.inf, console: Console | None = None
) -> Iterator[Callable[[int, str], None]]:
    """A function to show how far everything is: a bar on a terminal, elsewhere lines."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        last = -1, -math.inf

        def line(done: int, words: str) -> None:
            nonlocal last
            if done != last[0] or time.monotonic() - last[1] >= every_s:
                last = done, time.monotonic()
                text = ", ".join(filter(None, [f"{done} of {total} {what} done", words]))
                print(text, file=sys.stderr, flush=True)

        yield line
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total)
        yield lambda done, words: bar.update(task, completed=done, description=words)
