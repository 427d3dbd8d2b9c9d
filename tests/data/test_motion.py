"""Choosing neighbours by apparent motion: on generated drives with exact poses, standing still, turning, exposure."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.kitti import Kitti
from fathomseg.data.datasets.streets import Streets
from fathomseg.data.motion import MotionFilter, Triplet, apparent_motion, rotation_flow, thumbnail, without_rotation
from fathomseg.types import Camera, ClassList

SIZE = (96, 256)


class Film(Dataset):
    """Images given one by one; frame "c/00i" shows `images[i]`, and numbers may be missing."""

    name: Literal["film"] = "film"

    def __init__(self, images: Mapping[int, np.ndarray] | Sequence[np.ndarray], camera: Camera | None = None) -> None:
        super().__init__()
        numbered = images if isinstance(images, Mapping) else dict(enumerate(images))
        self.__dict__["_images"] = {f"c/{i:03d}": image for i, image in numbered.items()}
        self.__dict__["_camera"] = camera
        self.__dict__["reads"] = []

    @property
    def classes(self) -> ClassList:
        return ClassList(("a", "b"), ((0, 0, 0), (1, 1, 1)))

    @property
    def splits(self) -> tuple[str, ...]:
        return ("all",)

    def ids(self, split: str) -> Sequence[str]:
        return sorted(self._images)

    def image(self, id: str) -> np.ndarray:
        self.reads.append(id)
        return self._images[id]

    def camera(self, id: str) -> Camera | None:
        return self._camera

    def neighbour(self, id: str, offset: int) -> str | None:
        other = f"c/{int(id[2:]) + offset:03d}"
        return other if other in self._images else None


def streets(step: float, frames: int) -> Streets:
    return Streets(size=SIZE, train_clips=1, frames=frames, step=step)


@cache
def shot(step: float, frame: int) -> np.ndarray:
    """A frame of the drive of this step, rendered once for all tests."""
    return streets(step, 99).image(f"train/0000/{frame:06d}")


def frames_of(step: float, frames: int) -> tuple[list[np.ndarray], Camera]:
    return [shot(step, frame) for frame in range(frames)], streets(step, frames).camera("train/0000/000000")


def noisy(image: np.ndarray, seed: int, sigma: float = 4.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def exposed(image: np.ndarray, gain: float, gamma: float) -> np.ndarray:
    return (255 * (np.clip(image * gain, 0, 255) / 255) ** gamma).astype(np.uint8)


def turned(image: np.ndarray, camera: Camera, yaw: float, pitch: float) -> np.ndarray:
    """The view after turning the camera: the homography K R K^-1."""
    r = cv2.Rodrigues(np.array([0.0, yaw, 0.0]))[0] @ cv2.Rodrigues(np.array([pitch, 0.0, 0.0]))[0]
    k = camera.matrix()
    return cv2.warpPerspective(
        image, k @ r @ np.linalg.inv(k), image.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )


def gaps(triplets: Sequence[Triplet]) -> list[tuple[int, int]]:
    """How many frames before and after lie from their targets."""
    return [(int(x.target[-3:]) - int(x.before[-3:]), int(x.after[-3:]) - int(x.target[-3:])) for x in triplets]


def test_a_shift_is_measured_to_a_tenth_of_a_pixel() -> None:
    texture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (80, 240)).astype(np.uint8), (0, 0), 2)
    for dx, dy in ((3, 0), (0, 2), (-3, 4)):
        before, after = texture[10:70, 20:180], texture[10 - dy : 70 - dy, 20 - dx : 180 - dx]
        assert 160 * apparent_motion(before, after).displacement == pytest.approx(math.hypot(dx, dy), abs=0.1)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-0.05, 0.05), min_size=3, max_size=3))
def test_a_pure_rotation_leaves_nothing(turn: list[float]) -> None:
    points = np.random.default_rng(0).uniform([0, 0], [160, 48], (200, 2))
    basis = rotation_flow(Camera(120, 120, 80, 24, 48, 160), points)
    np.testing.assert_allclose(without_rotation(basis @ np.array(turn), basis, rounds=12), 0, atol=1e-3)


def test_the_rotation_flow_is_the_derivative_of_the_projection() -> None:
    camera = Camera(130, 110, 70, 20, 48, 160)
    v, u = np.mgrid[2:48:4, 2:160:4].reshape(2, -1)
    rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)])
    for axis in range(3):
        turn = cv2.Rodrigues(1e-6 * np.eye(3)[axis])[0]  # of the camera; points turn the other way
        x, y, z = turn.T @ rays
        moved = np.stack([camera.fx * x / z + camera.cx - u, camera.fy * y / z + camera.cy - v], axis=1) / 1e-6
        flow = rotation_flow(camera, np.stack([u, v], axis=1).astype(float))
        np.testing.assert_allclose(moved, flow[:, :, axis], atol=1e-3)


@pytest.mark.slow
def test_driving_has_parallax_that_grows_with_the_way_and_turning_has_none() -> None:
    images, camera = frames_of(0.3, 7)
    small = [thumbnail(image) for image in images]
    driven = [apparent_motion(small[0], small[i], camera).parallax for i in (1, 3, 6)]
    assert 0.001 < driven[0] < driven[1] < driven[2]
    for yaw, pitch in ((0.03, 0.0), (-0.05, 0.01), (0.0, 0.02)):
        seen = apparent_motion(small[0], thumbnail(turned(images[0], camera, yaw, pitch)), camera)
        assert seen.displacement > 0.9 * camera.fx / SIZE[1] * max(abs(yaw), abs(pitch))
        assert seen.parallax < 0.001


@pytest.mark.parametrize(("gain", "gamma"), [(1.0, 1.0), (1.25, 1.0), (0.7, 1.0), (1.0, 0.7)])
def test_noise_and_exposure_are_no_motion(gain: float, gamma: float) -> None:
    image = frames_of(0.7, 1)[0][0]
    seen = apparent_motion(thumbnail(noisy(image, 1)), thumbnail(noisy(exposed(image, gain, gamma), 2)))
    assert max(seen.displacement, seen.parallax) < 0.0008
    assert apparent_motion(thumbnail(image), thumbnail(image)).displacement == 0


@pytest.mark.slow
def test_the_step_grows_as_the_frame_rate_does() -> None:
    """The same drive filmed with 0.8 m and 0.2 m a frame: the neighbours chosen are about as far away in metres."""
    means = []
    for step, frames in ((0.8, 13), (0.2, 37)):
        world = streets(step, frames)
        chosen = MotionFilter(max_step=12).triplets(world, world.ids("train"))
        assert len(chosen) >= frames - 26
        positions = {id: world.world_T_cam(id)[:3, 3] for id in world.ids("train")}
        means.append(np.mean([np.linalg.norm(positions[x.after] - positions[x.target]) for x in chosen]))
        usual = np.median(gaps(chosen))
        assert usual <= 2 if step == 0.8 else usual >= 3
    assert means[0] == pytest.approx(means[1], rel=0.5)


def test_standing_still_is_left_out_and_driving_off_is_not() -> None:
    images, camera = frames_of(0.5, 12)
    stop = [noisy(images[5], seed) for seed in range(20)]
    film = Film([*images[:5], *stop, *images[6:]], camera)
    chosen = MotionFilter(max_step=3).triplets(film, film.ids("all"))
    targets = [int(x.target[-3:]) for x in chosen]
    # Frames 5 to 24 stand. Both ends have no neighbour on one side; near the stop one side shows nothing.
    assert targets
    assert not set(targets) & set(range(5, 25))
    assert {2, 3, 26, 27} <= set(targets)
    assert all(step <= 3 for pair in gaps(chosen) for step in pair)


def test_turning_on_the_spot_is_left_out() -> None:
    images, camera = frames_of(0.5, 1)
    film = Film([turned(images[0], camera, 0.02 * i, 0) for i in range(8)], camera)
    assert MotionFilter().triplets(film, film.ids("all")) == []
    still_counts = MotionFilter(min_parallax=0).triplets(film, film.ids("all"))
    assert gaps(still_counts) == [(1, 1)] * 6


def test_repeated_frames_are_stepped_over() -> None:
    images, camera = frames_of(0.7, 8)
    film = Film([image for image in images for _ in range(2)], camera)
    chosen = MotionFilter().triplets(film, film.ids("all"))
    assert len(chosen) >= 10
    assert all(int(x.before[-3:]) // 2 < int(x.target[-3:]) // 2 < int(x.after[-3:]) // 2 for x in chosen)


def test_gaps_are_stepped_over_where_there_is_a_frame_behind() -> None:
    images, camera = frames_of(0.4, 12)
    film = Film({i: image for i, image in enumerate(images) if i not in (5, 6)}, camera)
    chosen = {x.target: x for x in MotionFilter(displacement=0.004, max_step=3).triplets(film, film.ids("all"))}
    assert chosen["c/004"].after == "c/007"
    assert chosen["c/007"].before == "c/004"


def test_every_image_is_read_once_and_the_result_does_not_depend_on_threads() -> None:
    images, camera = frames_of(0.3, 20)
    film = Film(images, camera)
    ticks: list[int] = []
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        first = MotionFilter().triplets(film, film.ids("all"), lambda: ticks.append(1))
        assert sorted(film.reads) == sorted(film.ids("all"))
        assert len(ticks) == 20
        cv2.setNumThreads(4)
        again = MotionFilter().triplets(film, film.ids("all"))
    finally:
        cv2.setNumThreads(threads)
    assert again == first


def test_frames_that_are_not_asked_for_are_never_looked_at() -> None:
    images, camera = frames_of(0.3, 20)
    film = Film(images, camera)
    some = film.ids("all")[5:15]
    chosen = MotionFilter().triplets(film, some)
    assert chosen
    assert set(film.reads) == set(some)
    assert {id for x in chosen for id in (x.target, x.before, x.after)} <= set(some)
    given: list[str] = []
    assert MotionFilter().triplets(film, some, read=lambda id: given.append(id) or film.image(id)) == chosen
    assert sorted(given) == sorted(some)


def test_odd_images_do_not_stop_it() -> None:
    film = Film([np.full((7, 300, 3), 10 * i, np.uint8) for i in range(4)])
    assert MotionFilter().triplets(film, film.ids("all")) == []
    assert MotionFilter().triplets(film, []) == []
    tall = Film([np.random.default_rng(i).integers(0, 256, (301, 99, 3)).astype(np.uint8) for i in range(3)])
    MotionFilter().triplets(tall, tall.ids("all"))


@pytest.mark.realdata
def test_the_real_clips(real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Kitti(root=real_data / "kitti_clips")
    ids = [id for id in data.ids("all") if id.startswith("odometry_gray/")][:200]
    start = time.process_time()
    chosen = MotionFilter().triplets(data, ids)
    with capsys.disabled():
        print(f" [{len(ids) / (time.process_time() - start):.0f} frames/s of one core]", end="")
    assert len(chosen) >= 195  # the car never stops in this clip; the first and last frame lack a side
    poses = {id: data.world_T_cam(id) for id in ids}
    moved = [np.linalg.norm((poses[x.after] - poses[x.target])[:3, 3]) for x in chosen if x.after in poses]
    assert min(moved) > 0.2  # where it turns tightly
    assert 0.5 < np.median(moved) < 2.5
