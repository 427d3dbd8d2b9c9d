"""The reverse Huber loss by hand, against the formula in loops, and its gradient."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.losses.berhu import berhu


def test_by_hand() -> None:
    """Errors 0.1, 0.2, 1.0 with c = 0.2: 0.1 + 0.2 + (1 + 0.04) / 0.4."""
    total, count = berhu(torch.tensor([0.1, 0.7, 1.0, 0.3]), torch.tensor([0.0, 0.5, 0.0, math.nan]))
    assert total.item() == pytest.approx(0.1 + 0.2 + 2.6)
    assert count == 3


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 1.0))
def test_equals_the_formula_in_loops(seed: int, share: float) -> None:
    g = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, 1, 3, 4, generator=g), torch.rand(2, 1, 3, 4, generator=g)
    errors = [abs(x - y) for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)]
    c = share * max(errors)
    expected = sum(e if e <= c else (e * e + c * c) / (2 * c) for e in errors)
    assert berhu(a, b, share)[0].item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_that_of_a_constant_c() -> None:
    """sign(e) below c, e / c above."""
    a = torch.tensor([0.1, -1.0, 0.4], requires_grad=True)
    total, _ = berhu(a, torch.zeros(3))
    total.backward()
    torch.testing.assert_close(a.grad, torch.tensor([1.0, -5.0, 2.0]))


@pytest.mark.parametrize("target", [[math.nan, math.nan], [0.5, 0.5]])
def test_nothing_to_learn_moves_nothing(target: list[float]) -> None:
    a = torch.tensor([0.5, 0.5], requires_grad=True)
    total, _ = berhu(a, torch.tensor(target))
    total.backward()
    assert total.item() == 0
    assert a.grad is not None
    assert torch.equal(a.grad, torch.zeros(2))
