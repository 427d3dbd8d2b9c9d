"""What an objective says of its loss terms is held against what it does."""

from __future__ import annotations

import pytest
import torch

from fathomseg.engine.count_check import CountCheck
from fathomseg.errors import FathomError


def test_counts_over_micro_batches_may_be_as_promised() -> None:
    check = CountCheck()
    check.begin({"a": torch.tensor(5.0)})
    check.note(["a", "b"], torch.tensor([2.0, 1.0]))
    check.note(["b", "a"], torch.tensor([1.0, 3.0]))
    check.end()


def test_other_counts_are_an_error_in_the_first_step() -> None:
    with pytest.raises(FathomError, match=r"says 5 of the loss term 'a', whose own counts add up to 7"):
        wrong({"a": 5.0}, {"a": 7.0})


def test_later_steps_do_not_wait_for_the_device() -> None:
    check = CountCheck()
    for found in (5.0, 7.0):
        check.begin({"a": torch.tensor(5.0)})
        check.note(["a"], torch.tensor([found]))
        check.end()


def wrong(promised: dict[str, float], found: dict[str, float]) -> None:
    check = CountCheck()
    check.begin({name: torch.tensor(count) for name, count in promised.items()})
    check.note(list(found), torch.tensor(list(found.values())))
    check.end()


def test_a_count_of_no_term_is_an_error() -> None:
    with pytest.raises(FathomError, match="`counts` names 'b', which is no loss term; there is: a"):
        wrong({"b": 1.0}, {"a": 1.0})


def test_terms_that_come_and_go_are_an_error() -> None:
    check = CountCheck()
    check.begin({})
    check.note(["a", "b"], torch.ones(2))
    with pytest.raises(FathomError, match="The loss term 'b' is in some batches only"):
        check.note(["a"], torch.ones(1))
