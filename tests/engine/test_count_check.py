"""What an objective says of its loss terms is held against what it does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fathomseg.engine.count_check import CountCheck
from fathomseg.engine.loop import Trainer
from fathomseg.errors import FathomError
from fathomseg.types import StepResult, Term


def test_counts_over_micro_batches_may_be_as_promised() -> None:
    check = CountCheck()
    check.begin({"a": torch.tensor(5.0)})
    for names, counts in ((["a", "b"], [2.0, 1.0]), (["b", "a"], [1.0, 3.0])):
        check.check(names)
        check.note(names, torch.tensor(counts))
    check.end()


def test_other_counts_are_an_error_in_the_first_step() -> None:
    with pytest.raises(FathomError, match=r"says 5 of the loss term 'a', whose own counts add up to 7"):
        wrong({"a": 5.0}, {"a": 7.0})


def test_later_steps_do_not_wait_for_the_device() -> None:
    check = CountCheck()
    for found in (5.0, 7.0):
        check.begin({"a": torch.tensor(5.0)})
        check.check(["a"])
        check.note(["a"], torch.tensor([found]))
        check.end()


def wrong(promised: dict[str, float], found: dict[str, float]) -> None:
    check = CountCheck()
    check.begin({name: torch.tensor(count) for name, count in promised.items()})
    check.check(list(found))
    check.note(list(found), torch.tensor(list(found.values())))
    check.end()


def test_a_count_of_no_term_is_an_error() -> None:
    with pytest.raises(FathomError, match="`counts` names 'b', which is no loss term; there is: a"):
        wrong({"b": 1.0}, {"a": 1.0})


def test_terms_that_come_and_go_are_an_error() -> None:
    check = CountCheck()
    check.begin({})
    check.check(["a", "b"])
    with pytest.raises(FathomError, match="The loss term 'b' is in some batches only"):
        check.check(["a"])


def test_names_are_looked_at_before_ranks_add_up() -> None:
    """Of rows of different numbers of terms they would wait for ever."""

    def reduce(*_: object) -> None:
        pytest.fail("the ranks have added up first")

    trainer = Trainer.__new__(Trainer)
    trainer.accelerate = SimpleNamespace(num_processes=2, reduce=reduce)  # type: ignore[assignment]
    trainer.counted = CountCheck()
    trainer.counted.check(["a", "b"])
    with pytest.raises(FathomError, match="The loss term 'b' is in some batches only"):
        trainer._losses(StepResult({"a": Term(torch.ones(()), torch.ones(()))}), {})
