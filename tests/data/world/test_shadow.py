from __future__ import annotations

import cv2
import numpy as np
import pytest

from fathomseg.data.world.plot import box_shadow, cast, round_shadow
from fathomseg.data.world.route import Clip, world_T_chunk
from fathomseg.data.world.weather import weather


def area(outline: np.ndarray) -> float:
    return float(cv2.contourArea(outline.astype(np.float32)))


def test_a_box_casts_its_foot_and_its_top_moved_along_the_light() -> None:
    """2 x 3 m, 4 m high, light moving the shade 0.5 m right per metre of height: 2 + 2 metres wide, 3 long."""
    outline = box_shadow((1.0, 3.0), (5.0, 8.0), 4.0, np.array([0.5, 0.0]))
    assert outline.shape == (10, 2)
    np.testing.assert_allclose([outline.min(axis=0), outline.max(axis=0)], [[1, 5], [5, 8]], atol=1e-6)
    assert area(outline) == pytest.approx(12.0)


def test_a_screen_casts_a_parallelogram() -> None:
    outline = cast([(0.0, 0.0), (4.0, 0.0)], 3.0, np.array([0.2, 1.0]))
    assert area(outline) == pytest.approx(4.0 * 3.0)


def test_a_ball_casts_an_ellipse_about_the_moved_centre() -> None:
    drift = np.array([0.6, 0.8])
    outline = round_shadow((1.0, 2.0), 1.5, 5.0, drift)
    np.testing.assert_allclose(outline.mean(axis=0), np.array([1.0, 2.0]) + 5.0 * drift, atol=1e-9)
    along, across = (outline - outline.mean(axis=0)) @ drift, (outline - outline.mean(axis=0)) @ np.array([0.8, -0.6])
    assert np.ptp(along) / np.ptp(across) == pytest.approx(np.sqrt(2.0), rel=0.1)


def test_shade_falls_away_from_the_sun() -> None:
    """A point h metres up, moved down the sunlight until it meets the ground."""
    clip = Clip("day", 11, 0.7)
    sun, place = weather(clip).to_sun, world_T_chunk(clip, 5)
    assert np.linalg.norm(sun) == pytest.approx(1.0)
    assert sun[1] < 0
    top = np.array([0.0, -3.0, 0.0])
    landed = top - sun * (top[1] / sun[1])
    local = place.rotation.T @ landed
    assert landed[1] == pytest.approx(0.0)
    np.testing.assert_allclose(3.0 * weather(clip).shadow_per_m(clip, 5), local[[0, 2]], atol=1e-12)
