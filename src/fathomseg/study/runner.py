"""Running named jobs, each a `fathom` command in a process of its own, beside other processes that do the same.

A crash ends that process and nothing else. `python -m fathomseg.study.runner MODULE [ARGUMENT]...` runs a program that
ends when its parent does. The parent keeps the other end of its standard input open. When it closes it, or dies of
whatever, the program gets SIGTERM, as which a training takes it to save a checkpoint and leave, and is ended a minute
later.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from fathomseg.io.owned import clear
from fathomseg.study.folder import JobFolder, Spent
from fathomseg.study.table import Record

CHECKPOINT: Final = "checkpoint.pt"
_LINES: Final = 8
"""Lines of an error that are kept; all of it is in the log."""
_GRACE_S: Final = 60.0


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


class Child:
    """A program that is asked to stop by closing its standard input, and stops as well if we die.

    Ctrl-C in the terminal does not reach it, so that it is asked once.
    """

    def __init__(self, arguments: Sequence[str], log: IO[bytes], cwd: Path | None = None) -> None:
        """Start `python -m fathomseg.study.runner ARGUMENTS`, in `cwd` if it is given; its output is added to `log`."""
        log.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')}  {' '.join(arguments)}\n".encode())
        log.flush()
        self._log, self._from = Path(log.name), log.tell()
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fathomseg.study.runner", *arguments],
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def minutes(self) -> float:
        """Wall-clock minutes since its start."""
        return (time.monotonic() - self._began) / 60

    def stop(self) -> None:
        """Ask it to save and leave; safe to call from any thread, more than once, and after its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self) -> tuple[Spent, str | None]:
        """Wait for its end: what it cost, processes of its own included, and why it failed; None if it did not."""
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = code = os.waitstatus_to_exitcode(status)
        self.stop()
        spent = Spent(self.minutes, (usage.ru_utime + usage.ru_stime) / 60)
        return spent, self._error(code) if code else None

    def _error(self, code: int) -> str:
        """The last error it printed with what follows, else its last line; a signal is named first."""
        with self._log.open("rb") as file:
            file.seek(self._from)
            lines = [line.rstrip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        first = next((i for i in reversed(range(len(lines))) if lines[i].startswith("error: ")), len(lines) - 1)
        text = "\n".join(lines[max(0, first) :][:_LINES]).strip().removeprefix("error: ") or "no output"
        return f"killed by {signal.Signals(-code).name} after: {text}" if code < 0 else text


class Runner:
    """Runs every job that nobody else runs, several at once; waits for those of others, in case they are left.

    Jobs start in their order, as soon as those they read are finished; what was interrupted is resumed. A failed job
    stops those that read it, and with `stop_at_failure` all others. `changed` is called after every job, in any thread.
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
    ) -> None:
        """`cwd`: where the commands are typed; `poll_s`: seconds between two looks; `program`: the module `fathom`."""
        self.folder, self.jobs, self.poll_s = folder, tuple(jobs), poll_s
        self._changed, self._keep_checkpoints, self._stop_at_failure = changed, keep_checkpoints, stop_at_failure
        self._cwd, self._program = cwd, program
        self._stopping = threading.Event()
        self._children: dict[str, Child] = {}
        self._lock = threading.Lock()
        self._workers: list[futures.Future[None]] = []

    def start(self, workers: int) -> None:
        """Start; each worker runs one job at a time."""
        pool = futures.ThreadPoolExecutor(workers)
        self._workers = [pool.submit(self._work) for _ in range(workers)]

    def wait(self) -> bool:
        """Wait for `poll_s` at most; returns whether all is over. Raises what went wrong in a worker, if anything."""
        done, left = futures.wait(self._workers, self.poll_s)
        return not left and all(worker.result() is None for worker in done)

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
        except BaseException:
            self.stop()
            raise

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
        error = None
        if (record := job.result()) is None:  # a run may have ended just before the process that started it was killed
            with self._child(job, log) as child:
                spent, error = child.wait()
            self.folder.spend(job.name, spent)
            if error is not None and self._stopping.is_set():
                return
            record = job.result() if error is None else None
        if record is not None:
            self._finish(job, record)
        else:
            self.folder.fail(job.name, error or "it ended well, but left no result")
            if self._stop_at_failure:
                self.stop()
        self._changed()

    @contextmanager
    def _child(self, job: Job, log: IO[bytes]) -> Iterator[Child]:
        """The process of a job; `stop` reaches it, even if it was called a moment ago."""
        run, words = self.folder.run(job.name), job.resume
        if not (run / CHECKPOINT).is_file():
            words = job.start
            clear(run)  # started, but nothing was saved
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


def main() -> None:
    """Call `main()` of the module named first, with the other arguments as its command line."""
    _, module, *arguments = sys.argv
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = [module, *arguments]
    importlib.import_module(module).main()


def _end_with_parent() -> None:
    os.read(0, 1)  # nothing is ever written: it returns at the end
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
