"""Edge-aware smoothness by hand, against loops in float64, and what it must not depend on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.losses.smoothness import smoothness


def textbook(d: torch.Tensor, image: torch.Tensor) -> float:
    total = 0.0
    for b in range(len(d)):
        mean = d[b].mean().item() + 1e-7
        for dy, dx in ((0, 1), (1, 0)):
            values = []
            for y in range(d.shape[2] - dy):
                for x in range(d.shape[3] - dx):
                    step = abs(d[b, 0, y + dy, x + dx].item() - d[b, 0, y, x].item()) / mean
                    edge = sum(abs((image[b, c, y + dy, x + dx] - image[b, c, y, x]).item()) for c in range(3)) / 3
                    values.append(step * math.exp(-edge))
            total += sum(values) / max(len(values), 1)
    return total


def make(seed: int, h: int, w: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return (torch.rand(2, c, h, w, generator=g, dtype=torch.float64) for c in (1, 3))  # type: ignore[return-value]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 6))
def test_equals_the_formula_in_loops(seed: int, h: int, w: int) -> None:
    d, image = make(seed, h, w)
    total, count = smoothness(d, image)
    assert count == 2
    assert total.item() == pytest.approx(textbook(d, image), rel=1e-10)


def test_a_step_by_hand() -> None:
    d = torch.tensor([[1.0, 3.0], [1.0, 3.0]]).view(1, 1, 2, 2)  # mean 2: steps of 1 along x, none along y
    flat, edge = torch.zeros(1, 3, 2, 2), torch.tensor([0.0, 1.0]).expand(1, 3, 2, 2)
    assert smoothness(d, flat)[0].item() == pytest.approx(1)
    assert smoothness(d, edge)[0].item() == pytest.approx(math.exp(-1))


def test_scaling_the_disparity_changes_nothing() -> None:
    d, image = make(0, 6, 7)
    torch.testing.assert_close(smoothness(0.01 * d, image)[0], smoothness(d, image)[0], rtol=1e-4, atol=0)


def test_gradient() -> None:
    d, image = make(1, 4, 5)
    assert torch.autograd.gradcheck(lambda x: smoothness(x, image)[0], d.requires_grad_())
    total, _ = smoothness(d, image.requires_grad_())
    assert torch.autograd.grad(total, image, allow_unused=True)[0] is None


def test_a_black_map_gives_no_nan() -> None:
    d = torch.zeros(1, 1, 4, 5, requires_grad=True)
    total, _ = smoothness(d, torch.rand(1, 3, 4, 5))
    (gradient,) = torch.autograd.grad(total, d)
    assert total.item() == 0
    assert gradient.isfinite().all()
