"""What an objective says of its loss terms is held against what it does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from fathomseg.engine import count_check
from fathomseg.engine.count_check import CountCheck
from fathomseg.engine.loop import Trainer
from fathomseg.engine.meter import Meter
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


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c"], ["b"]])
def test_names_of_the_first_batch_are_those_of_all_ranks(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    """They would add up rows of different terms, or wait for ever."""
    monkeypatch.setattr(count_check, "gathered", lambda own: [*own, frozenset(["b", "a"])])
    for look in (CountCheck().check, lambda names: CountCheck().check_logs(names, measuring=True)):
        if set(names) == {"a", "b"}:
            look(names)
        else:
            with pytest.raises(FathomError, match=r"'(a|c)'.* some batches only"):
                look(names)


def test_logs_may_be_others_in_steps_that_are_measured() -> None:
    check = CountCheck()
    for _ in range(2):
        check.check_logs(["a"], measuring=False)
        check.check_logs(["a", "links.b"], measuring=True)
    with pytest.raises(FathomError, match=r"'links\.b' is logged for some batches only"):
        check.check_logs(["a"], measuring=True)


def test_ranks_add_up_and_average_what_has_one_name() -> None:
    """Whatever the order in which an objective names it."""
    met: list[tuple[list[float], str]] = []

    def reduce(own: Tensor, how: str) -> Tensor:
        met.append((own.flatten().tolist(), how))
        return own

    for names in (["a", "b"], ["b", "a"]):
        trainer = Trainer.__new__(Trainer)
        trainer.accelerate = SimpleNamespace(num_processes=2, reduce=reduce)  # type: ignore[assignment]
        trainer.config = SimpleNamespace(accumulate=1)  # type: ignore[assignment]
        trainer.module = SimpleNamespace(measuring=False)  # type: ignore[assignment]
        trainer.counted, trainer.meter = CountCheck(), Meter(torch.device("cpu"))
        numbers = {"a": torch.tensor(1.0), "b": torch.tensor(2.0)}
        terms = {name: Term(numbers[name], torch.ones(()), group=name) for name in names}
        losses = trainer._losses(StepResult(terms, {f"log.{name}": numbers[name] for name in names}), {})
        assert {loss.group: loss.everyone.item() for loss in losses} == {"a": 1.0, "b": 2.0}
        assert trainer.meter.take()["log.b"] == 2.0
    assert met[:2] == met[2:] == [([1.0, 1.0, 2.0, 1.0], "sum"), ([1.0, 2.0], "mean")]
