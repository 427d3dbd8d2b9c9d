"""The folder of a study or a demo: which files a job has, what they say about its state, and who is at it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from fathomseg.io.files import write_text
from fathomseg.study.table import Cell, Record

SETTINGS, LABELLED_HASH = "settings", "labelled"
"""Keys of a record: settings of the training by dotted key, the same for all of an arm; which images had labels."""

Name = Cell | str
"""A job: its name, or the cell it trains."""
AnyName = TypeVar("AnyName", Cell, str)


class Spent(NamedTuple):
    """What all attempts at a job have cost."""

    minutes: float
    """Wall-clock time."""
    cpu_minutes: float


class JobFolder:
    """Files below `path`: `runs/JOB/` (the run), and in the folder `notes` its log, its costs, its result or its error.

    A job is finished when `JOB.json` is there. Nothing appears under its name before it is complete.
    """

    def __init__(self, path: Path, notes: str = "cells") -> None:
        self.path, self.notes = path, path / notes

    def run(self, job: Name) -> Path:
        """The run folder."""
        return self.path / "runs" / str(job)

    def log(self, job: Name) -> Path:
        """What the job printed, all attempts after one another."""
        return self._file(job, "log")

    @contextmanager
    def claimed(self, job: Name) -> Iterator[IO[bytes] | None]:
        """The log of a job, locked and open to be added to; None if another process is at the job.

        A program whose output it is holds the lock as well. The system lifts it when the last of them has ended,
        however that came, so that no claim can outlive its process.
        """
        self.notes.mkdir(parents=True, exist_ok=True)
        with self.log(job).open("ab") as log:
            yield log if _locked(log) else None

    def record(self, job: Name) -> Record | None:
        """The result; None while there is none."""
        return _read(self._file(job, "json"))

    def finish(self, job: Name, record: Record) -> None:
        """Write the result."""
        _write(self._file(job, "json"), record)

    def failure(self, job: Name) -> str | None:
        """Why the job failed; None if it did not."""
        found = _read(self._file(job, "failed.json"))
        return None if found is None else str(found["error"])

    def fail(self, job: Name, error: str) -> None:
        """Note that the job failed; it is not tried again before `forgive`."""
        _write(self._file(job, "failed.json"), {"error": error})

    def forgive(self, job: Name) -> None:
        """Forget that the job failed."""
        self._file(job, "failed.json").unlink(missing_ok=True)

    def forget(self, job: Name) -> None:
        """Forget all about the job but its log."""
        for kind in ("json", "failed.json", "minutes.jsonl"):
            self._file(job, kind).unlink(missing_ok=True)

    def settled(self, job: Name) -> bool:
        """Whether there is nothing to do: the job is finished or failed."""
        return self._file(job, "json").is_file() or self._file(job, "failed.json").is_file()

    def spend(self, job: Name, spent: Spent) -> None:
        """Note what an attempt has cost, however it ended."""
        self.notes.mkdir(parents=True, exist_ok=True)
        with self._file(job, "minutes.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(spent) + "\n")

    def spent(self, job: Name) -> Spent | None:
        """What all attempts have cost; None if it is not known."""
        if not self._file(job, "minutes.jsonl").is_file():
            return None
        attempts = [
            json.loads(line) for line in self._file(job, "minutes.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        return Spent(*map(sum, zip(*attempts, strict=True)))

    def records(self, jobs: Iterable[AnyName]) -> dict[AnyName, Record]:
        """The results there are."""
        return {job: record for job in jobs if (record := self.record(job)) is not None}

    def failures(self, jobs: Iterable[AnyName]) -> dict[AnyName, str]:
        """The jobs that failed, and why."""
        return {job: error for job in jobs if (error := self.failure(job)) is not None}

    def _file(self, job: Name, kind: str) -> Path:
        return self.notes / f"{job}.{kind}"


def scores_file(run: Path, split: str) -> Path:
    """Where a run keeps the scores of a split."""
    return run / "evaluation" / split / "scores.json"


def scores(run: Path, split: str, weights: str = "ema") -> Mapping[str, Mapping[str, Any]]:
    """The scores of one set of weights by task, `segmentation` and `depth`, as far as the run was scored on them: none
    of camera motion or a scene model alone."""
    found: dict[str, Any] = json.loads(scores_file(run, split).read_text(encoding="utf-8"))["scores"].get(weights, {})
    return found


def _locked(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(path: Path, value: Record) -> None:
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _read(path: Path) -> Record | None:
    try:
        found: Record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found
