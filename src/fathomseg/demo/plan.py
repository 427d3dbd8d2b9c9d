"""What the demo does, in which order, for how long, and how far it is.

Every number one may want to turn is here or in recipes/.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from pathlib import Path
from typing import Final, Literal

from fathomseg.distillation.provenance import FILE as PROVENANCE
from fathomseg.distillation.provenance import read_provenance
from fathomseg.errors import FathomError
from fathomseg.study.folder import JobFolder, scores_file
from fathomseg.study.runner import Job, Runner
from fathomseg.study.terminal import Status, duration, last_step

SPLIT: Final = "val"
"""What is scored: drives nothing is learned from."""


LABELS: Final = 6
"""Labelled images of each row: in ten minutes six leave six points of mIoU to all 320, twelve leave two
(results/demo_room.json)."""


FRAMES: Final = 4
"""Images of each training drive that may be labelled."""

TEACHER: Final = "chosen"
"""The row whose network labels what nobody has."""


@dataclass(frozen=True, slots=True)
class Task:
    """One `fathom` command, a process of one thread."""

    name: str
    """Its recipe is recipes/NAME.yaml, its folder runs/NAME."""
    title: str
    verb: Literal["pretrain", "select", "train", "distill"]
    start_s: float
    """Seconds of an idle core for starting and ending."""
    drive_s: float
    """Seconds of an idle core for each training drive there is: rendering and looking at its images, scoring others."""
    drives: int = 80
    """Training drives; for each eight there are three more to score on, one to score depth on."""
    steps: int = 0
    """Optimiser steps; 0 = it trains nothing."""
    step_s: float = 0.0
    """Seconds of an idle core for one step."""
    after: tuple[str, ...] = ()
    """The tasks whose results it reads."""
    words: tuple[str, ...] = ()
    """The arguments of the command, where it has no recipe of its own."""

    @property
    def seconds(self) -> float:
        """Seconds of an idle core from its beginning to its end."""
        return self.fixed_s + self.steps * self.step_s

    @property
    def fixed_s(self) -> float:
        """What of it does not depend on the steps."""
        return self.start_s + self.drives * self.drive_s

    @property
    def command(self) -> tuple[str, ...]:
        """The words after `fathom`, typed in the folder of the demo."""
        return self.verb, *(self.words or (f"recipes/{self.name}.yaml",)), "--out", f"runs/{self.name}"

    def job(self, folder: JobFolder) -> Job:
        """The task for the runner."""
        run = folder.run(self.name)
        resume = self.command if self.verb == "distill" else (self.verb, "--resume", f"runs/{self.name}")
        return Job(self.name, self.command, resume, lambda: {} if self._at_its_end(run) else None, self.after)

    def _at_its_end(self, run: Path) -> bool:
        if self.verb == "distill":
            predicted = read_provenance(run).images if (run / PROVENANCE).is_file() else {}
            return len(predicted) == self.drives * FRAMES - LABELS
        return (run / "selection.html" if self.verb == "select" else scores_file(run, SPLIT)).is_file()


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table the demo ends with; what its training adds to the line before."""

    task: str
    title: str
    what: str


_PREDICT: Final = (
    f"runs/{TEACHER}",
    f"recipes/{TEACHER}.yaml",
    "--task",
    "segmentation",
    "--flip",
    "evaluation.inference.size=[128,256]",
)
"""Larger and mirrored images: three points of mIoU that no training takes."""

TASKS: Final = (
    Task("depth", "learn depth from clips", "pretrain", 7, 0.4, steps=260, step_s=0.42),
    Task("random", f"train on {LABELS} random images", "train", 6, 0.2, steps=200, step_s=0.19),
    Task("select", f"choose {LABELS} images", "select", 5, 0.14, after=("depth",)),
    Task("chosen", "train on chosen images", "train", 6, 0.2, steps=200, step_s=0.19, after=("select",)),
    Task("labels", "label the other images by that network", "distill", 6, 0.4, after=("chosen",), words=_PREDICT),
    Task("joint", "train with depth", "train", 8, 0.3, steps=200, step_s=1.0, after=("depth", "labels")),
    Task("pseudo", "train with pseudo-labels", "train", 7, 0.2, steps=200, step_s=0.4, after=("labels",)),
)
"""All there is to do, in the order in which it is started as soon as it can be; the proportions of the steps are kept
whatever the time. Measured on one core of an AMD EPYC."""

ROWS: Final = (
    Row(
        "random", f"{LABELS} random images", f"supervised only: the network learns from {LABELS} labelled images alone"
    ),
    Row(
        "chosen", f"{LABELS} chosen images", f"the same with the {LABELS} that fathom select asks for, by learned depth"
    ),
    Row("pseudo", "+ pseudo-labels", "and what that network predicts for the other images, mixed by ClassMix"),
    Row("joint", "+ depth", "and starts from learned depth, goes on learning it, and mixes by it: DepthMix"),
)
"""The table: every row has the same encoder, number of optimiser steps and labelled images in a step."""

AT_ONCE: Final = 2
"""Processes side by side."""
REPORT_S: Final = 20.0
"""Seconds for the pictures and the page after the last task, and for starting."""
DRIVES: Final = (24, 80)
"""The fewest and the most training drives; a minute adds eight."""
LEAST: Final = 10
"""Steps of the shortest training."""
_PERCENT: Final = range(1, 100_001)
_ENOUGH_S: Final = 20.0
"""Seconds of work after which it is known how fast this machine is."""


def plan(minutes: float) -> tuple[Task, ...]:
    """The tasks of a demo that takes about `minutes` on two idle cores: as many steps as fit.

    The steps depend on `minutes` alone, never on the machine. Raises `FathomError` if nothing fits.
    """
    if not minutes > 0:  # which refuses NaN as well
        raise FathomError(f"--minutes is {minutes:g}; give a positive number of minutes.")
    left, drives = 60 * minutes - REPORT_S, min(DRIVES[1], max(DRIVES[0], int(8 * minutes)))
    percent = bisect_right(_PERCENT, left, key=lambda share: seconds(scaled(share, drives)))
    if percent == 0:
        least = (seconds(scaled(1, DRIVES[0])) + REPORT_S) / 60
        raise FathomError(f"--minutes is {minutes:g}, but all four rows take at least {least + 0.05:.1f} minutes.")
    return scaled(_PERCENT[percent - 1], drives)


def scaled(percent: int, drives: int) -> tuple[Task, ...]:
    """The tasks with this share of their steps, of each at least `LEAST`, in a world of so many drives."""

    def resized(task: Task) -> Task:
        return replace(task, drives=drives, steps=max(LEAST, task.steps * percent // 100) if task.steps else 0)

    return tuple(resized(task) for task in TASKS)


def seconds(tasks: Sequence[Task], left: Mapping[str, float] | None = None, at_once: int = AT_ONCE) -> float:
    """Wall-clock seconds until all tasks are done, `at_once` at a time and in the order of `startable`.

    `left`: seconds each task still takes; by default all of its own.
    """
    waiting, running, done = list(tasks), list[tuple[float, str]](), set[str]()
    now = 0.0
    while waiting or running:
        for task in startable(waiting, done, at_once - len(running)):
            waiting.remove(task)
            heappush(running, (now + (task.seconds if left is None else left[task.name]), task.name))
        now = running[0][0]
        while running and running[0][0] == now:  # all that end now, before their places are taken
            done.add(heappop(running)[1])
    return now


def startable(waiting: Sequence[Task], done: Collection[str], free: int) -> list[Task]:
    """The tasks to start now: the first of those that have what they read, as many as there are free places."""
    return [task for task in waiting if set(task.after) <= set(done)][: max(0, free)]


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
