"""The camera follows resize, crop and flip: proven by where known points land."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.types import Camera

KITTI = Camera(fx=721.5377, fy=721.5377, cx=609.5593, cy=172.854, height=375, width=1242)


def project(camera: Camera, point: np.ndarray) -> np.ndarray:
    u, v, w = camera.matrix() @ point
    return np.array([u / w, v / w])


points = st.tuples(st.floats(-20, 20), st.floats(-5, 5), st.floats(1, 500)).map(np.array)


@given(points, st.integers(10, 2000), st.integers(10, 2000))
def test_resizing_keeps_pixel_edges_in_place(point: np.ndarray, height: int, width: int) -> None:
    # A pixel's position measured from the image's outer edge, in image widths, does not depend on the resolution.
    before = (project(KITTI, point) + 0.5) / [KITTI.width, KITTI.height]
    after = (project(KITTI.resized((height, width)), point) + 0.5) / [width, height]
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-12)


@given(points, st.integers(-50, 300), st.integers(-50, 900))
def test_cropping_moves_the_point_by_the_corner(point: np.ndarray, top: int, left: int) -> None:
    after = project(KITTI.cropped(top, left, (100, 200)), point)
    np.testing.assert_allclose(after, project(KITTI, point) - [left, top], atol=1e-9)


@given(points)
def test_flipping_mirrors_the_mirrored_point(point: np.ndarray) -> None:
    mirrored = point * [-1, 1, 1]
    before, after = project(KITTI, point), project(KITTI.flipped(), mirrored)
    np.testing.assert_allclose(after, [KITTI.width - 1 - before[0], before[1]], atol=1e-9)


def test_halving_an_image_by_hand() -> None:
    # Pixels 0 and 1 become pixel 0: what was at 0.5 is now at 0.
    half = Camera(fx=100, fy=80, cx=0.5, cy=10.5, height=40, width=60).resized((20, 30))
    assert (half.fx, half.fy, half.cx, half.cy, half.height, half.width) == (50, 40, 0, 5, 20, 30)
