"""Polygons to pixels against a slow point-in-polygon test, and labels to polygons and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fathomseg.io.polygons import Region, as_ring, fill, largest_first, outlines, paint


def whole(ring: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What `fill` gives as a mask of the whole image."""
    return paint([Region(1, (fill(ring, size),))], size, 0) == 1


def inside(ring: np.ndarray, x: float, y: float) -> bool:
    """Whether a ray from the point to the left crosses the polygon an odd number of times."""
    crossings = 0
    for (x0, y0), (x1, y1) in zip(ring.tolist(), np.roll(ring, -1, 0).tolist(), strict=True):
        crossings += (y0 <= y) != (y1 <= y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
    return crossings % 2 == 1


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float64, (5, 2), elements=st.integers(-6, 22).map(lambda n: n / 2)))
def test_a_pixel_belongs_to_a_polygon_if_its_centre_lies_inside(ring: np.ndarray) -> None:
    expected = [[inside(ring, column + 0.5, row + 0.5) for column in range(9)] for row in range(7)]
    np.testing.assert_array_equal(whole(ring, (7, 9)), expected)


def test_a_rectangle_by_hand() -> None:
    mask = whole(np.array([[1, 1], [4, 1], [4, 3], [1, 3]], np.float64), (5, 6))
    assert mask.sum() == 6
    assert mask[1:3, 1:4].all()


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 2)))
def test_outlines_painted_in_their_order_give_the_label_back(label: np.ndarray) -> None:
    regions = [Region(value, (fill(ring.round(3), label.shape),)) for value, ring in outlines(label)]
    np.testing.assert_array_equal(paint(regions, label.shape, 255), label)
    np.testing.assert_array_equal(paint(largest_first(regions[::-1]), label.shape, 255), label)


def test_smaller_regions_lie_on_larger_ones() -> None:
    small, large = (
        Region(value, (fill(np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float64), (4, 4)),))
        for value, side in ((1, 2), (2, 4))
    )
    assert largest_first([small, large]) == [large, small]


@pytest.mark.parametrize(
    "corners",
    [[], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], [[1, 2, 3]] * 3, "abc", [0, 0, 1, 1, float("nan"), 2], [1e9] * 6],
)
def test_what_is_no_polygon_is_refused(corners: object) -> None:
    with pytest.raises(ValueError, match=r"has (no usable corners|corners far outside)"):
        as_ring(corners)
