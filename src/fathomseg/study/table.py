"""A study as a table: its cells, one training each, and rows that compare them over seeds, of which there are few.

Seeds are paired, since a seed decides which images are labelled, and with few labels that matters more than anything.
Below `LEAST` pairs nothing is claimed. Two tests are computed. Student's t of the differences takes them as normally
distributed; it is the one that decides, because the other cannot with so few seeds: the exact permutation test, which
flips the sign of every difference and needs no assumption, never gives less than 2 / 2^n, which is 0.25 for 3 seeds.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from fathomseg.metrics.multitask import MainScore, delta_m, relative_change

SEED: Final = "seed"
LABEL_BUDGET: Final = "streams.labelled.labels.count"
LABEL_FILE: Final = "streams.labelled.labels.file"
LABEL_SEED: Final = "streams.labelled.labels.seed"
"""The settings of a recipe that differ from cell to cell: seed, number of labelled images, list of chosen ones."""

SCORE: Final = "miou"
"""What is compared: mIoU of the averaged weights after the last step, per cent."""

MAIN_SCORES: Final = "main_scores"
"""In a record: by task the fields of its `MainScore`, of the averaged weights."""

HEADLINES: Final = "headlines"
"""In a record: by task its headline scores (`Task.headline`) by name; older records have none."""

CLASSES: Final = "iou"
"""In a record: by class its IoU, per cent; None where the ground truth has none of it. Older records lack it."""

LEAST: Final = 3
"""Pairs below which no probability is given."""

_PERMUTED: Final = 16
"""Pairs above which the 2^n flips are too many to go through."""

Budget = int | Literal["all"]
"""Number of labelled images; "all" = every image of the split that has a label."""

Record = dict[str, Any]
"""What is known of a finished job. Of a cell: its place in the grid, scores in per cent, minutes, commit, machine."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm at one label budget with one seed."""

    arm: str
    budget: Budget
    seed: int

    def __str__(self) -> str:
        """Its name in files; unique, since the last two parts are always budget and seed."""
        return f"{self.arm}-{self.budget}-{self.seed}"


def grid(budgets: Mapping[str, Sequence[Budget]], seeds: Sequence[int]) -> list[Cell]:
    """All cells, given the budgets of each arm, in the order of work: a stopped study has whole seeds to compare."""
    distinct = dict.fromkeys(budget for own in budgets.values() for budget in own)
    return [
        Cell(arm, budget, seed)
        for seed in seeds
        for budget in sorted(distinct, key=size)
        for arm, own in budgets.items()
        if budget in own
    ]


def size(budget: Budget) -> float:
    """A budget as a number to sort by: "all" comes last."""
    return float("inf") if budget == "all" else budget


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over seeds."""

    n: int
    mean: float
    spread: float | None
    """Sample standard deviation; None for a single seed."""


@dataclass(frozen=True, slots=True)
class Paired:
    """The differences between two ways to train, seed by seed."""

    n: int
    difference: float
    """Mean difference."""
    low: float | None = None
    """Lower end of the 95 % confidence interval of the mean difference (t); None below `LEAST` pairs, as all below."""
    high: float | None = None
    p: float | None = None
    """Two-sided probability of a difference at least as large by chance alone, by the paired t test."""
    p_permutation: float | None = None
    """The same by the exact permutation test; None also above 16 pairs."""


@dataclass(frozen=True, slots=True)
class Row:
    """One arm at one label budget, over the seeds that are finished."""

    arm: str
    budget: Budget
    wanted: int
    """Seeds there are to be."""
    done: int
    """Seeds that are finished."""
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
    delta_m: Mean | None = None
    """Per cent; None where no arms are named for it, or the row is one of them and has a task alone."""
    others: Mapping[str, Mapping[str, Mean]] = field(default_factory=dict)
    """By task other than segmentation its headline scores by name."""
    classes: Mapping[str, Mean] = field(default_factory=dict)
    """By class its IoU, per cent, over the seeds that have it."""
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


def rows(
    cells: Sequence[Cell],
    records: Mapping[Cell, Record],
    failed: Mapping[Cell, str],
    baseline: str,
    singles: Mapping[str, str] | None = None,
) -> list[Row]:
    """A row for every arm and budget of the grid, arms in the order of the study, budgets from small to large.

    `singles`: by task the arm that Delta_m compares it with.
    """
    arms = list(dict.fromkeys(cell.arm for cell in cells))
    places = {(cell.arm, cell.budget) for cell in cells}
    full = reference(cells, baseline)

    def row(arm: str, budget: Budget) -> Row:
        own = [cell for cell in cells if (cell.arm, cell.budget) == (arm, budget)]
        done = [cell for cell in own if cell in records]

        def paired(other: Budget) -> list[tuple[float, float]]:
            """The scores of this row and of the baseline at a budget, with the same seeds."""
            beside = [(records[cell], records.get(Cell(baseline, other, cell.seed))) for cell in done]
            return [
                (one[SCORE], base[SCORE])
                for one, base in beside
                if base and one[SCORE] is not None and base[SCORE] is not None
            ]

        return Row(
            arm=arm,
            budget=budget,
            wanted=len(own),
            done=len(done),
            failed=sum(cell in failed for cell in own),
            images=records[done[0]]["images"] if done else None,
            score=_mean([records[cell][SCORE] for cell in done]),
            minutes=_mean([records[cell]["minutes"] for cell in done]),
            cpu_minutes=_mean([records[cell]["cpu_minutes"] for cell in done]),
            relative=_mean([100 * one / whole for one, whole in paired(full) if whole]),
            against=None if arm == baseline else compare([one - base for one, base in paired(budget)]),
            delta_m=_mean([delta_m_of(cell, records, singles) for cell in done]) if singles else None,
            others=_others([records[cell].get(HEADLINES, {}) for cell in done]),
            classes=_by_name([records[cell].get(CLASSES, {}) for cell in done]),
        )

    found = [row(*place) for place in sorted(places, key=lambda place: (arms.index(place[0]), size(place[1])))]
    tested = {i: row.against.p for i, row in enumerate(found) if row.against and row.against.p is not None}
    for i, p in zip(tested, holm(list(tested.values())), strict=True):
        found[i] = dataclasses.replace(found[i], p_holm=p)
    return found


def delta_m_of(cell: Cell, records: Mapping[Cell, Record], singles: Mapping[str, str]) -> float | None:
    """Delta_m of a finished cell in per cent, against the arms of its tasks with its budget and seed; None where one of
    the tasks or of these cells is missing, or two scores do not compare: depth in metres with scaled depth."""
    own = records[cell].get(MAIN_SCORES, {})
    changes = []
    for task, arm in singles.items():
        base = records.get(Cell(arm, cell.budget, cell.seed), {}).get(MAIN_SCORES, {})
        if task not in own or task not in base:
            return None
        ours, theirs = MainScore(**own[task]), MainScore(**base[task])
        if ours.name != theirs.name:
            return None
        changes.append(relative_change(ours, theirs))
    found = delta_m(dict(zip(singles, changes, strict=True)))
    return None if found is None else 100 * found


def reference(cells: Sequence[Cell], baseline: str) -> Budget:
    """The baseline's largest budget, whose mIoU is 100 %."""
    return max((cell.budget for cell in cells if cell.arm == baseline), key=size)


def compare(differences: Sequence[float]) -> Paired | None:
    """What the differences over the seeds say; None if there is none."""
    from scipy.stats import t as student

    n = len(differences)
    if n < LEAST:
        return Paired(n, statistics.fmean(differences)) if n else None
    mean, error = statistics.fmean(differences), statistics.stdev(differences) / math.sqrt(n)
    half = float(student.ppf(0.975, n - 1)) * error
    t = mean / error if error > 0 else math.copysign(math.inf, mean) if mean else 0.0
    flips = None if n > _PERMUTED else np.array(list(itertools.product((1, -1), repeat=n)))
    return Paired(
        n,
        mean,
        low=mean - half,
        high=mean + half,
        p=float(2 * student.sf(abs(t), n - 1)),
        p_permutation=None if flips is None else float((abs(flips @ differences) >= abs(n * mean) - 1e-9).mean()),
    )


def holm(probabilities: Sequence[float]) -> list[float]:
    """Probabilities that allow for how many were computed (Holm 1979): calling those < 0.05 differences is wrong once
    or more in at most 5 % of all studies."""
    order = np.argsort(probabilities)
    adjusted = np.zeros(len(order))
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * np.array(probabilities, float)[order]))
    found: list[float] = adjusted.tolist()
    return found


def _by_name(found: Sequence[Mapping[str, float | None]]) -> dict[str, Mean]:
    """Over the seeds, the scores of each name that any of them knows."""
    means = {name: _mean([one.get(name) for one in found]) for name in dict.fromkeys(n for one in found for n in one)}
    return {name: mean for name, mean in means.items() if mean}


def _others(found: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Mean]]:
    """Over the seeds, the headline scores of all tasks but segmentation, whose mIoU has a place of its own."""
    tasks = dict.fromkeys(task for one in found for task in one if task != "segmentation")
    return {task: _by_name([one.get(task, {}) for one in found]) for task in tasks}


def _mean(values: Sequence[float | None]) -> Mean | None:
    """Mean and spread of those that are known; None of nothing."""
    known = [value for value in values if value is not None]
    spread = statistics.stdev(known) if len(known) > 1 else None
    return Mean(len(known), statistics.fmean(known), spread) if known else None
