"""Which frames of a video to learn depth from: neighbours far enough apart that the camera has really moved.

At 30 frames per second neighbours are almost equal, and a standing or merely turning camera shows no parallax; learning
from such frames teaches nothing or harm. The apparent motion between two frames is measured on small grey copies by
dense optical flow. Their histograms are equalised first, so that a change of exposure is no motion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, Literal

import cv2
import numpy as np
from jaxtyping import Float64, UInt8
from pydantic import Field, Tag

from fathomseg.config import Part, by_name
from fathomseg.data.datasets.base import Dataset
from fathomseg.types import Camera

_WIDTH: Final = 160
_LEAST_HEIGHT: Final = 32
_GRID: Final = 4
"""Every how many pixels the flow is looked at."""
_SOFTNESS_PX: Final = 0.1
"""Shorter flow than this does not weigh more and more where a rotation is sought."""
_FOCAL: Final = 0.8
"""Focal length as a share of the width where no camera is known: a field of view of 64 degrees."""


Picture = Callable[[str], UInt8[np.ndarray, "h w 3"]]
"""The image of an id, perhaps resized, perhaps from a cache."""


@dataclass(frozen=True, slots=True)
class Triplet:
    """A frame and the two it is learned from, by their ids."""

    target: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Motion:
    """Apparent motion between two frames, as shares of the image's width."""

    displacement: float
    """Median length of the optical flow."""
    parallax: float
    """Median length of what is left of it after taking out the best rotation of the camera."""


class MotionFilter(Part):
    """Chooses for each frame one before and one after it, about one wanted displacement away."""

    name: Literal["motion"] = "motion"
    displacement: float = Field(default=0.015, gt=0, lt=1)
    """The wanted median displacement as a share of the width. KITTI's neighbours, at 10 Hz, have 0.01 to 0.02."""
    min_parallax: float = Field(default=0.001, ge=0, lt=1)
    """A pair with less parallax (share of the width) is of no use: the camera stands still, or only turns.

    Noise, changes of exposure and turns of up to 3 degrees were seen to reach 0.0008; 10 cm of driving show 0.001 to
    0.004.
    """
    max_step: int = Field(default=6, ge=1)
    """How many frames apart the frames of a pair may be."""

    def triplets(
        self, dataset: Dataset, ids: Sequence[str], tick: Callable[[], None] = lambda: None, read: Picture | None = None
    ) -> list[Triplet]:
        """The usable frames among `ids` (of one clip or several, each in the order of time), with their neighbours.

        The two sides are chosen independently, since speed changes; a frame that lacks either is left out. Frames that
        are not among `ids` are never looked at. The result depends on nothing but the images, which come from `read`
        or else from the dataset. Raises `DataError` for images that cannot be read.
        """
        picture, there = read or dataset.image, set(ids)
        small = lru_cache(maxsize=2 * self.max_step + 2)(lambda id: thumbnail(picture(id)))

        @lru_cache(maxsize=4 * self.max_step**2)
        def motion(before: str, after: str) -> Motion:
            return apparent_motion(small(before), small(after), dataset.camera(before))

        found = []
        for id in ids:
            before = self._neighbour(dataset, there, id, -1, motion)
            after = None if before is None else self._neighbour(dataset, there, id, 1, motion)
            if before is not None and after is not None:
                found.append(Triplet(id, before, after))
            tick()
        return found

    def _neighbour(
        self, dataset: Dataset, there: Set[str], id: str, way: int, motion: Callable[[str, str], Motion]
    ) -> str | None:
        """The frame on one side whose displacement is nearest the wanted one, if there is parallax to it."""
        best, least = None, np.inf
        for step in range(1, self.max_step + 1):
            other = dataset.neighbour(id, way * step)
            if other is None or other not in there:
                continue  # the end of the clip, or a gap in it
            seen = motion(id, other) if way > 0 else motion(other, id)
            miss = abs(seen.displacement - self.displacement)
            if seen.parallax >= self.min_parallax and miss < least:
                best, least = other, miss
            if seen.displacement >= self.displacement:
                break  # frames beyond are further away still
        return best


class FixedStep(Part):
    """The frames a fixed number of steps before and after, whether the camera moved or not: the papers' choice."""

    name: Literal["fixed"] = "fixed"
    step: int = Field(default=1, ge=1)
    """How many frames apart."""

    def triplets(
        self, dataset: Dataset, ids: Sequence[str], tick: Callable[[], None] = lambda: None, read: Picture | None = None
    ) -> list[Triplet]:
        """The frames among `ids` whose two neighbours are among them too; no image is read."""
        there = set(ids)
        found = []
        for id in ids:
            before, after = dataset.neighbour(id, -self.step), dataset.neighbour(id, self.step)
            if before in there and after in there and before is not None and after is not None:
                found.append(Triplet(id, before, after))
            tick()
        return found


AnyFrames = Annotated[Annotated[MotionFilter, Tag("motion")] | Annotated[FixedStep, Tag("fixed")], by_name("motion")]
"""Every way to choose frames; `motion` if nothing is said, so that one of its settings can be given by itself."""


def thumbnail(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 160"]:
    """A grey copy 160 pixels wide with its histogram equalised: the same for every monotone change of brightness."""
    height = max(_LEAST_HEIGHT, round(_WIDTH * image.shape[0] / image.shape[1]))
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (_WIDTH, height), interpolation=cv2.INTER_AREA)
    equalised: UInt8[np.ndarray, "h2 160"] = cv2.equalizeHist(small)
    return equalised


def apparent_motion(
    before: UInt8[np.ndarray, "h w"], after: UInt8[np.ndarray, "h w"], camera: Camera | None = None
) -> Motion:
    """The motion between two thumbnails, by the flow of Kroeger et al. (ECCV 2016).

    `camera` (of the stored image) serves to tell turning from parallax; without one, 64 degrees are assumed. The
    median lets moving objects cover almost half of the image.
    """
    if np.array_equal(before, after):
        return Motion(0.0, 0.0)  # a repeated frame, as in recordings of a slower camera
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    search.setFinestScale(0)  # the preset stops at a quarter of the size, where turning seems to have parallax
    height, width = before.shape
    v, u = np.mgrid[_GRID // 2 : height : _GRID, _GRID // 2 : width : _GRID].reshape(2, -1)
    flow = search.calc(np.ascontiguousarray(before), np.ascontiguousarray(after), None)[v, u].astype(np.float64)
    assumed = Camera(_FOCAL * width, _FOCAL * width, (width - 1) / 2, (height - 1) / 2, height, width)
    lens = assumed if camera is None else camera.resized((height, width))
    middle = np.stack([u, v], axis=1) + flow / 2  # seen from halfway, turning has no terms of second order
    rest = without_rotation(flow, rotation_flow(lens, middle))
    return Motion(_median_length(flow) / width, _median_length(rest) / width)


def without_rotation(
    flow: Float64[np.ndarray, "n 2"], basis: Float64[np.ndarray, "n 2 3"], rounds: int = 5
) -> Float64[np.ndarray, "n 2"]:
    """The flow less the rotation that leaves the least sum of lengths (iteratively reweighted least squares).

    Least lengths, not squares: most of the motion of near things is to stay, and far things show the rotation.
    """
    columns = basis.reshape(-1, 3)
    rest = flow
    weight = np.ones(len(flow))
    for _ in range(rounds):
        weighted = columns * np.repeat(weight, 2)[:, None]
        turn = np.linalg.solve(weighted.T @ columns + 1e-9 * np.eye(3), weighted.T @ flow.reshape(-1))
        rest = flow - (columns @ turn).reshape(-1, 2)
        weight = 1 / (np.hypot(rest[:, 0], rest[:, 1]) + _SOFTNESS_PX)
    return rest


def rotation_flow(camera: Camera, points: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2 3"]:
    """The flow at points (u, v), in pixels, of turning about x, y and z by a radian (Longuet-Higgins, Prazdny 1980)."""
    x, y = (points[:, 0] - camera.cx) / camera.fx, (points[:, 1] - camera.cy) / camera.fy
    horizontal = camera.fx * np.stack([x * y, -(1 + x * x), y], axis=1)
    vertical = camera.fy * np.stack([1 + y * y, -x * y, -x], axis=1)
    return np.stack([horizontal, vertical], axis=1)


def _median_length(flow: Float64[np.ndarray, "n 2"]) -> float:
    return float(np.median(np.hypot(flow[:, 0], flow[:, 1])))
