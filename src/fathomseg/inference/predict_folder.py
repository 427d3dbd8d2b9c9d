"""Predicting whole folders: which files there are, where results go, and doing them one by one without stopping."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from rich.console import Console
from rich.progress import Progress

from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io import draw, images, video
from fathomseg.io.prefetch import ahead
from fathomseg.io.video_writer import VideoWriter


@dataclass(frozen=True, slots=True)
class Places:
    """Where results go: folders below OUT for the predicted numbers and for the pictures to look at."""

    values: str
    views: str


@dataclass(frozen=True, slots=True)
class Job:
    """One file to predict, and where the results go."""

    source: Path
    values: Path
    """A PNG, or for a video a folder of one a frame."""
    view: Path | None

    @property
    def is_video(self) -> bool:
        """Whether the source is a video, by its name."""
        return self.source.suffix.lower() in video.VIDEOS

    @property
    def done(self) -> bool:
        """Every file appears only when complete, the view last; of a video without one, each frame is looked at."""
        return self.view.exists() and self.values.exists() if self.view else self.values.is_file()


@runtime_checkable
class Result(Protocol):
    """The prediction for one picture."""

    def write(self, path: Path) -> None:
        """Write the predicted numbers as a PNG."""

    def view(self) -> UInt8[np.ndarray, "h w 3"]:
        """The prediction as a picture to look at."""


@runtime_checkable
class Worker(Protocol):
    """What is done to the pictures."""

    def begin(self) -> None:
        """Called before the first picture of each file."""

    def predict(self, picture: UInt8[np.ndarray, "h w 3"]) -> Result:
        """The prediction for one RGB picture; those of a video come in order."""


def find_jobs(source: Path, out: Path, places: Places, view: bool) -> tuple[list[Job], list[Problem]]:
    """Every image and video in `source` (itself, or below it but not below `out`), and names that would collide."""
    if not source.exists():
        raise FathomError(f"There is no file or folder {source}. Give an image, a video or a folder of them.")
    known = images.SUFFIXES | video.VIDEOS
    found = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    files = [path for path in found if path.suffix.lower() in known and out.resolve() not in path.resolve().parents]
    if not files:
        what = f"has the ending {source.suffix!r}" if source.is_file() else "holds no image and no video"
        raise FathomError(f"{source} {what}. Known endings: {' '.join(sorted(known))}")
    root = source.parent if source.is_file() else source
    jobs: dict[Path, Job] = {}
    problems = []
    for file in files:
        path = file.relative_to(root).with_suffix("")
        if path in jobs:
            problems.append(Problem(str(file), f"has the same results as {jobs[path].source}; rename one of them"))
            continue
        values, seen = out / places.values / path, out / places.views / path
        if file.suffix.lower() in video.VIDEOS:
            jobs[path] = Job(file, values, _with(seen, ".mp4") if view else None)
        else:
            jobs[path] = Job(file, _with(values, ".png"), _with(seen, ".jpg") if view else None)
    return list(jobs.values()), problems


def work_off(
    jobs: Sequence[Job], problems: Sequence[Problem], worker: Worker, out: str, overwrite: bool, doing: str, done: str
) -> int:
    """Do what is not done yet, with a progress bar on a terminal, and sum up; returns 1 if there are problems, else 0.

    `doing` and `done` name the work: "segmenting", "segmented".
    """
    todo = [job for job in jobs if overwrite or not job.done]
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(doing, total=sum(_steps(job) for job in todo))
        problems = [*problems, *do_jobs(todo, worker, overwrite, lambda: bar.advance(task))]
    lines = [f"{len(todo)} files {done} into {out}"]
    lines[0] += f"; {len(jobs) - len(todo)} were there already." if len(jobs) > len(todo) else "."
    if problems:
        lines = [f"{len(todo)} files tried, results in {out}.", f"{len(problems)} could not be used:"]
        lines += [f"  {problem}" for problem in problems]
    console.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)
    return 1 if problems else 0


def do_jobs(
    jobs: Sequence[Job], worker: Worker, overwrite: bool = False, tick: Callable[[], None] = lambda: None
) -> list[Problem]:
    """Do all jobs, images first; returns what could not be read. `tick` is called after each image and frame."""
    problems: list[Problem] = []
    for job, read in ahead(lambda job: images.read_rgb(job.source), [job for job in jobs if not job.is_video]):
        try:
            picture = read.result()
        except DataError as error:
            problems += error.problems
        else:
            worker.begin()
            result = worker.predict(picture)
            result.write(job.values)
            if job.view is not None:
                draw.write(job.view, result.view())
        tick()
    for job in jobs:
        if job.is_video:
            worker.begin()
            problems += _do_video(job, worker, overwrite, tick)
    return problems


def _do_video(job: Job, worker: Worker, overwrite: bool, tick: Callable[[], None]) -> Iterator[Problem]:
    """Predict a video frame by frame; damaged frames are left out."""
    try:
        frames, rate = video.video_index(job.source).frames, video.frame_rate(job.source)
    except DataError as error:
        yield from error.problems
        return
    with VideoWriter(job.view, rate) if job.view else nullcontext() as writer:
        for frame in range(frames):
            values = job.values / f"{frame:06d}.png"
            if writer is not None or overwrite or not values.exists():
                try:
                    picture = video.read_frame(job.source, frame)
                except DataError as error:
                    yield from error.problems
                    continue
                result = worker.predict(picture)
                result.write(values)
                if writer is not None:
                    writer.add(result.view())
            tick()


def _steps(job: Job) -> int:
    """Pictures in a job; 0 for a video that will be reported as broken."""
    try:
        return video.video_index(job.source).frames if job.is_video else 1
    except DataError:
        return 0


def _with(path: Path, suffix: str) -> Path:
    """`path` with an ending added; with_suffix would cut the name "frame.0001"."""
    return path.with_name(path.name + suffix)
