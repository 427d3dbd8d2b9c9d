"""How far a demo is and how long it will still take: bars on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from fathomseg.demo.plan import REPORT_S, seconds
from fathomseg.demo.work import Standing

EVERY_S: Final = 15.0
"""Seconds between two lines where there is no terminal."""
_ENOUGH_S: Final = 20.0
"""Seconds of work after which it is known how fast this machine is."""


def done_s(standing: Standing) -> float:
    """How much of `Task.seconds` is done. Half of what does not depend on the steps comes before the first of them."""
    task = standing.task
    if standing.done:
        return task.seconds
    if standing.step == 0:
        return min(standing.elapsed_s, task.fixed_s * (0.5 if task.steps else 0.9))
    return 0.5 * task.fixed_s + standing.step * task.step_s


def share(standings: Sequence[Standing]) -> float:
    """The part of all work that is done, 0..1."""
    return sum(map(done_s, standings)) / sum(one.task.seconds for one in standings)


def left_s(standings: Sequence[Standing]) -> float:
    """Seconds on the clock until the page is there, by how fast this machine has been so far."""
    known = [one for one in standings if one.done or one.step]
    expected, taken = sum(map(done_s, known)), sum(one.elapsed_s for one in known)
    pace = taken / expected if expected >= _ENOUGH_S else 1.0
    order = sorted(standings, key=lambda one: (not one.done, not one.running))  # what has begun keeps its place
    left = {one.task.name: pace * (one.task.seconds - done_s(one)) for one in standings}
    return seconds([one.task for one in order], left) + REPORT_S * pace


def clock(seconds: float) -> str:
    """Minutes and seconds: 4:07."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def line(standings: Sequence[Standing]) -> str:
    """How far everything is, in one line."""
    now = [f"{one.task.title}{_steps(one)}" for one in standings if one.running]
    return "  ".join([f"{100 * share(standings):3.0f} %  about {clock(left_s(standings))} left", ", ".join(now)])


@contextmanager
def shown(console: Console | None = None) -> Iterator[Callable[[Sequence[Standing]], None]]:
    """A function to show how far everything is."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=console) as bars:
        yield _bars(bars)


def _lines() -> Callable[[Sequence[Standing]], None]:
    last = -EVERY_S

    def show(standings: Sequence[Standing]) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY_S:
            last = time.monotonic()
            print(line(standings), file=sys.stderr, flush=True)

    return show


def _bars(bars: Progress) -> Callable[[Sequence[Standing]], None]:
    known: dict[str, TaskID] = {}

    def show(standings: Sequence[Standing]) -> None:
        for one in standings:
            if one.task.name not in known:
                known[one.task.name] = bars.add_task(one.task.title, total=1.0, words="")
            part = done_s(one) / one.task.seconds
            bars.update(known[one.task.name], completed=part, words=_words(one))
        if "" not in known:
            known[""] = bars.add_task("[bold]the whole demo", total=1.0, words="")
        bars.update(known[""], completed=share(standings), words=f"[bold]about {clock(left_s(standings))} left")

    return show


def _words(one: Standing) -> str:
    if one.done:
        return f"done in {clock(one.elapsed_s)}"
    return f"running{_steps(one)}" if one.running else "waits"


def _steps(one: Standing) -> str:
    return f" {one.step}/{one.task.steps}" if one.task.steps else ""
