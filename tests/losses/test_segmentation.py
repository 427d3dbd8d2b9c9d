"""Segmentation losses against slow loops in float64, and the hard cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.losses.segmentation import (
    balancing_weights,
    cross_entropy,
    ohem_cross_entropy,
    upsample,
    without_balance,
)


def make(seed: int, ignored: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 5, 6, 7, generator=g, dtype=torch.float64) * 3
    label = torch.randint(0, 5, (2, 6, 7), generator=g).to(torch.uint8)
    label[torch.rand(2, 6, 7, generator=g) < ignored] = 255
    return logits, label


def pixel_losses(logits: torch.Tensor, label: torch.Tensor) -> list[float]:
    losses = []
    for b, y, x in np.ndindex(*label.shape):
        if label[b, y, x] != 255:
            z = logits[b, :, y, x].tolist()
            losses.append(math.log(sum(map(math.exp, z))) - z[int(label[b, y, x])])
    return losses


@pytest.mark.parametrize("seed", range(3))
def test_cross_entropy_equals_the_sum_over_valid_pixels(seed: int) -> None:
    logits, label = make(seed)
    total, count = cross_entropy(logits, label)
    expected = pixel_losses(logits, label)
    assert count == len(expected)
    assert total.item() == pytest.approx(sum(expected), rel=1e-12)


def test_an_ignored_batch_gives_zero_and_no_gradient() -> None:
    logits, label = make(0)
    logits.requires_grad_()
    for loss in (cross_entropy, ohem_cross_entropy):
        total, count = loss(logits, torch.full_like(label, 255))
        assert (total.item(), count.item()) == (0, 0)
        (gradient,) = torch.autograd.grad(total, logits)
        assert (gradient == 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 0.95), st.floats(0.02, 0.6))
def test_ohem_keeps_the_unsure_pixels_and_at_least_its_share(seed: int, threshold: float, min_kept: float) -> None:
    logits, label = make(seed)
    total, count = ohem_cross_entropy(logits, label, threshold, min_kept)
    losses = sorted(pixel_losses(logits, label), reverse=True)
    unsure = sum(math.exp(-loss) < threshold for loss in losses)
    least = min(len(losses), max(1, int(min_kept * label.numel())))
    kept = losses[: max(unsure, least)]
    assert count == len(kept)
    assert total.item() == pytest.approx(sum(kept), rel=1e-9)


def test_gradients() -> None:
    logits, label = make(1)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: cross_entropy(z, label)[0], logits)
    assert torch.autograd.gradcheck(lambda z: ohem_cross_entropy(z, label)[0], logits)


def test_ignored_pixels_count_nowhere() -> None:
    logits, label = make(2)
    changed = logits.clone()
    changed.movedim(1, -1)[label == 255] += 10 * torch.randn((label == 255).sum(), 5, dtype=torch.float64)
    for loss in (cross_entropy, ohem_cross_entropy):
        assert loss(logits, label)[0] == loss(changed, label)[0]


def test_upsampling_keeps_pixel_edges() -> None:
    ramp = torch.arange(4.0).view(1, 1, 1, 4)
    assert upsample(ramp, (1, 8)).flatten().tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]


@pytest.mark.parametrize(
    ("power", "expected"), [(0.0, [1, 1, 1]), (0.5, [4 / 6, 8 / 6, 16 / 6]), (1.0, [4 / 9, 16 / 9, 64 / 9])]
)
def test_balancing_weights_by_hand(power: float, expected: list[float]) -> None:
    pixels = torch.tensor([64, 16, 4])  # shares 16/21, 4/21, 1/21
    weight = balancing_weights(pixels, power)
    raw = torch.tensor(expected)
    torch.testing.assert_close(weight / weight[0], raw / raw[0])
    assert (weight * pixels).sum() / pixels.sum() == pytest.approx(1.0)


def test_a_class_without_pixels_gets_a_finite_weight() -> None:
    assert torch.isfinite(balancing_weights(torch.tensor([5, 0, 3]), 1.0)).all()
    assert torch.isfinite(balancing_weights(torch.tensor([0, 0]), 0.5)).all()


def test_class_weights_multiply_each_pixel() -> None:
    logits, label = make(4)
    weight = torch.tensor([0.5, 2.0, 1.0, 0.0, 3.0], dtype=torch.float64)
    total, count = cross_entropy(logits, label, weight)
    assert count == (label != 255).sum()
    valid = label[label != 255].tolist()
    each = pixel_losses(logits, label)
    assert total.item() == pytest.approx(sum(weight[c].item() * x for c, x in zip(valid, each, strict=True)), rel=1e-12)


def test_without_balance_gives_back_the_frequencies_that_weighted_training_has_bent() -> None:
    """One picture is labelled 70, 25 and 5 times so: the best logits under weights, freed of them, say just that."""
    label = torch.tensor([0] * 70 + [1] * 25 + [2] * 5, dtype=torch.uint8).view(100, 1, 1)
    weight = balancing_weights(torch.tensor([70, 25, 5]), 0.5).double()
    logits = torch.zeros(1, 3, 1, 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=100, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimiser.zero_grad()
        total, _ = cross_entropy(logits.expand(100, 3, 1, 1), label, weight)
        total.backward()
        return total.item()

    optimiser.step(loss)
    assert logits.detach().softmax(1).flatten().tolist() != pytest.approx([0.7, 0.25, 0.05], abs=0.05)
    freed = without_balance(logits.detach(), weight).softmax(1).flatten()
    assert freed.tolist() == pytest.approx([0.7, 0.25, 0.05], abs=1e-6)
