"""Predicting a folder by several processes, each with the network loaded; each writes what it has predicted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from fathomseg.errors import Problem
from fathomseg.inference.card import Weights
from fathomseg.inference.predict_folder import Job, Work, by_size
from fathomseg.inference.predictor import load
from fathomseg.inference.settings import Inference
from fathomseg.parallel.base import Team, spread

_BATCHES: Final = 4
"""Batches of images that are given to a process at once."""


class PredictWorker:
    """A network in one of the processes."""

    def __init__(
        self,
        run: Path,
        weights: Weights,
        device: str | None,
        inference: Inference,
        tasks: Collection[str] | None,
        batch: int | None,
        overwrite: bool,
        smooth: float = 0.0,
        bits: int | None = None,
    ) -> None:
        self.predictor = load(run, weights, device, inference, tasks).with_bits(bits)
        self.batch, self.overwrite = batch or self.predictor.batch, overwrite
        self.smooth = smooth

    def do(self, jobs: Sequence[Job]) -> tuple[int, list[Problem]]:
        """Do some jobs: how many pictures were predicted, and what could not be read."""
        work = Work(self.predictor, self.batch, self.overwrite, smooth=self.smooth)
        work.do(jobs)
        return work.predicted, work.problems


def do_by(
    team: Team, jobs: Sequence[Job], batch: int, arguments: tuple[object, ...], tick: Callable[[], None]
) -> tuple[int, list[Problem]]:
    """Do all jobs by a team of `PredictWorker(*arguments)`, who share out the images in whole batches, and videos."""
    predicted, problems = 0, list[Problem]()
    with team.of(PredictWorker, *arguments) as actors:
        for part, (count, found) in spread(actors, "do", _parts(jobs, _BATCHES * batch)):
            predicted += count
            problems += found
            for job in part:
                for _ in range(job.steps):
                    tick()
    return predicted, sorted(problems, key=str)


def _parts(jobs: Sequence[Job], images: int) -> Iterator[list[Job]]:
    """Videos one by one, as they take longest; then images, so many together, of one size if possible."""
    yield from ([job] for job in jobs if job.is_video)
    stills, _ = by_size(jobs)
    yield from (stills[start : start + images] for start in range(0, len(stills), images))
