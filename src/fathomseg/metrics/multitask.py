"""Delta_m: how much better a network of several tasks is than one network for each (Maninis et al. 2019, eq. 4)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from fathomseg.errors import FathomError


@dataclass(frozen=True, slots=True)
class MainScore:
    """The score of a task that stands for it."""

    name: str
    value: float | None
    """None where it is undefined."""
    lower_is_better: bool


def relative_change(score: MainScore, baseline: MainScore) -> float | None:
    """(M - M_b) / M_b, with the sign turned where lower is better: > 0 is better than the baseline. None where a score
    is undefined or the baseline's is 0. Raises `FathomError` if the two are not the same score."""
    if score.name != baseline.name:
        raise FathomError(
            f"The score {score.name} cannot be compared with {baseline.name}: metric depth only with metric depth."
        )
    if score.value is None or not baseline.value:
        return None
    change = (score.value - baseline.value) / baseline.value
    return -change if score.lower_is_better else change


def delta_m(changes: Mapping[str, float | None]) -> float | None:
    """The mean of the relative changes of all tasks; None if one is undefined."""
    known = [change for change in changes.values() if change is not None]
    return statistics.fmean(known) if known and len(known) == len(changes) else None
