"""Running named jobs, each a `fathom` command in a process of its own, beside other processes that do the same."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from fathomseg.study.child import Child
from fathomseg.study.folder import JobFolder
from fathomseg.study.table import Record

CHECKPOINT: Final = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class Job:
    """One `fathom` command, and what it leaves."""

    name: str
    start: tuple[str, ...]
    """The words after `fathom`."""
    resume: tuple[str, ...]
    """The same where its run has a checkpoint."""
    result: Callable[[], Record | None]
    """Reads what it has left in its run folder; None if the run has not reached its end."""
    after: tuple[str, ...] = ()
    """Names of earlier jobs whose results it reads."""


class Runner:
    """Runs every job that nobody else runs, several at once; waits for those of others, in case they are left.

    Jobs start in their order, as soon as those they read are finished; what was interrupted is resumed. A failed job
    stops those that read it, and with `stop_at_failure` all others. `changed` is called after every job, in any thread.
    """

    def __init__(
        self,
        folder: JobFolder,
        jobs: Sequence[Job],
        changed: Callable[[], None] = lambda: None,
        keep_checkpoints: bool = False,
        stop_at_failure: bool = False,
        cwd: Path | None = None,
        poll_s: float = 5.0,
        program: str = "fathomseg.cli",
    ) -> None:
        """`cwd`: where the commands are typed; `poll_s`: seconds between two looks; `program`: the module `fathom`."""
        self.folder, self.jobs, self.poll_s = folder, tuple(jobs), poll_s
        self._changed, self._keep_checkpoints, self._stop_at_failure = changed, keep_checkpoints, stop_at_failure
        self._cwd, self._program = cwd, program
        self._stopping = threading.Event()
        self._children: dict[str, Child] = {}
        self._lock = threading.Lock()
        self._broken: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, workers: int) -> None:
        """Start; each worker runs one job at a time."""
        self._threads = [threading.Thread(target=self._work, name=f"worker {i}") for i in range(workers)]
        for thread in self._threads:
            thread.start()

    def wait(self) -> bool:
        """Wait for `poll_s` at most; returns whether all is over. Raises what went wrong in a worker, if anything."""
        for thread in self._threads:
            thread.join(self.poll_s / len(self._threads))
        if any(thread.is_alive() for thread in self._threads):
            return False
        if self._broken:
            raise self._broken[0]
        return True

    def stop(self) -> None:
        """Ask all jobs to save and leave; they are free for others as soon as they have."""
        self._stopping.set()
        with self._lock:
            for child in self._children.values():
                child.stop()

    def left(self) -> list[Job]:
        """The jobs that are neither finished nor failed, but for those that read what has failed."""
        lost: set[str] = set()
        for job in self.jobs:
            if lost & set(job.after) or self.folder.failure(job.name) is not None:
                lost.add(job.name)
        return [job for job in self.jobs if job.name not in lost and not self.folder.settled(job.name)]

    def running(self) -> set[str]:
        """The jobs that this process or another one is at."""
        return {job.name for job in self.left() if self.folder.busy(job.name)}

    def minutes(self, name: str) -> float:
        """Wall-clock minutes that a job has taken so far, as far as they are known here."""
        spent, child = self.folder.spent(name), self._children.get(name)
        return (spent.minutes if spent else 0.0) + (child.minutes if child else 0.0)

    def _work(self) -> None:
        try:
            while not self._stopping.is_set() and (left := self.left()):
                missing = {job.name for job in left}
                if not any(self._try(job) for job in left if not missing & set(job.after)):
                    self._stopping.wait(self.poll_s)
        except BaseException as error:
            self._broken.append(error)
            self.stop()

    def _try(self, job: Job) -> bool:
        """Run a job if it is free; returns whether it was."""
        if self._stopping.is_set():
            return True
        with self.folder.claimed(job.name) as log:
            if log is None or self.folder.settled(job.name):  # by somebody who was quicker
                return False
            self._run(job, log)
        return True

    def _run(self, job: Job, log: IO[bytes]) -> None:
        error = ""
        if (record := job.result()) is None:  # a run may have ended just before the process that started it was killed
            with self._child(job, log) as child:
                ended = child.wait()
            self.folder.spend(job.name, ended.spent)
            if ended.code and self._stopping.is_set():
                return
            record = None if ended.code else job.result()
            error = ended.error or "it ended well, but left no result"
        if record is not None:
            self._finish(job, record)
        else:
            self.folder.fail(job.name, error)
            if self._stop_at_failure:
                self.stop()
        self._changed()

    @contextmanager
    def _child(self, job: Job, log: IO[bytes]) -> Iterator[Child]:
        """The process of a job; `stop` reaches it, even if it was called a moment ago."""
        run, words = self.folder.run(job.name), job.resume
        if not (run / CHECKPOINT).is_file():
            words = job.start
            shutil.rmtree(run, ignore_errors=True)  # started, but nothing was saved
        child = Child([self._program, *words], log, self._cwd)
        with self._lock:
            self._children[job.name] = child
        if self._stopping.is_set():
            child.stop()
        try:
            yield child
        finally:
            with self._lock:
                del self._children[job.name]

    def _finish(self, job: Job, record: Record) -> None:
        minutes, cpu_minutes = self.folder.spent(job.name) or (None, None)
        self.folder.finish(job.name, {**record, "minutes": minutes, "cpu_minutes": cpu_minutes})
        if not self._keep_checkpoints:
            (self.folder.run(job.name) / CHECKPOINT).unlink(missing_ok=True)
