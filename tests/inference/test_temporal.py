"""Smoothing over time: what flickers is averaged, what changes is not, nothing waits."""

from __future__ import annotations

import numpy as np
import pytest

from fathomseg.errors import FathomError
from fathomseg.inference.temporal import TemporalSmoother
from fathomseg.types import Prediction

GREY = np.full((2, 3, 3), 100, np.uint8)


def prediction(depth: float | np.ndarray) -> Prediction:
    """Disparity is 1 / depth."""
    full = np.broadcast_to(np.asarray(depth, np.float32), (2, 3)).copy()
    return Prediction(depth=full, disparity=1 / full)


def test_flicker_gets_smaller_and_the_mean_stays() -> None:
    g = np.random.default_rng(0)
    inverse = 0.2 * (1 + 0.02 * g.standard_normal((60, 2, 3)))
    smoother = TemporalSmoother(0.8)
    found = np.stack([1 / smoother(GREY, prediction(1 / frame)).depth for frame in inverse])[20:]  # type: ignore[operator]
    assert np.abs(np.diff(found, axis=0)).mean() < 0.4 * np.abs(np.diff(inverse[20:], axis=0)).mean()
    assert found.mean() == pytest.approx(0.2, rel=0.01)


def test_one_step_by_hand_and_both_fields_agree() -> None:
    smoother = TemporalSmoother(0.5)
    first = smoother(GREY, prediction(5.0))
    assert (first.depth == 5).all()
    second = smoother(GREY, prediction(1 / 0.21))
    keep = 0.5 * np.exp(-((0.01 / (0.2 * 0.1)) ** 2))
    np.testing.assert_allclose(1 / second.depth, 0.21 - keep * 0.01, rtol=1e-5)  # type: ignore[operator]
    np.testing.assert_allclose(second.disparity, 1 / second.depth, rtol=1e-5)  # type: ignore[operator]


def test_another_surface_and_another_colour_count_at_once() -> None:
    nearer = TemporalSmoother(0.9)
    nearer(GREY, prediction(10.0))
    np.testing.assert_allclose(nearer(GREY, prediction(5.0)).depth, 5.0, rtol=1e-6)  # type: ignore[arg-type]
    darker = TemporalSmoother(0.9)
    darker(GREY, prediction(10.0))
    np.testing.assert_allclose(darker(GREY // 2, prediction(10.5)).depth, 10.5, rtol=1e-5)  # type: ignore[arg-type]


def test_without_strength_or_depth_nothing_changes() -> None:
    off = TemporalSmoother(0.0)
    off(GREY, prediction(10.0))
    same = prediction(10.2)
    assert off(GREY, same) is same
    nothing = Prediction()
    assert TemporalSmoother(0.5)(GREY, nothing) is nothing


@pytest.mark.parametrize("strength", [-0.1, 1.0, 3.0])
def test_a_strength_is_below_1(strength: float) -> None:
    with pytest.raises(FathomError, match="from 0 to below 1"):
        TemporalSmoother(strength)
