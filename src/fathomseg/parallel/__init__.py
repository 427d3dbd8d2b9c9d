"""Work beside other work: objects that live in other processes, of this machine or of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, get_args

from fathomseg.errors import FathomError
from fathomseg.io.progress import say
from fathomseg.parallel.base import Engine, Team

EngineName = Literal["local", "ray", "slurm"]

MISSING: Final = "--engine {name} needs the package {package}: pip install 'fathomseg[cluster]'"


@contextmanager
def open_team(name: str, workers: int) -> Iterator[Team | None]:
    """So many actors of an engine for work that is done in batches; None where this process does it alone.

    Raises `FathomError` if the engine cannot be had, or is for whole trainings alone.
    """
    if name == "slurm":
        raise FathomError("--engine slurm is for the trainings of `fathom study`; start Ray inside a job of Slurm.")
    if name == "local" and workers == 1:
        yield None
        return
    with open_engine(name) as engine:
        size = engine.crew_size(workers)
        if size < workers:
            say(f"--workers {workers}: the cluster has room for {size}, a processor each, so {size} share the work.")
        yield Team(engine, size)


def open_engine(name: str, files: Path | None = None) -> Engine:
    """The engine of this name; close it, or use it in `with`. `files`: the folder where Slurm's jobs keep theirs.

    Raises `FathomError` if it cannot be had.
    """
    # Each is imported here alone, since most commands need none of them.
    if name == "local":
        from fathomseg.parallel.local import LocalEngine

        return LocalEngine()
    if name not in get_args(EngineName):
        raise FathomError(f"There is no engine {name!r}; choose from {', '.join(get_args(EngineName))}.")
    try:
        if name == "ray":
            from fathomseg.parallel.on_ray import RayEngine

            return RayEngine()
        from fathomseg.parallel.slurm import SlurmEngine

        return SlurmEngine(files)
    except ModuleNotFoundError as error:
        if error.name not in ("ray", "submitit"):
            raise
        raise FathomError(MISSING.format(name=name, package=error.name)) from None
