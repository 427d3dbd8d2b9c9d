"""Drops of the learning rate: at known steps, with every schedule."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.config import validate
from fathomseg.engine.optimiser import Optimiser
from fathomseg.errors import ConfigError


def test_each_drop_divides_by_ten_from_its_step_on() -> None:
    config = Optimiser(schedule="constant", warmup=0, drops=(3, 5))
    assert [config.factor(s, 7) for s in range(7)] == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_the_papers_schedule() -> None:
    """Godard et al. 2019: 1e-4 for 15 of 20 epochs, then 1e-5."""
    config = Optimiser(lr=1e-4, schedule="constant", warmup=0, drops=(15,))
    group = {"params": [torch.nn.Parameter(torch.ones(1))], "lr_scale": 1.0, "decays": True}
    optimiser = config.build([group])
    rates = [config.set_lr(optimiser, step, 20) for step in range(20)]
    assert rates == pytest.approx([1e-4] * 15 + [1e-5] * 5)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(1e-5)


@given(
    st.sampled_from(["poly", "cosine", "constant"]),
    st.lists(st.integers(1, 99), max_size=3),
    st.integers(0, 99),
    st.integers(0, 10),
)
def test_drops_multiply_any_schedule(schedule: str, drops: list[int], step: int, warmup: int) -> None:
    plain = Optimiser(schedule=schedule, warmup=warmup)
    dropped = Optimiser(schedule=schedule, warmup=warmup, drops=tuple(drops))
    passed = len([drop for drop in drops if drop <= step])
    assert dropped.factor(step, 100) == pytest.approx(plain.factor(step, 100) / 10**passed)


def test_a_drop_before_the_first_step_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"drops\.0"):
        validate(Optimiser, {"drops": [0]})
