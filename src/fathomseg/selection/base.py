"""What every criterion offers: a selection from a pool for a budget, and its description."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from fathomseg.config import Part
from fathomseg.errors import FathomError
from fathomseg.selection.features import Features
from fathomseg.selection.pool import Pool
from fathomseg.selection.result import Choice


@dataclass(frozen=True)
class Answer:
    """What a criterion says."""

    choices: tuple[Choice, ...]
    """In the order of choice."""
    features: Features | None = None
    """What the images of the pool were compared by, if they were."""


class Criterion(Part, ABC):
    """By what images are chosen."""

    name: str

    def choose(self, pool: Pool, budget: int) -> Answer:
        """`budget` images that are not labelled already; a smaller budget gives the first of them.

        Raises `FathomError` if there are fewer, or the criterion cannot judge them.
        """
        check_budget(budget, len(pool.ids), len(pool.already))
        return self._choose(pool, budget)

    @abstractmethod
    def _choose(self, pool: Pool, budget: int) -> Answer:
        """The same; the budget is one that can be met."""


def check_budget(budget: int, pool: int, already: int) -> None:
    """Raises `FathomError` unless so many can be chosen from `pool` images of which `already` are given as labelled."""
    left = pool - already
    if left < 1:
        raise FathomError(
            f"All {pool} images of the pool are given as labelled (`already`), so there is nothing to choose; "
            "already=null leaves none out."
        )
    if not 1 <= budget <= left:
        raise FathomError(
            f"The budget is {budget}, but the pool has {left} images to choose from ({already} of {pool} are given as "
            f"`already`; already=labelled leaves out those with a label). Give a budget of 1 to {left}."
        )


def random_order(pool: Pool) -> list[str]:
    """The images that are not labelled, shuffled by the pool's seed.

    It is the order in which `labels.count` takes images of a split that are all labelled.
    """
    order = np.random.default_rng(pool.seed).permutation(len(pool.ids))
    known = frozenset(pool.already)
    return [pool.ids[row] for row in order if pool.ids[row] not in known]


def highest(scores: Float[np.ndarray, " n"], taken: Sequence[int], count: int) -> Int64[np.ndarray, " count"]:
    """The rows of the highest scores without those taken, highest first; of equals the first row."""
    order = np.argsort(-scores, kind="stable")
    return order[~np.isin(order, np.asarray(taken, np.int64))][:count]


def times_the_median(value: float, scores: Float[np.ndarray, " n"]) -> str:
    """ "2.1 times the median of the pool"."""
    median = float(np.median(scores))
    return f"{value / median:.1f} times the median of the pool" if median > 0 else "the median of the pool is 0"
