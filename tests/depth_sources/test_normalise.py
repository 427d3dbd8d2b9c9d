"""Disparity to 0..1: answers worked by hand, and properties of any map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fathomseg.config import validate
from fathomseg.depth_sources.normalise import Normalisation, find_bounds, normalise, summary
from fathomseg.errors import ConfigError

WHOLE = st.integers(-1000, 1000).map(float)
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)
MAPS = hnp.arrays(np.float32, SHAPES, elements=WHOLE)
ANYTHING = hnp.arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=True, allow_infinity=True))
PERCENTILES = st.sampled_from([(0.0, 100.0), (1.0, 99.0), (10.0, 60.0)])


def test_by_hand() -> None:
    """Of the numbers 0..100 the 10th and 60th percentiles are 10 and 60."""
    values = np.random.default_rng(0).permutation(101).astype(np.float32).reshape(1, 101)
    result = normalise(values, (10, 60))
    np.testing.assert_allclose(result.values, np.clip((values - 10) / 50, 0, 1), rtol=1e-6)
    assert result.valid.all()
    np.testing.assert_allclose(normalise(values, (0, 100)).values, values / 100, rtol=1e-6)
    np.testing.assert_allclose(normalise(values, bounds=(-100, 100)).values, (values + 100) / 200, rtol=1e-6)


def test_what_is_not_known_counts_nowhere() -> None:
    known = np.arange(8, dtype=np.float32)
    values = np.concatenate([known, [np.nan, np.inf, -np.inf, np.nan]]).astype(np.float32).reshape(3, 4)
    result = normalise(values, (0, 100))
    np.testing.assert_allclose(result.values.ravel(), [*known / 7, 0, 0, 0, 0], rtol=1e-6)
    assert result.valid.ravel().tolist() == [True] * 8 + [False] * 4


@settings(max_examples=200, deadline=None)
@given(ANYTHING, PERCENTILES)
def test_any_map_at_all_gives_numbers_from_0_to_1(values: np.ndarray, percentiles: tuple[float, float]) -> None:
    result = normalise(values, percentiles)
    assert result.values.dtype == np.float32
    assert result.values.shape == result.valid.shape == values.shape
    assert ((result.values >= 0) & (result.values <= 1)).all()
    np.testing.assert_array_equal(result.valid, np.isfinite(values))
    assert (result.values[~result.valid] == 0).all()


@settings(max_examples=100, deadline=None)
@given(MAPS, PERCENTILES)
def test_the_order_of_pixels_stays_and_the_whole_range_is_used(
    values: np.ndarray, percentiles: tuple[float, float]
) -> None:
    result = normalise(values, percentiles).values.ravel()
    sorted_by_disparity = result[np.argsort(values, axis=None)]
    assert (np.diff(sorted_by_disparity) >= 0).all()
    if np.ptp(values) > 0:
        assert result[values.argmax()] == 1
        assert result[values.argmin()] == 0
    else:
        assert (result == 0).all()


@settings(max_examples=100, deadline=None)
@given(MAPS, PERCENTILES, st.sampled_from([0.125, 1.0, 3.0, 64.0]), st.integers(-50, 50))
def test_scale_and_offset_of_the_source_do_not_matter(
    values: np.ndarray, percentiles: tuple[float, float], scale: float, offset: int
) -> None:
    moved = (values * np.float32(scale) + np.float32(offset)).astype(np.float32)  # exact in float32
    expected, result = normalise(values, percentiles), normalise(moved, percentiles)
    np.testing.assert_allclose(result.values, expected.values, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.3, -7.0, 1e-30, 3e38])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7)])
def test_flat_maps_are_far_everywhere(value: float, shape: tuple[int, int]) -> None:
    flat = np.full(shape, value, np.float32)
    for values in (flat, np.nextafter(flat, np.float32(np.inf))):
        assert (normalise(values).values == 0).all()
    rough = flat.copy()
    rough[0, 0] = np.nextafter(rough[0, 0], np.float32(np.inf))  # the rounding of a flat map is not stretched
    if value > 1e-20:
        assert (normalise(rough, (0, 100)).values == 0).all()


@pytest.mark.parametrize("unknown", [np.nan, np.inf, -np.inf])
def test_a_map_of_nothing_known(unknown: float) -> None:
    result = normalise(np.full((3, 4), unknown, np.float32))
    assert (result.values == 0).all()
    assert not result.valid.any()


def test_outliers_do_not_squash_the_rest() -> None:
    rng = np.random.default_rng(1)
    clean = rng.random((40, 50)).astype(np.float32)
    dirty = clean.copy()
    dirty.ravel()[rng.choice(2000, 10, replace=False)] = 1000.0
    same = dirty == clean
    np.testing.assert_allclose(normalise(dirty).values[same], normalise(clean).values[same], atol=0.02)
    assert normalise(dirty, (0, 100)).values[same].max() < 0.002  # minimum and maximum do squash it


def test_one_small_object_before_a_flat_ground_stands_out() -> None:
    values = np.full((40, 50), 0.2, np.float32)
    values[3, 4] = 0.9
    result = normalise(values).values
    assert result[3, 4] == 1
    assert result.sum() == 1


def test_summaries_give_each_image_the_same_say() -> None:
    """A large image of 0..1 and a small one of 2..3: their common median lies between them, whatever their sizes."""
    rng = np.random.default_rng(2)
    large = rng.random((200, 300)).astype(np.float32)
    small = rng.random((20, 30)).astype(np.float32) + 2
    small[0, 0] = np.nan
    both = np.concatenate([summary(large), summary(small)])
    low, high = find_bounds(both, (25, 75))  # type: ignore[misc]
    assert low == pytest.approx(np.median(large), abs=0.02)
    assert high == pytest.approx(np.nanmedian(small), abs=0.02)
    assert find_bounds(both, (0, 100)) == (pytest.approx(large.min()), pytest.approx(np.nanmax(small)))
    assert summary(np.full((2, 2), np.nan, np.float32)).size == 0
    assert find_bounds(np.zeros(0, np.float32), (1, 99)) is None


@pytest.mark.parametrize("percentiles", [[99, 1], [50, 50], [-1, 99], [0, 101]])
def test_percentiles_must_be_in_order(percentiles: list[float]) -> None:
    with pytest.raises(ConfigError, match="percentiles"):
        validate(Normalisation, {"percentiles": percentiles})
