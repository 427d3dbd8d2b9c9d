"""Comparing two ways to train over the same seeds, of which there are few.

The seeds are paired, since a seed decides which images are labelled, and with few labels that matters more than
anything. Below `LEAST` pairs nothing is claimed. Two tests are computed. Student's t of the differences takes them as
normally distributed; it is the one that decides, because the other cannot with so few seeds: the exact permutation
test, which flips the sign of every difference and needs no assumption, never gives less than 2 / 2^n, which is 0.25
for 3 seeds and 0.06 for 5.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LEAST: Final = 3
"""Pairs below which no probability is given."""

_PERMUTED: Final = 16
"""Pairs above which the 2^n flips are too many to go through."""


@dataclass(frozen=True, slots=True)
class Paired:
    """The differences between two ways to train, seed by seed."""

    n: int
    difference: float
    """Mean difference."""
    low: float | None
    """Lower end of the 95 % confidence interval of the mean difference (t); None below `LEAST` pairs, as all below."""
    high: float | None
    p: float | None
    """Two-sided probability of a difference at least as large by chance alone, by the paired t test."""
    p_permutation: float | None
    """The same by the exact permutation test."""


def compare(differences: Sequence[float]) -> Paired | None:
    """What the differences over the seeds say; None if there is none."""
    n = len(differences)
    if n == 0:
        return None
    mean = statistics.fmean(differences)
    if n < LEAST:
        return Paired(n, mean, None, None, None, None)
    error = statistics.stdev(differences) / math.sqrt(n)
    half = student_quantile(0.975, n - 1) * error
    t = mean / error if error > 0 else math.copysign(math.inf, mean) if mean else 0.0
    return Paired(n, mean, mean - half, mean + half, student_p(t, n - 1), sign_flip_p(differences))


def student_p(t: float, freedom: int) -> float:
    """Probability that |T| >= |t|, for Student's distribution with a whole number of degrees of freedom.

    Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan(abs(t) / math.sqrt(freedom))
    cosine, sine, odd = math.cos(angle), math.sin(angle), freedom % 2
    term, total = (cosine, cosine if freedom > 1 else 0.0) if odd else (1.0, 1.0)
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    inside = (angle + sine * total) * 2 / math.pi if odd else sine * total
    return min(1.0, max(0.0, 1.0 - inside))


def student_quantile(probability: float, freedom: int) -> float:
    """The t below which Student's distribution lies with a probability of 0.5 .. 1, to about 1e-9."""
    low, high = 0.0, 1.0
    while 1 - student_p(high, freedom) / 2 < probability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if 1 - student_p(middle, freedom) / 2 >= probability else (middle, high)
    return high


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Share of all 2^n choices of signs that give a mean as far from 0 as the one seen; None if they are too many."""
    if len(differences) > _PERMUTED:
        return None
    seen = abs(math.fsum(differences)) * (1 - 1e-12)
    sums = [
        abs(math.fsum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(total >= seen for total in sums) / len(sums)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Probabilities that allow for how many were computed (Holm 1979): calling those < 0.05 differences is wrong once
    or more in at most 5 % of all studies."""
    order = sorted(range(len(probabilities)), key=probabilities.__getitem__)
    adjusted, highest = [0.0] * len(order), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * probabilities[i]))
        adjusted[i] = highest
    return adjusted
