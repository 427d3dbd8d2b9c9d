"""From the results of single trainings to the rows of the table: mean, spread, and how they compare."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fathomseg.study.folder import Record
from fathomseg.study.grid import Budget, Cell, size
from fathomseg.study.statistics import Paired, compare, holm

SCORE = "miou"
"""What is compared: mIoU of the averaged weights after the last step, per cent."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over seeds."""

    n: int
    mean: float
    spread: float | None
    """Sample standard deviation; None for a single seed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One arm at one label budget, over the seeds that are finished."""

    arm: str
    budget: Budget
    wanted: int
    """Seeds there are to be."""
    failed: int
    images: int | None
    """Labelled images used; None before the first seed is finished, as all below."""
    score: Mean | None
    """mIoU, per cent."""
    minutes: Mean | None
    cpu_minutes: Mean | None
    relative: Mean | None
    """mIoU in per cent of that of the reference with the same seed."""
    against: Paired | None
    """Difference to the baseline with as many labels and the same seeds, in points of mIoU; None for the baseline."""
    p_holm: float | None = None
    """`against.p`, allowing for the number of rows it is computed for (Holm)."""

    @property
    def verdict(self) -> str | None:
        """`better` or `worse` than the baseline (Holm-corrected p < 0.05), `not shown`, or `too few seeds`."""
        if self.against is None:
            return None
        if self.p_holm is None:
            return "too few seeds"
        return "not shown" if self.p_holm >= 0.05 else "better" if self.against.difference > 0 else "worse"


def rows(cells: Sequence[Cell], records: Mapping[Cell, Record], failed: Mapping[Cell, str], baseline: str) -> list[Row]:
    """A row for every arm and budget of the grid, arms in the order of the study, budgets from small to large."""
    places = dict.fromkeys((cell.arm, cell.budget) for cell in cells)
    arms = list(dict.fromkeys(arm for arm, _ in places))
    ordered = sorted(places, key=lambda place: (arms.index(place[0]), size(place[1])))
    found = [_row(arm, budget, cells, records, failed, baseline) for arm, budget in ordered]
    tested = [i for i, row in enumerate(found) if row.against is not None and row.against.p is not None]
    adjusted = holm([found[i].against.p for i in tested])  # type: ignore[union-attr,misc]
    for i, p in zip(tested, adjusted, strict=True):
        found[i] = dataclasses.replace(found[i], p_holm=p)
    return found


def reference(cells: Sequence[Cell], baseline: str) -> Budget:
    """The baseline's largest budget, whose mIoU is 100 %."""
    return max((cell.budget for cell in cells if cell.arm == baseline), key=size)


def mean_of(values: Sequence[float]) -> Mean | None:
    """Mean and spread; None of nothing."""
    if not values:
        return None
    return Mean(len(values), statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def _row(
    arm: str,
    budget: Budget,
    cells: Sequence[Cell],
    records: Mapping[Cell, Record],
    failed: Mapping[Cell, str],
    baseline: str,
) -> Row:
    own = [cell for cell in cells if (cell.arm, cell.budget) == (arm, budget)]
    done = [cell for cell in own if cell in records]
    full = reference(cells, baseline)
    pairs = [(records[cell], records.get(Cell(baseline, budget, cell.seed))) for cell in done]
    wholes = [(records[cell], records.get(Cell(baseline, full, cell.seed))) for cell in done]
    return Row(
        arm=arm,
        budget=budget,
        wanted=len(own),
        failed=sum(cell in failed for cell in own),
        images=records[done[0]]["images"] if done else None,
        score=mean_of([records[cell][SCORE] for cell in done]),
        minutes=mean_of([m for cell in done if (m := records[cell]["minutes"]) is not None]),
        cpu_minutes=mean_of([m for cell in done if (m := records[cell]["cpu_minutes"]) is not None]),
        relative=mean_of([100 * one[SCORE] / whole[SCORE] for one, whole in wholes if whole and whole[SCORE]]),
        against=None if arm == baseline else compare([one[SCORE] - base[SCORE] for one, base in pairs if base]),
    )
