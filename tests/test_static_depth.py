"""The plane sweep of `benchmarks/static_depth.py`, which scores depth where none is stored."""

from __future__ import annotations

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

SWEEP = runpy.run_path(str(Path(__file__).resolve().parent.parent / "benchmarks" / "static_depth.py"))["sweep"]
K = np.array([[300.0, 0, 159.5], [0, 300.0, 19.5], [0, 0, 1]])
SHIFTS_M = (0.25, 0.5, 1.0)


def swept(depth: float) -> np.ndarray:
    """What the sweep finds in pictures of a wall across the view, taken by cameras further and further left."""
    noise = np.random.default_rng(0).uniform(0, 255, (40, 600)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 1.5) * 4
    views, poses = [], []
    for shift in (0.0, *SHIFTS_M):
        pixels = K[0, 0] * shift / depth
        moved = np.array([[1, 0, pixels - 200], [0, 1, 0]])
        views.append(cv2.warpAffine(texture, moved, (320, 40), flags=cv2.INTER_CUBIC))
        poses.append(np.eye(4))
        poses[-1][0, 3] = shift
    found: np.ndarray = SWEEP(views[0], views[1:], poses[1:], K)
    return found[8:-8, 8:100]  # the others see no more of the right side


@pytest.mark.parametrize("depth", [4.0, 8.0, 20.0, 40.0])
def test_the_depth_of_a_plane(depth: float) -> None:
    found = swept(depth)
    assert np.isfinite(found).mean() > 0.9
    assert np.nanmedian(found) == pytest.approx(depth, rel=0.02)


@pytest.mark.parametrize("depth", [1.97, 100.0])
def test_a_plane_beyond_those_that_are_tried_gives_no_truth(depth: float) -> None:
    assert np.isfinite(swept(depth)).mean() < 0.01
