"""Criteria that need no labelled image: chance, diversity, coverage, difficulty, and diversity with difficulty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, Float64
from pydantic import Field

from fathomseg.config import Part
from fathomseg.depth_sources import AnyDepthSource
from fathomseg.inference.device import pick_device
from fathomseg.selection.base import Answer, Criterion, highest, random_order, times_the_median
from fathomseg.selection.comparing import Comparing
from fathomseg.selection.covering import Cover, Covering
from fathomseg.selection.difficulty import IgnoredRegions, Student, StudentError
from fathomseg.selection.picker import Picker
from fathomseg.selection.pool import Pool
from fathomseg.selection.result import Choice


class Random(Criterion):
    """Chance: what every other criterion must beat."""

    name: Literal["random"] = "random"

    def _choose(self, pool: Pool, budget: int) -> Answer:
        reason = f"It was drawn at random (seed {pool.seed})."
        ids = random_order(pool)[:budget]
        return Answer(tuple(Choice(id=id, rank=rank, reason=reason) for rank, id in enumerate(ids, 1)))


class Diversity(Comparing, Criterion):
    """Each image is the one least like any before it: the farthest in feature space (greedy k-center)."""

    name: Literal["diversity"] = "diversity"

    def _choose(self, pool: Pool, budget: int) -> Answer:
        with self.picker(pool) as (picker, features):
            choices = [] if pool.already else [self.first(pool, picker)]
            picks = picker.pick(budget - len(choices))
            choices += [self.far(pool, pick, rank) for rank, pick in enumerate(picks, len(choices) + 1)]
        return Answer(tuple(choices), features)


class Coverage(Comparing, Criterion):
    """Each image is the one that brings the pool nearest to what is chosen: greedy k-medoids (facility location).

    Diversity looks for the odd, coverage for what stands for many. With few labels typical images are worth more than
    odd ones (Hacohen et al. 2022, arXiv:2202.02794).
    """

    name: Literal["coverage"] = "coverage"

    def _choose(self, pool: Pool, budget: int) -> Answer:
        features = self.extracted(pool)
        covering = Covering(features.matrix, self.cells, pool.rows(pool.already), pick_device(pool.place))
        choices = [] if pool.already else [self.first(pool, covering)]
        picks = covering.pick(budget - len(choices))
        choices += [_covers(pool, pick, rank) for rank, pick in enumerate(picks, len(choices) + 1)]
        return Answer(tuple(choices), features)


class _ByStudentError(Part):
    """What criteria share that go by the error of depth students; they work in stages, each with its own student."""

    teacher: AnyDepthSource
    """The depth a student learns."""
    student: Student = Student()
    """The network that is to learn it from few images."""
    first_stage: Annotated[int, Field(ge=2)] = 13
    """Images, those labelled already included, that the first student learns from; each next one learns from twice as
    many. Up to the first stage no difficulty is known. Hoyer et al. (2021) begin with 25."""
    ignored_regions: IgnoredRegions = IgnoredRegions()
    """Where a student's error says nothing."""

    def student_error(self, pool: Pool) -> StudentError:
        """Students and their teacher."""
        return StudentError.of(pool, self.teacher, self.student, self.ignored_regions)

    def stages(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """The stages on the way from `begin` to `end` images: the number of the student (0 = none) and where it ends.

        Where a stage ends depends on `end` only by being cut short there, so that budgets nest.
        """
        number, limit = 0, self.first_stage
        while begin < end:
            if limit > begin:
                yield number, min(limit, end)
                begin = limit
            number, limit = number + 1, 2 * limit


class Difficulty(_ByStudentError, Criterion):
    """The images a depth student errs on most; those of the first stage are random."""

    name: Literal["difficulty"] = "difficulty"

    def _choose(self, pool: Pool, budget: int) -> Answer:
        student_error, known = self.student_error(pool), list(pool.already)
        choices: list[Choice] = []
        for student, end in self.stages(len(known), len(known) + budget):
            count = end - len(known)
            if student == 0:
                new = Random().choose(pool, count).choices
            else:
                errors = student_error.errors(known, student)
                rows = highest(errors, pool.rows(known), count)
                new = tuple(_hard(pool, row, errors, len(choices) + i, len(known)) for i, row in enumerate(rows, 1))
            choices += new
            known += [choice.id for choice in new]
        return Answer(tuple(choices))


class DiversityAndDifficulty(Comparing, _ByStudentError, Criterion):
    """Diversity and difficulty together (Hoyer et al. 2021, algorithm 1).

    Each image is the one of the largest distance + lambda * difficulty, with lambda = weight * deviation of the
    distances / deviation of the difficulties, both over the images left at the beginning of a stage. So a weight of 1
    gives both the same say, whatever the features and the student; the paper fixes lambda at 1000.
    """

    name: Literal["diversity_and_difficulty"] = "diversity_and_difficulty"
    weight: Annotated[float, Field(ge=0)] = 1.0
    """How much difficulty counts beside diversity, each measured by how it varies over the pool."""

    def _choose(self, pool: Pool, budget: int) -> Answer:
        student_error = self.student_error(pool)
        with self.picker(pool) as (picker, features):
            choices = [] if pool.already else [self.first(pool, picker)]
            known = [*pool.already, *(choice.id for choice in choices)]
            for student, end in self.stages(len(known), len(pool.already) + budget):
                count = end - len(known)
                if student == 0:
                    new = [self.far(pool, pick, len(choices) + i) for i, pick in enumerate(picker.pick(count), 1)]
                else:
                    errors = student_error.errors(known, student)
                    picks = picker.pick(count, self.bonus(picker, errors))
                    new = [self.far_and_hard(pool, pick, errors, len(choices) + i) for i, pick in enumerate(picks, 1)]
                choices += new
                known += [choice.id for choice in new]
        return Answer(tuple(choices), features)

    def bonus(self, picker: Picker, errors: Float[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """lambda * difficulty, on the scale of the picker's distances."""
        left = picker.left
        distances, difficulties = picker.distances[left].std(), errors[left].std(dtype=np.float64)
        # Where all distances are alike, any scale lets difficulty decide.
        scale = self.weight * (float(distances) or 1.0) / difficulties if difficulties > 0 else 0.0
        return scale * errors.astype(np.float64)


def _covers(pool: Pool, pick: Cover, rank: int) -> Choice:
    reason = f"With it the pool is on average {pick.after:.2f} away from what is chosen, and {pick.before:.2f} without."
    return Choice(id=pool.ids[pick.row], rank=rank, scores={"coverage": pick.before - pick.after}, reason=reason)


def _hard(pool: Pool, row: Any, errors: Float[np.ndarray, " n"], rank: int, known: int) -> Choice:
    error = float(errors[row])
    reason = f"A depth student of {known} images errs by {error:.4f} here, {times_the_median(error, errors)}."
    return Choice(id=pool.ids[row], rank=rank, scores={"difficulty": error}, reason=reason)
