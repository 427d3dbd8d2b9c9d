"""Statistics against tables, against brute force, and by properties."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.study.table import compare, holm, sign_flip_p, student_p, student_quantile

TABLE = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 9: 2.2622, 10: 2.2281, 30: 2.0423}
"""Two-sided 5 % points of Student's t, as printed in any table."""


@pytest.mark.parametrize(("freedom", "t"), TABLE.items())
def test_five_per_cent_points(freedom: int, t: float) -> None:
    assert student_p(t, freedom) == pytest.approx(0.05, abs=1e-5)
    assert student_quantile(0.975, freedom) == pytest.approx(t, abs=1e-4)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 12])
def test_against_the_integral_of_the_density(freedom: int) -> None:
    t, steps = 1.7, 20_000
    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    width = 2 * t / steps
    middles = (-t + (i + 0.5) * width for i in range(steps))
    inside = sum(scale * (1 + x * x / freedom) ** (-(freedom + 1) / 2) for x in middles) * width
    assert student_p(t, freedom) == pytest.approx(1 - inside, abs=1e-8)


def test_a_comparison_by_hand() -> None:
    """Differences 1, 2, 6: mean 3, standard deviation sqrt(7), error sqrt(7/3), t = 1.964 with 2 degrees of freedom."""
    found = compare([1.0, 2.0, 6.0])
    assert found is not None
    assert (found.n, found.difference) == (3, 3.0)
    assert found.p == pytest.approx(1 - 1.963961 / math.sqrt(2 + 1.963961**2), abs=1e-6)  # closed form for 2
    assert (found.low, found.high) == pytest.approx((3 - 4.30265 * 1.527525, 3 + 4.30265 * 1.527525), abs=1e-4)
    assert found.p_permutation == 2 / 8  # all three of one sign: the least there is for three


def test_with_two_seeds_nothing_is_claimed() -> None:
    found = compare([5.0, 5.1])
    assert found is not None
    assert found.difference == pytest.approx(5.05)
    assert (found.low, found.high, found.p, found.p_permutation) == (None, None, None, None)
    assert compare([]) is None


@pytest.mark.parametrize(("same", "p"), [(0.0, 1.0), (2.0, 0.0)])
def test_differences_without_spread(same: float, p: float) -> None:
    found = compare([same] * 4)
    assert found is not None
    assert (found.low, found.high, found.p) == (same, same, p)


def test_sign_flips_counted_by_hand() -> None:
    # Sums of +-1 +-2 +-4: 7, 5, 3, 1 and their negatives; seen: 1 + 2 - 4 = -1, which all reach; 4 + 2 - 1 = 5: four.
    assert sign_flip_p([1.0, 2.0, -4.0]) == 1.0
    assert sign_flip_p([4.0, 2.0, -1.0]) == 4 / 8
    assert sign_flip_p([0.1] * 5) == 2 / 32
    assert sign_flip_p([1.0] * 17) is None


def test_holm_by_hand() -> None:
    # Sorted: .01 x 4, .02 x 3, .03 x 2 = .06, .9; none may be below the one before.
    assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


Differences = st.lists(st.floats(-50, 50).map(lambda x: round(x, 3)), min_size=3, max_size=8)


@settings(deadline=None)
@given(Differences)
def test_the_other_way_round_it_is_the_same_with_the_other_sign(differences: list[float]) -> None:
    one, other = compare(differences), compare([-d for d in differences])
    assert one is not None
    assert other is not None
    assert other.difference == pytest.approx(-one.difference, abs=1e-9)
    assert other.p == pytest.approx(one.p, abs=1e-9)
    assert other.p_permutation == one.p_permutation
    assert (other.low, other.high) == (pytest.approx(-one.high, abs=1e-6), pytest.approx(-one.low, abs=1e-6))  # type: ignore[operator]


@settings(deadline=None)
@given(Differences.filter(lambda d: statistics.stdev(d) > 0.01))
def test_the_interval_leaves_out_zero_just_where_p_is_below_five_per_cent(differences: list[float]) -> None:
    found = compare(differences)
    assert found is not None
    assert found.p is not None
    assert found.low is not None
    assert found.high is not None
    if abs(found.p - 0.05) > 1e-6:
        assert (found.low > 0 or found.high < 0) == (found.p < 0.05)
