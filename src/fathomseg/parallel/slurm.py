"""Trainings of a study as jobs of Slurm, one each, through submitit.

The limits of a job are given to `sbatch` by its own variables: SBATCH_TIMELIMIT, SBATCH_PARTITION, SBATCH_ACCOUNT,
SBATCH_MEM_PER_NODE ... One that reaches its time limit or is preempted is queued again and goes on from its checkpoint.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import submitit

from fathomseg.errors import FathomError
from fathomseg.parallel.base import RETRIES, Actor, Engine, LostError

_LIMIT: Final = "SBATCH_TIMELIMIT"
_QUEUED_AGAIN: Final = 1000
"""How often a job may reach its time limit: each time it has come further."""
_LOOK_S: Final = 1.0


class SlurmEngine(Engine):
    """Jobs alone: their objects are made anew for each call."""

    name = "slurm"
    gpus = 0

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: where submitit keeps its files, on a disk that all nodes see.

        Raises `FathomError` if there is no Slurm here, or no time limit is given.
        """
        if shutil.which("sbatch") is None:
            raise FathomError("--engine slurm: there is no sbatch here. Start it where jobs are submitted.")
        if _LIMIT not in os.environ:  # submitit would ask for five minutes
            raise FathomError(f"--engine slurm needs the time limit of a training, such as: export {_LIMIT}=4:00:00")
        self._folder = folder or Path(".submitit")
        self._jobs: list[SlurmJob] = []

    def room(self, gpus: float) -> int:
        """Slurm has a queue of its own."""
        return 1000

    def job_share(self, asked: float | None) -> float:
        """1 or 0, which must be asked for. Raises `FathomError`."""
        if asked is None or asked not in (0, 1):
            why = "has nodes that are not known here" if asked is None else "gives whole GPUs, and a training uses one"
            raise FathomError(f"--engine slurm {why}. Give --gpus 1, or --gpus 0 for trainings on CPUs.")
        return asked

    def actor(self, make: Callable[..., object], *arguments: Any, gpus: float = 0, retries: int = RETRIES) -> Actor:
        """Slurm holds no actors. Raises `FathomError`."""
        raise FathomError("--engine slurm is for the trainings of `fathom study`; start Ray inside a job of Slurm.")

    def job(self, make: Callable[..., object], *arguments: Any, gpus: float = 0) -> Actor:
        """A job for each call of `run`; any other call cancels it, upon which it saves."""
        executor = submitit.AutoExecutor(self._folder, cluster="slurm", slurm_max_num_timeout=_QUEUED_AGAIN)
        executor.update_parameters(name="fathom", gpus_per_node=int(gpus), tasks_per_node=1)
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
        self._cancelled = False
        self._waiting = ThreadPoolExecutor(1)

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        """Submit the job, or cancel it if the method is not `run`."""
        if method == "run":
            self._job = self._executor.submit(_Remote(self._make, self._arguments))
            return self._waiting.submit(self._result)
        self._cancelled = True
        self._job.cancel(check=False)
        done: Future[Any] = Future()
        done.set_result(None)
        return done

    def close(self) -> None:
        """What waits for the job ends with it."""
        self._waiting.shutdown(wait=False)

    def _result(self) -> Any:
        # Slurm is asked how a job is now and then; of one that was cancelled in its queue nothing else tells.
        while not self._job.done(force_check=self._cancelled):
            time.sleep(_LOOK_S)
        try:
            return self._job.result()
        except Exception:
            raise LostError(f"Job {self._job.job_id} of Slurm was lost; its log: {self._job.paths.stderr}") from None


class _Remote:
    """What a job runs."""

    def __init__(self, make: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.make, self.arguments = make, arguments

    def __call__(self) -> Any:
        return self.make(*self.arguments, {}).run()  # type: ignore[attr-defined]

    def checkpoint(self) -> Any:
        """Called by submitit before the time is up or the job is preempted: the same again, later."""
        return submitit.helpers.DelayedSubmission(self)
