"""How far a demo is and how long it will still take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fathomseg.demo.plan import REPORT_S, Task, seconds
from fathomseg.study.runner import Runner
from fathomseg.study.terminal import Status, duration, last_step

_ENOUGH_S: Final = 20.0
"""Seconds of work after which it is known how fast this machine is."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a task is."""

    task: Task
    running: bool = False
    done: bool = False
    step: int = 0
    """Optimiser steps done."""
    elapsed_s: float = 0.0
    """Wall-clock seconds that it has taken, earlier attempts included."""

    @property
    def done_s(self) -> float:
        """How much of `Task.seconds` is done. Half of what does not depend on the steps comes before the first one."""
        task = self.task
        if self.done:
            return task.seconds
        if self.step == 0:
            return min(self.elapsed_s, task.fixed_s * (0.5 if task.steps else 0.9))
        return 0.5 * task.fixed_s + self.step * task.step_s


def standings(runner: Runner, tasks: Sequence[Task]) -> list[Standing]:
    """How far every task is."""
    folder, running = runner.folder, runner.running()

    def standing(task: Task) -> Standing:
        done = folder.record(task.name) is not None
        step = task.steps if done else last_step(folder.run(task.name) / "metrics.jsonl")
        return Standing(task, task.name in running, done, step, 60 * runner.minutes(task.name))

    return [standing(task) for task in tasks]


def left_s(standings: Sequence[Standing]) -> float:
    """Wall-clock seconds until the page is there, by how fast this machine has been so far."""
    known = [one for one in standings if one.done or one.step]
    expected, taken = sum(one.done_s for one in known), sum(one.elapsed_s for one in known)
    pace = taken / expected if expected >= _ENOUGH_S else 1.0
    order = sorted(standings, key=lambda one: (not one.done, not one.running))  # what has begun keeps its place
    left = {one.task.name: pace * (one.task.seconds - one.done_s) for one in standings}
    return seconds([one.task for one in order], left) + REPORT_S * pace


def status(standings: Sequence[Standing]) -> Status:
    """How many tasks are done, and in words what runs and the time left."""
    words = [f"{one.task.title} {one.step}/{one.task.steps or 1}" for one in standings if one.running]
    return sum(one.done for one in standings), ", ".join([*words, f"about {duration(left_s(standings) / 60)} left"])
