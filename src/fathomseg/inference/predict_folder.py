"""Predicting whole folders: which files there are, where results go, and doing them without stopping at bad ones.

Files are read ahead and results are written in threads, while the network predicts batches of pictures.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from fathomseg.errors import DataError, Problem
from fathomseg.inference.point_cloud import ImageCamera, PointCloud
from fathomseg.inference.predictor import Predictor
from fathomseg.inference.sources import Found
from fathomseg.inference.temporal import TemporalSmoother
from fathomseg.io import draw, images, video
from fathomseg.io.draw import Picture
from fathomseg.io.listing import VIDEOS, missing
from fathomseg.io.prefetch import ahead
from fathomseg.io.video_writer import VideoWriter
from fathomseg.tasks.base import Task
from fathomseg.types import Prediction, Size

A = TypeVar("A")

TOGETHER: Final = "together"
"""The folder of videos that show the pictures of all tasks side by side."""
POINTS: Final = "points"
"""The folder of point clouds."""
FRAME: Final = re.compile(r"\d{6,}")
"""What the results of a frame are called, but for their ending."""


@dataclass(frozen=True, slots=True)
class Goal:
    """Where the results of one task for one file go."""

    task: Task
    values: Path
    """A PNG, or for a video a folder with one per frame."""
    view: Path | None

    @property
    def done(self) -> bool:
        """Every file appears only when complete, a video's view last; without a view, each frame is looked at."""
        return self.view.exists() and self.values.exists() if self.view else self.values.is_file()


@dataclass(frozen=True, slots=True)
class Job:
    """One file to predict, and where the results of every task go."""

    source: Path
    goals: tuple[Goal, ...]
    together: Path | None = None
    """Of a video: where the views of all tasks go side by side, if there are several."""

    points: PointCloud | None = None
    """Of an image: where its point cloud goes, if one is wanted."""

    @property
    def is_video(self) -> bool:
        """Whether the source is a video, by its name."""
        return self.source.suffix.lower() in VIDEOS

    @property
    def steps(self) -> int:
        """Pictures in it; 0 for a video that will be reported as broken."""
        try:
            return video.video_index(self.source).frames if self.is_video else 1
        except DataError:
            return 0


def find_jobs(
    found: Found,
    out: Path,
    tasks: Mapping[str, Task],
    views: bool,
    image_camera: ImageCamera | None = None,
    max_depth: float | None = None,
) -> tuple[list[Job], list[Problem]]:
    """A job for every image and video, and names that would collide. With an `image_camera` images become point clouds
    as well, of what is no farther than `max_depth`."""
    jobs: dict[Path, Job] = {}
    like_frames: dict[Path, Job] = {}  # by folder an image in it that is called as a frame of a video
    problems = []
    for file in found.files:
        if not file.exists():
            problems.append(Problem(str(file), missing(file)))
            continue
        path, is_video = file.relative_to(found.root).with_suffix(""), file.suffix.lower() in VIDEOS
        # A folder comes before a video by its name, since files are sorted.
        if (same := jobs.get(path) or (like_frames.get(path) if is_video else None)) is not None:
            problems.append(Problem(str(file), f"has the same results as {same.source}; rename one of them"))
            continue
        values, view = ("", ".mp4") if is_video else (".png", ".jpg")
        goals = (
            Goal(
                task,
                _with(out / task.places.values / path, values),
                _with(out / task.places.views / path, view) if views else None,
            )
            for task in tasks.values()
        )
        several = views and view == ".mp4" and len(tasks) > 1
        points = _with(out / POINTS / path, ".ply")
        cloud = None if image_camera is None or view == ".mp4" else PointCloud(points, image_camera, max_depth)
        jobs[path] = Job(file, tuple(goals), _with(out / TOGETHER / path, view) if several else None, cloud)
        if not is_video and FRAME.fullmatch(path.name):
            like_frames.setdefault(path.parent, jobs[path])
    return list(jobs.values()), problems


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """The jobs that are not done, each with the tasks that are not; with all of them if their common view is not."""
    rest = []
    for job in jobs:
        if job.together is None or job.together.exists():
            job = replace(job, goals=tuple(goal for goal in job.goals if not goal.done), together=None)
        if job.points is not None and job.points.path.exists():
            job = replace(job, points=None)
        rest += [job] if job.goals or job.points else []
    return rest


@dataclass
class Work:
    """Predicts files with a network, all tasks of a picture from one pass."""

    predictor: Predictor
    batch: int = 1
    """Pictures that go through the network at once."""
    overwrite: bool = False
    """Whether frames that are there already are predicted again."""
    tick: Callable[[], None] = lambda: None
    """Called after each image and frame."""
    smooth: float = 0.0
    """Of videos: how much depth keeps from one frame to the next (`TemporalSmoother`)."""
    problems: list[Problem] = field(default_factory=list, init=False)
    """What could not be read so far."""
    predicted: int = field(default=0, init=False)
    """Images and frames predicted so far."""

    def do(self, jobs: Sequence[Job]) -> None:
        """Do all jobs: images first, those of one size together."""

        def write(item: tuple[Job, Picture, Prediction]) -> None:
            job, picture, prediction = item
            for goal in job.goals:
                goal.task.write(goal.values, prediction, self.predictor.card.known_classes)
                if goal.view is not None:
                    draw.write(goal.view, self._painter(goal)(picture, prediction))
            if job.points is not None:
                job.points.write(picture, prediction, self.predictor.card)

        stills, sizes = by_size(jobs)
        large = {job.source for job in stills if math.prod(sizes[job.source]) > images.LARGE_PIXELS}
        usual = (job for job in stills if job.source not in large)
        self._write_all(write, self._predictions(usual, self._read, 4), threads=2)
        for job in stills:
            if job.source in large:  # one is in memory at a time
                one = self._predictions([job], self._read, 1)
                self._write_all(write, one, threads=1)
        for job in jobs:
            if job.is_video:
                self._do_video(job)

    def _read(self, job: Job) -> Picture:
        return images.read_rgb(job.source, self.predictor.card.bits)

    def _do_video(self, job: Job) -> None:
        """Predict a video; damaged frames are left out."""
        try:
            frames, rate = video.video_index(job.source).frames, video.frame_rate(job.source)
        except DataError as error:
            self.problems += error.problems
            return
        with ExitStack() as stack:
            painters = {goal.view: self._painter(goal) for goal in job.goals if goal.view is not None}
            places = [*painters, *([job.together] if job.together else [])]
            writers = {place: stack.enter_context(VideoWriter(place, rate)) for place in places}

            def needed(goal: Goal, frame: int) -> bool:
                # A smoothed frame depends on those before it: a video that was interrupted begins anew.
                again = self.overwrite or goal.view is not None or self.smooth > 0
                return again or not _frame(goal, frame).exists()

            smoother = TemporalSmoother(self.smooth)

            def write(item: tuple[int, Picture, Prediction]) -> None:
                frame, picture, prediction = item
                prediction = smoother(picture, prediction)
                for goal in job.goals:
                    if needed(goal, frame):
                        goal.task.write(_frame(goal, frame), prediction, self.predictor.card.known_classes)
                painted = {view: paint(picture, prediction) for view, paint in painters.items()}
                for view, seen in painted.items():
                    writers[view].add(seen)
                if job.together is not None:
                    writers[job.together].add(draw.beside(list(painted.values())))

            todo = [frame for frame in range(frames) if any(needed(goal, frame) for goal in job.goals)]
            for _ in range(frames - len(todo)):
                self.tick()
            # One thread each for reading and writing: the frames of a video come in order.
            self._write_all(write, self._predictions(todo, lambda frame: video.read_frame(job.source, frame), 1), 1)

    def _predictions(
        self, items: Iterable[A], read: Callable[[A], Picture], threads: int
    ) -> Iterator[tuple[A, Picture, Prediction]]:
        """What can be read, in order, with its picture and prediction."""
        readable = self._pictures(items, read, threads)
        while chunk := list(islice(readable, self.batch)):
            predictions = self.predictor.predict_batch([picture for _, picture in chunk])
            self.predicted += len(chunk)
            for (item, picture), prediction in zip(chunk, predictions, strict=True):
                yield item, picture, prediction

    def _pictures(self, items: Iterable[A], read: Callable[[A], Picture], threads: int) -> Iterator[tuple[A, Picture]]:
        for item, reading in ahead(read, items, threads, max(self.batch, 2 * threads)):
            try:
                yield item, reading.result()
            except DataError as error:
                self.problems += error.problems
                self.tick()

    def _write_all(self, write: Callable[[A], None], items: Iterator[A], threads: int) -> None:
        """Write what `items` gives, while it goes on predicting."""
        for _, writing in ahead(write, items, threads):
            try:
                writing.result()
            except DataError as error:
                self.problems += error.problems
            self.tick()

    def _painter(self, goal: Goal) -> Callable[[Picture, Prediction], Picture]:
        return goal.task.viewer(self.predictor.card.known_classes)


def by_size(jobs: Iterable[Job]) -> tuple[list[Job], dict[Path, Size]]:
    """The images, those of one size together, so that they can go through the network at once; and their sizes.

    By their headers; a file that cannot be read has the size (0, 0), and reading it will say why.
    """
    sizes: dict[Path, Size] = {}
    stills = [job for job in jobs if not job.is_video]
    for job in stills:
        with suppress(DataError):
            sizes[job.source] = images.image_size(job.source)
        sizes.setdefault(job.source, (0, 0))
    return sorted(stills, key=lambda job: sizes[job.source]), sizes


def _frame(goal: Goal, frame: int) -> Path:
    return goal.values / f"{frame:06d}.png"


def _with(path: Path, suffix: str) -> Path:
    """`path` with an ending added; with_suffix would cut the name "frame.0001"."""
    return path.with_name(path.name + suffix)
