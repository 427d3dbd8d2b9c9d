"""A runner at the keyboard: how far it is, how long it will still take, and how it is stopped."""

from __future__ import annotations

import math
import re
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fathomseg.study.runner import Runner
from fathomseg.study.table import Cell

_TAIL: Final = 4096
"""Bytes at the end of a log that hold its last whole line."""

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


def minutes_left(
    left: Sequence[Cell], finished: Mapping[Cell, float], progress: Mapping[Cell, float], at_once: int
) -> float | None:
    """Minutes until the cells that are left are done; None as long as nothing tells.

    `finished`: minutes of finished cells, of which those of the same arm tell most; `progress`: the part (0..1) that is
    done of those that are running; `at_once`: how many run side by side.
    """
    if not finished:
        return None
    overall = statistics.fmean(finished.values())
    total = 0.0
    for cell in left:
        same = [minutes for other, minutes in finished.items() if other.arm == cell.arm]
        total += (statistics.fmean(same) if same else overall) * (1 - progress.get(cell, 0.0))
    return total / max(1, at_once)


def last_step(metrics: Path) -> int:
    """The last step a run has logged in metrics.jsonl; 0 if there is none."""
    if not metrics.is_file():
        return 0
    with metrics.open("rb") as file:
        file.seek(max(0, metrics.stat().st_size - _TAIL))
        return int([b"0", *re.findall(rb'"step": (\d+)[,}]', file.read())][-1])


def duration(minutes: float | None) -> str:
    """A time to read: 40 s, 12 min, 3 h 05 min, 2 d 4 h."""
    if minutes is None:
        return "an unknown time"
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    whole = round(minutes)
    if whole < 60:
        return f"{whole} min"
    hours, rest = divmod(whole, 60)
    return f"{hours} h {rest:02} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
