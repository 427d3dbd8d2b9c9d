"""Statistics against tables, against brute force, and by properties."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.study.table import compare, holm

TABLE = {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 9: 2.2622, 10: 2.2281, 30: 2.0423}
"""Two-sided 5 % points of Student's t, as printed in any table."""


@pytest.mark.parametrize(("freedom", "t"), TABLE.items())
def test_five_per_cent_points(freedom: int, t: float) -> None:
    differences = [float(i % 5) for i in range(freedom + 1)]
    found = compare(differences)
    assert found is not None
    error = statistics.stdev(differences) / math.sqrt(freedom + 1)
    assert found.high == pytest.approx(found.difference + t * error, abs=1e-4)


def student_p(t: float, freedom: int) -> float:
    """Probability that |T| >= |t|: Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(abs(t) / math.sqrt(freedom))
    cosine, sine, odd = math.cos(angle), math.sin(angle), freedom % 2
    term, total = (cosine, cosine if freedom > 1 else 0.0) if odd else (1.0, 1.0)
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    return 1 - ((angle + sine * total) * 2 / math.pi if odd else sine * total)


@pytest.mark.parametrize("count", [3, 4, 5, 8, 13])
def test_against_the_finite_series(count: int) -> None:
    differences = [math.sin(3 * i) + 0.4 for i in range(count)]
    t = statistics.fmean(differences) / (statistics.stdev(differences) / math.sqrt(count))
    found = compare(differences)
    assert found is not None
    assert found.p == pytest.approx(student_p(t, count - 1), abs=1e-9)


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


@pytest.mark.parametrize(
    ("differences", "p"),
    # Sums of +-1 +-2 +-4: 7, 5, 3, 1 and their negatives; seen: 1 + 2 - 4 = -1, which all reach; 4 + 2 - 1 = 5: four.
    [([1.0, 2.0, -4.0], 1.0), ([4.0, 2.0, -1.0], 4 / 8), ([0.1] * 5, 2 / 32), ([1.0] * 17, None)],
)
def test_sign_flips_counted_by_hand(differences: list[float], p: float | None) -> None:
    found = compare(differences)
    assert found is not None
    assert found.p_permutation == p


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
