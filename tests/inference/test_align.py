"""Scale and shift from known depths: known answers, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import fathomseg
from fathomseg.errors import FathomError
from fathomseg.inference.align import DepthAlignment
from fathomseg.types import Prediction
from tests.typecheck import unchecked

METRES = np.array([[2.0, 4.0, 10.0], [3.0, 8.0, 40.0]])
PREDICTED = (1 / (5 / METRES + 0.1)).astype(np.float32)  # 1 / predicted = 5 / metres + 0.1


@pytest.mark.parametrize(
    "reference",
    [METRES, np.where(METRES > 5, METRES, 0), [(0, 0, 2.0), (2, 1, 40.0)], [(0.4, -0.4, 2.0), (2, 0, 10.0)]],
)
def test_an_affine_inverse_depth_becomes_metres(reference: object) -> None:
    fit = fathomseg.align(PREDICTED, reference)  # type: ignore[arg-type]
    assert fit.scale == pytest.approx(0.2, rel=1e-5)
    assert fit.shift == pytest.approx(-0.02, rel=1e-4)
    np.testing.assert_allclose(fit(PREDICTED), METRES, rtol=1e-4)


def test_one_point_gives_the_scale_alone() -> None:
    fit = fathomseg.align(Prediction(depth=(METRES / 7).astype(np.float32)), [(1, 1, 8.0)], shift=False)
    assert (fit.scale, fit.shift) == (pytest.approx(1 / 7), 0.0)
    np.testing.assert_allclose(fit((METRES / 7).astype(np.float32)), METRES, rtol=1e-5)


def test_least_squares_in_inverse_depth() -> None:
    truth = METRES * np.array([[1.1, 0.9, 1.0], [1.2, 0.8, 1.0]])
    a, b = np.polyfit(1 / METRES.ravel(), 1 / truth.ravel(), 1)
    fit = fathomseg.align(METRES, truth)
    assert (fit.scale, fit.shift) == (pytest.approx(a), pytest.approx(b))


def test_what_would_lie_behind_the_camera_is_infinitely_far() -> None:
    assert DepthAlignment(1.0, -0.5)(np.array([[1.0, 4.0]])).tolist() == [[2.0, np.inf]]


@pytest.mark.parametrize(
    ("reference", "shift", "message"),
    [
        (
            [(0, 0, 2.0)],
            True,
            "1 known depth is given, .* need at least 2: give another, or shift=False for the scale alone",
        ),
        (np.zeros((2, 3)), False, "0 known depths are .* the scale needs at least 1: give more"),
        ([(0, 0, 40.0), (2, 1, 2.0)], True, "gets farther where they get nearer"),
        ([(0, 0, 2.0), (0, 0, 2.0)], True, "flat"),
        ([(3, 0, 2.0), (0, 0, 2.0)], True, "outside the image, whose columns are 0 to 2, rows 0 to 1"),
        ([(0, 0, -2.0), (1, 0, 2.0)], True, "depths are positive"),
        ([(0, 0, np.nan), (1, 0, 2.0), (2, 0, 3.0)], True, "is given at nan m; depths are positive"),
        ([(0, 0, 2.0), (1, 0, np.inf), (2, 0, 3.0)], True, "is given at inf m; depths are positive"),
        (np.ones((3, 3)), True, "make them alike"),
    ],
)
def test_what_tells_nothing(reference: object, shift: bool, message: str) -> None:
    with pytest.raises(FathomError, match=message):
        fathomseg.align(PREDICTED, reference, shift)  # type: ignore[arg-type]


@pytest.mark.parametrize("unknown", [0.0, np.nan])
def test_what_is_unknown_is_no_point_and_stays_unknown(unknown: float) -> None:
    holed = PREDICTED.copy()
    holed[1, 0] = unknown
    with pytest.raises(FathomError, match=r"knows no depth at the point \(0, 1\): it is (0\.0|nan)"):
        fathomseg.align(holed, [(0, 0, 2.0), (0, 1, 3.0), (2, 1, 40.0)])
    for reference in (METRES, [(0, 0, 2.0), (2, 1, 40.0)]):
        expected = METRES.copy()
        expected[1, 0] = unknown
        np.testing.assert_allclose(fathomseg.align(holed, reference)(holed), expected, rtol=1e-4)


def test_depth_at_a_pixel() -> None:
    prediction = Prediction(depth=METRES.astype(np.float32), depth_unit="metres")
    assert prediction.depth_at(2, 1) == 40
    assert prediction.depth_at(0.6, 0.4) == 4
    with pytest.raises(FathomError, match="has no depth"):
        Prediction().depth_at(0, 0)
    for x in ("a", None, np.nan, np.inf):
        with unchecked(), pytest.raises(FathomError, match=r", 1\) is no pixel: give column and row as numbers"):
            prediction.depth_at(x, 1)  # type: ignore[arg-type]
