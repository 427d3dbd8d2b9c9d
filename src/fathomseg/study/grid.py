"""The cells of a study: one training each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

SEED: Final = "seed"
LABEL_BUDGET: Final = "streams.labelled.labels.count"
LABEL_FILE: Final = "streams.labelled.labels.file"
"""The settings of a recipe that differ from cell to cell: seed, number of labelled images, list of chosen ones."""

Budget = int | Literal["all"]
"""Number of labelled images; "all" = every image of the split that has a label."""


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
