"""Doing the tasks of a demo, two side by side, each as a `fathom` command in a process of its own."""

from __future__ import annotations

import queue
import shutil
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from fathomseg.demo.folder import CHECKPOINT, DemoFolder
from fathomseg.demo.plan import AT_ONCE, Task, startable
from fathomseg.errors import FathomError
from fathomseg.study.child import Child, Ended
from fathomseg.study.pace import last_step

_TOLD: Final = 8
"""Last lines of a log that an error shows."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a task is."""

    task: Task
    running: bool = False
    done: bool = False
    step: int = 0
    """Optimiser steps done."""
    elapsed_s: float = 0.0
    """Seconds on the clock that it has taken, earlier attempts included."""


class Work:
    """The tasks that are not done yet, begun in the order of `startable`. What is interrupted can be gone on with."""

    def __init__(
        self, folder: DemoFolder, tasks: Sequence[Task], program: str = "fathomseg.cli", poll_s: float = 0.5
    ) -> None:
        """`program`: the module that is `fathom`."""
        self.folder, self.tasks, self._program, self._poll_s = folder, tuple(tasks), program, poll_s
        self._running: dict[str, tuple[Child, float]] = {}
        self._ended: queue.SimpleQueue[tuple[Task, Ended]] = queue.SimpleQueue()
        self._stopping = False

    def run(self, show: Callable[[Sequence[Standing]], None]) -> None:
        """Work until all is done or `stop` was called, and tell how far everything is.

        Raises `FathomError` if a task fails, once the other one has saved what it has.
        """
        try:
            while waiting := [task for task in self.tasks if not self.folder.spent(task.name).done]:
                if not self._stopping:
                    self._begin(waiting)
                if not self._running:
                    return
                with suppress(queue.Empty):
                    self._end(*self._ended.get(timeout=self._poll_s))
                show(self.standings())
        finally:
            self.stop()
            while self._running:
                self._note(*self._ended.get())

    def stop(self) -> None:
        """Ask what is running to save and leave."""
        self._stopping = True
        for child, _ in list(self._running.values()):
            child.stop()

    def standings(self) -> list[Standing]:
        """How far every task is."""
        return [self._standing(task) for task in self.tasks]

    def _begin(self, waiting: Sequence[Task]) -> None:
        done = {task.name for task in self.tasks} - {task.name for task in waiting}
        idle = [task for task in waiting if task.name not in self._running]
        for task in startable(idle, done, AT_ONCE - len(self._running)):
            self.folder.spend(task.name, 0.0, 0.0, done=False)  # a folder that had gone is about to be there again
            child = Child([self._program, *self._command(task)], self.folder.log(task.name), self.folder.path)
            self._running[task.name] = child, time.monotonic()
            if self._stopping:  # asked a moment ago
                child.stop()
            threading.Thread(target=self._wait, args=(task, child), daemon=True).start()

    def _wait(self, task: Task, child: Child) -> None:
        self._ended.put((task, child.wait()))

    def _command(self, task: Task) -> list[str]:
        """How a task is begun, or gone on with if there is anything to go on with."""
        run = self.folder.run(task.name)
        if (run / CHECKPOINT).is_file():
            return [task.verb, "--resume", f"runs/{task.name}"]
        shutil.rmtree(run, ignore_errors=True)
        return task.command

    def _end(self, task: Task, ended: Ended) -> None:
        self._note(task, ended)
        if ended.code and not self._stopping:
            raise FathomError(self._failure(task, ended))

    def _note(self, task: Task, ended: Ended) -> None:
        del self._running[task.name]
        self.folder.spend(task.name, ended.minutes, ended.cpu_minutes, done=ended.code == 0)
        if ended.code == 0:
            (self.folder.run(task.name) / CHECKPOINT).unlink(missing_ok=True)  # the largest file by far

    def _failure(self, task: Task, ended: Ended) -> str:
        log = self.folder.log(task.name)
        how = f"killed by {signal.Signals(-ended.code).name}" if ended.code < 0 else f"exit code {ended.code}"
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return "\n".join(
            [
                f"A part of the demo has failed: {task.title} ({how}). Its last words:",
                *(f"  {line}" for line in lines[-_TOLD:]),
                f"All it said is in {log}. The same command goes on from here once the cause is gone.",
            ]
        )

    def _standing(self, task: Task) -> Standing:
        spent, running = self.folder.spent(task.name), self._running.get(task.name)
        step = task.steps if spent.done else last_step(self.folder.run(task.name) / "metrics.jsonl")
        elapsed = 60 * spent.minutes + (0.0 if running is None else time.monotonic() - running[1])
        return Standing(task, running is not None, spent.done, step, elapsed)
