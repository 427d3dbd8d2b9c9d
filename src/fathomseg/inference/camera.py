"""Predicting what a camera of this machine sees, picture by picture, until it ends, a limit, or Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import cv2
import numpy as np

from fathomseg.errors import FathomError
from fathomseg.inference.predict_folder import Goal
from fathomseg.inference.predictor import Predictor
from fathomseg.inference.temporal import TemporalSmoother
from fathomseg.io.draw import Picture
from fathomseg.io.prefetch import ahead
from fathomseg.io.video_writer import VideoWriter
from fathomseg.tasks.base import Task
from fathomseg.types import Prediction

_FASTEST: Final = 60.0
"""Frames per second of the videos that are written, at most."""
_TIMED: Final = 9
"""Pictures from which the frame rate of a video is measured."""


@contextmanager
def pictures(number: int) -> Iterator[Iterator[Picture]]:
    """The pictures of a camera, RGB, as they come. Raises `FathomError` if there is no such camera."""
    capture: Any = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise FathomError(f"There is no camera {number}, or another program uses it. Cameras are numbered from 0.")
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not one that has waited
        yield _read(capture)
    finally:
        capture.release()


def _read(capture: Any) -> Iterator[Picture]:
    while (found := capture.read())[0]:
        picture: Picture = np.asarray(cv2.cvtColor(found[1], cv2.COLOR_BGR2RGB))
        yield picture


def goals_of(number: int, out: Path, tasks: Mapping[str, Task], views: bool, now: datetime) -> tuple[Goal, ...]:
    """Where the results go: as those of a video that is called by the camera and the time."""
    name = f"camera{number}-{now:%Y%m%d-%H%M%S}"
    return tuple(
        Goal(task, out / task.places.values / name, out / task.places.views / f"{name}.mp4" if views else None)
        for task in tasks.values()
    )


def predict_camera(
    predictor: Predictor, seen: Iterator[Picture], goals: tuple[Goal, ...], limit: int | None, smooth: float
) -> tuple[int, float]:
    """Predict the pictures as they come, at most `limit`, and write the results meanwhile; how many, and in how many
    seconds.

    Ctrl-C ends it, and what was written until then is kept.
    """
    smoother, classes, count = TemporalSmoother(smooth), predictor.card.known_classes, 0
    painters = {goal: goal.task.viewer(classes) for goal in goals if goal.view is not None}
    began = time.perf_counter()
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        views = {goal: goal.view for goal in painters if goal.view is not None}
        writers = {goal: stack.enter_context(_AtItsPace(view)) for goal, view in views.items()}

        def write(item: tuple[Picture, Prediction]) -> None:
            nonlocal count
            picture, prediction = item[0], smoother(*item)
            for goal in goals:
                goal.task.write(goal.values / f"{count:06d}.png", prediction, classes)
                if goal in writers:
                    writers[goal].add(painters[goal](picture, prediction))
            count += 1

        def predicted() -> Iterator[tuple[Picture, Prediction]]:
            with suppress(KeyboardInterrupt):  # what is predicted already is written
                for picture in islice(seen, limit):
                    yield picture, predictor.predict_batch([picture])[0]

        for _, writing in ahead(write, predicted(), threads=1):
            writing.result()
    return count, time.perf_counter() - began


class _AtItsPace:
    """A video that runs as fast as its first pictures came, which are held until then. What came before the first, a
    camera that starts and a network that has not run yet, does not count."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: list[Picture] = []
        self._times: list[float] = []
        self._open = ExitStack()
        self._writer: VideoWriter | None = None

    def __enter__(self) -> _AtItsPace:
        return self

    def add(self, picture: Picture) -> None:
        """Append a picture that has just come."""
        if self._writer is not None:
            self._writer.add(picture)
            return
        self._held.append(picture)
        self._times.append(time.perf_counter())
        if len(self._held) == _TIMED:
            self._begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._open.__exit__(kind, error, trace)
            return
        with self._open:
            if self._writer is None and self._held:
                self._begin()

    def _begin(self) -> None:
        seconds = float(np.median(np.diff(self._times))) if len(self._times) > 1 else 1.0
        pace = Fraction(min(max(1 / max(seconds, 1e-3), 1.0), _FASTEST)).limit_denominator(100)
        self._writer = self._open.enter_context(VideoWriter(self._path, pace))
        for picture in self._held:
            self._writer.add(picture)
        self._held.clear()
