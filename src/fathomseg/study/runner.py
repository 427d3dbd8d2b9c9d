"""Running named jobs, each a `fathom` command in a process of its own, on this machine or on a cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fathomseg.parallel.base import Actor, Engine, LostError
from fathomseg.parallel.local import LocalEngine
from fathomseg.study.attempt import Attempt, Command, checkpoints
from fathomseg.study.folder import JobFolder
from fathomseg.study.table import Record


@dataclass(frozen=True, slots=True)
class Job:
    """One `fathom` command, and what it leaves."""

    name: str
    start: tuple[str, ...]
    """The words after `fathom`."""
    resume: tuple[str, ...]
    """The same where its run has a checkpoint; equal to `start` for a command that resumes by itself."""
    result: Callable[[], Record | None]
    """Reads what it has left in its run folder; None if the run has not reached its end."""
    after: tuple[str, ...] = ()
    """Names of earlier jobs whose results it reads."""


class _Running(NamedTuple):
    job: Job
    actor: Actor
    began: float


class Runner:
    """Runs every job once, several at a time.

    Jobs start in their order, as soon as those they read are finished; what was interrupted is resumed. A failed job
    stops those that read it, and with `stop_at_failure` all others. `changed` is called after every job.
    """

    def __init__(
        self,
        folder: JobFolder,
        jobs: Sequence[Job],
        changed: Callable[[], object] = lambda: None,
        keep_checkpoints: bool = False,
        stop_at_failure: bool = False,
        cwd: Path | None = None,
        poll_s: float = 5.0,
        program: str = "fathomseg.cli",
        engine: Engine | None = None,
        gpus: float = 1.0,
    ) -> None:
        """`cwd`: where the commands are typed; `poll_s`: how long `wait` waits at most, in seconds; `program`: the
        module `fathom`; `engine`: where they run, by default here; `gpus`: the share of a GPU each job gets."""
        self.folder, self.jobs, self.poll_s = folder, tuple(jobs), poll_s
        self._changed, self._keep_checkpoints, self._stop_at_failure = changed, keep_checkpoints, stop_at_failure
        self._cwd, self._program = cwd, program
        self._engine, self._gpus = engine or LocalEngine(), gpus
        self._stopping = False
        self._places = 0
        self._running: dict[Future[str | None], _Running] = {}

    def start(self, workers: int) -> None:
        """Start; so many jobs run side by side."""
        self._places = workers
        self._fill()

    def wait(self) -> bool:
        """Wait for `poll_s` at most; returns whether all is over. Raises what went wrong with a job, if anything."""
        for future in wait(self._running, self.poll_s, FIRST_COMPLETED).done:
            running = self._running.pop(future)
            try:
                self._ended(running.job, future)
            except BaseException:
                self.stop()
                wait(self._running)
                for other in self._running.values():
                    other.actor.close()
                self._running.clear()
                raise
            finally:
                running.actor.close()
        self._fill()
        return not self._running

    def stop(self) -> None:
        """Ask all jobs to save and leave; `wait` waits for them. May be called by the handler of a signal."""
        self._stopping = True
        actors = [running.actor for running in list(self._running.values())]
        # In a thread, since the signal may have come while this one holds a lock that a call needs.
        threading.Thread(target=lambda: [self._stop(actor) for actor in actors]).start()

    def left(self) -> list[Job]:
        """The jobs that are neither finished nor failed, but for those that read what has failed."""
        lost: set[str] = set()
        for job in self.jobs:
            if lost & set(job.after) or self.folder.failure(job.name) is not None:
                lost.add(job.name)
        return [job for job in self.jobs if job.name not in lost and not self.folder.settled(job.name)]

    def running(self) -> set[str]:
        """The jobs that are being done; of a cluster also those that wait there for their turn."""
        return {running.job.name for running in self._running.values()}

    def minutes(self, name: str) -> float:
        """Wall-clock minutes that a job has taken so far, as far as they are known here."""
        spent = self.folder.spent(name)
        began = [running.began for running in self._running.values() if running.job.name == name]
        return (spent.minutes if spent else 0.0) + sum((time.monotonic() - one) / 60 for one in began)

    def _fill(self) -> None:
        """Start what can be started."""
        while not self._stopping and len(self._running) < self._places and (job := self._next()) is not None:
            self._begin(job)

    def _next(self) -> Job | None:
        """The first job that is not being done and has all that it reads."""
        left, running = self.left(), self.running()
        missing = {job.name for job in left}
        return next((job for job in left if job.name not in running and not missing & set(job.after)), None)

    def _begin(self, job: Job) -> None:
        if (record := job.result()) is not None:  # a run may have ended just before what started it was killed
            self._finish(job, record)
            self._changed()
            return
        command = Command(job.name, job.start, job.resume, self._cwd, self._program)
        actor = self._engine.job(Attempt, self.folder, command, gpus=self._gpus)
        self._running[actor.call("run")] = _Running(job, actor, time.monotonic())
        if self._stopping:
            self._stop(actor)

    @staticmethod
    def _stop(actor: Actor) -> None:
        """Ask the job of an actor to stop; one that waits for its turn on a cluster is given up."""
        if actor.begun:
            actor.call("stop")
        else:
            actor.close()

    def _ended(self, job: Job, future: Future[str | None]) -> None:
        try:
            error = future.result()
        except LostError as lost:
            error = str(lost)
        if error is not None and self._stopping:
            return
        record = job.result() if error is None else None
        if record is not None:
            self._finish(job, record)
        else:
            self.folder.fail(job.name, error or "it ended well, but left no result")
            if self._stop_at_failure:
                self.stop()
        self._changed()

    def _finish(self, job: Job, record: Record) -> None:
        minutes, cpu_minutes = self.folder.spent(job.name) or (None, None)
        self.folder.finish(job.name, {**record, "minutes": minutes, "cpu_minutes": cpu_minutes})
        if not self._keep_checkpoints:
            for checkpoint in checkpoints(self.folder.run(job.name)):
                checkpoint.unlink(missing_ok=True)
