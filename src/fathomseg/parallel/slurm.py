"""Trainings of a study as jobs of Slurm, one each, through submitit.

Partition, account, time and memory are given to `sbatch` by its own variables: SBATCH_PARTITION, SBATCH_ACCOUNT,
SBATCH_TIMELIMIT, SBATCH_MEM_PER_NODE ... A job that reaches its time limit or is preempted saves and is queued again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import submitit

from fathomseg.errors import FathomError
from fathomseg.parallel.base import RETRIES, Actor, Engine, LostError


class SlurmEngine(Engine):
    """Jobs alone: their objects are made anew for each call."""

    name = "slurm"
    gpus = 0

    def __init__(self, folder: Path | None = None, cluster: str = "slurm") -> None:
        """`folder`: where submitit keeps its files, on a disk that all nodes see; `cluster`: for tests, `local`.

        Raises `FathomError` if there is no Slurm here.
        """
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise FathomError("--engine slurm: there is no sbatch here. Start it where jobs are submitted.")
        self._folder, self._cluster = folder or Path(".submitit"), cluster
        self._jobs: list[SlurmJob] = []

    def room(self, gpus: float) -> int:
        """Slurm has a queue of its own."""
        return 1000

    def actor(self, make: Callable[..., object], *arguments: Any, gpus: float = 0, retries: int = RETRIES) -> Actor:
        """Slurm holds no actors. Raises `FathomError`."""
        raise FathomError("--engine slurm is for the trainings of `fathom study`; start Ray inside a job of Slurm.")

    def job(self, make: Callable[..., object], *arguments: Any, gpus: float = 0, retries: int = RETRIES) -> Actor:
        """A job for each call of `run`; any other call cancels it, upon which it saves."""
        executor = submitit.AutoExecutor(self._folder, cluster=self._cluster, slurm_max_num_timeout=retries)
        executor.update_parameters(name="fathom", gpus_per_node=int(gpus) if gpus >= 1 else 0, tasks_per_node=1)
        job = SlurmJob(executor, make, arguments)
        self._jobs.append(job)
        return job

    def close(self) -> None:
        """Nothing is held."""
        for job in self._jobs:
            job.close()


class SlurmJob(Actor):
    """A job, submitted by the call of its method `run`."""

    def __init__(self, executor: Any, make: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._executor, self._make, self._arguments = executor, make, arguments
        self._job: Any = None
        self._waiting = ThreadPoolExecutor(1)

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        """Submit the job, or cancel it if the method is not `run`."""
        found: Future[Any] = Future()
        if method != "run":
            if self._job is not None:
                self._job.cancel(check=False)
            found.set_result(None)
            return found
        self._job = self._executor.submit(_Remote(self._make, self._arguments))
        return self._waiting.submit(_result, self._job)

    def close(self) -> None:
        """What waits for the job ends with it."""
        self._waiting.shutdown(wait=False)


class _Remote:
    """What a job runs."""

    def __init__(self, make: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.make, self.arguments = make, arguments

    def __call__(self) -> Any:
        return self.make(*self.arguments, {}).run()  # type: ignore[attr-defined]

    def checkpoint(self) -> Any:
        """Called by submitit before the time is up or the job is preempted: the same again, later."""
        return submitit.helpers.DelayedSubmission(self)


def _result(job: Any) -> Any:
    try:
        return job.result()
    except Exception as error:
        raise LostError(f"The job {job.job_id} of Slurm was lost: {str(error).splitlines()[0]}") from None
