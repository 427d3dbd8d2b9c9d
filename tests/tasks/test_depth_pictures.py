"""What `fathom predict` writes of depth to look at: photograph, colours, and a scale that means what it says."""

from __future__ import annotations

import numpy as np
import pytest

from fathomseg.io import draw
from fathomseg.tasks import Depth
from fathomseg.tasks.depth_pictures import number, scale_bar
from fathomseg.types import Prediction, Size


def shown(size: Size, unit: str = "relative", most: float = 0.8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    disparity = rng.uniform(0.1, most, size).astype(np.float32)
    task = Depth(unit=unit, min_depth=2, max_depth=40)  # type: ignore[arg-type]
    return task.viewer(None)(image, Prediction(disparity=disparity)), image, disparity


def test_the_photograph_and_the_colours_stand_side_by_side() -> None:
    seen, image, disparity = shown((40, 60))
    np.testing.assert_array_equal(seen[:, :60], image)
    np.testing.assert_array_equal(seen[:, 64:124], draw.colour_map(disparity))


def test_the_scale_says_the_depth_of_its_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 / depth = 1/40 + (1/2 - 1/40) disparity, of the 98th and the 2nd percentile."""
    said: list[tuple[float, float, str]] = []

    def bar(height: int, near: float, far: float, unit: str) -> np.ndarray:
        said.append((near, far, unit))
        return scale_bar(height, near, far, unit)

    monkeypatch.setattr("fathomseg.tasks.depth_pictures.scale_bar", bar)
    for unit, most in (("metres", 0.8), ("relative", 0.4)):
        _, _, disparity = shown((40, 60), unit, most)
        low, high = np.percentile(disparity, (2, 98))
        near, far = (1 / (1 / 40 + (1 / 2 - 1 / 40) * one) for one in (high, low))
        assert said[-1] == (pytest.approx(near, rel=1e-5), pytest.approx(far, rel=1e-5), unit)


def test_a_bar_runs_from_near_to_far_and_has_the_size_of_any_other() -> None:
    one, other = scale_bar(200, 2.0, 40.0, "metres"), scale_bar(200, 0.000123, 12345.0, "metres")
    assert one.shape == other.shape
    ramp = draw.disparity_picture(np.array([[1.0, 0.0]], np.float32))[0]
    np.testing.assert_array_equal(one[[0, -1], 0], ramp)
    rows = (one[:, 20:] < 128).any((1, 2))  # where there is ink: three texts
    assert (rows[:20].any(), rows[90:110].any(), rows[180:].any(), rows[30:85].any()) == (True, True, True, False)
    assert (one != other).any()
    assert not (scale_bar(200, 2.0, 40.0, "relative")[:150] == one[:150]).all()


def test_a_large_image_is_shown_smaller() -> None:
    seen, _, _ = shown((100, 9000))
    assert 4000 < seen.shape[1] <= 8192


def test_numbers_are_written_as_people_write_them() -> None:
    assert [number(value) for value in (0.012345, 4.834, 99.96, 2493.7, 3e7)] == [
        "0.0123",
        "4.83",
        "100",
        "2494",
        "3e+07",
    ]
