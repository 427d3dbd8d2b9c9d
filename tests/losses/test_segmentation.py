"""Segmentation losses against slow loops in float64, published annealing schedules by hand, and the hard cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from fathomseg.losses.segmentation import (
    Annealing,
    annealed_cross_entropy,
    balancing_weights,
    cross_entropy,
    ohem_cross_entropy,
    upsample,
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


def test_logits_less_log_weights_give_back_the_frequencies_that_weighted_training_has_bent() -> None:
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
    freed = (logits.detach() - weight.log().view(1, 3, 1, 1)).softmax(1).flatten()
    assert freed.tolist() == pytest.approx([0.7, 0.25, 0.05], abs=1e-6)


CLASSES = 4


def annealing_case(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, CLASSES, 5, 6, generator=g, dtype=torch.float64) * 2
    label = torch.randint(0, CLASSES, (2, 5, 6), generator=g).to(torch.uint8)
    label[torch.rand(2, 5, 6, generator=g) < 0.3] = 255
    return logits, label


@pytest.mark.parametrize(
    ("schedule", "alphas"),
    [
        ("linear", (0.0, 0.5, 1.0)),
        ("exp", (0.006737947, 0.082084999, 1.0)),
        ("log", (0.0, 0.917915001, 0.993262053)),
    ],
)
def test_annealing_schedules_by_hand(schedule: str, alphas: tuple[float, ...]) -> None:
    found = [Annealing(schedule=schedule).threshold(progress, 5) for progress in (0.0, 0.5, 1.0)]
    assert found == pytest.approx([0.2 + 0.8 * alpha for alpha in alphas], rel=1e-7)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(2, 200))
def test_thresholds_rise_from_chance_to_certainty(a: float, b: float, classes: int) -> None:
    low, high = sorted((a, b))
    exp, linear, log = (Annealing(schedule=name) for name in ("exp", "linear", "log"))
    for annealing in (exp, linear, log):
        first, second = annealing.threshold(low, classes), annealing.threshold(high, classes)
        assert 1 / classes - 1e-12 <= first <= second + 1e-12 <= 1 + 2e-12
    if 0.01 < low < 0.99:
        assert exp.threshold(low, classes) < linear.threshold(low, classes) < log.threshold(low, classes)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 0.99))
def test_annealing_against_a_loop(seed: int, threshold: float) -> None:
    logits, label = annealing_case(seed)
    total, kept = 0.0, 0
    for b, y, x in np.ndindex(*label.shape):
        z = logits[b, :, y, x].tolist()
        if label[b, y, x] != 255:
            p = math.exp(z[int(label[b, y, x])]) / sum(map(math.exp, z))
            if p <= threshold:
                total, kept = total - math.log(p), kept + 1
    found = annealed_cross_entropy(logits, label, threshold)
    assert found[1] == kept
    assert found[0].item() == pytest.approx(total, rel=1e-9)


def test_annealing_ends_in_plain_cross_entropy() -> None:
    logits, label = annealing_case(0)
    logits[0, :, 0] = torch.tensor([60.0, 0, 0, 0], dtype=torch.float64)[:, None]  # a probability that rounds to 1
    label[0, 0] = 0
    for dtype in (torch.float32, torch.float64):
        found, expected = (
            loss(logits.to(dtype), label, *more)
            for loss, more in (
                (annealed_cross_entropy, (Annealing().threshold(1.0, CLASSES),)),
                (cross_entropy, ()),
            )
        )
        assert found[1] == expected[1]
        torch.testing.assert_close(found[0], expected[0])


def test_everything_known_or_ignored_gives_zero_and_no_gradient() -> None:
    logits, label = annealing_case(1)
    logits = (torch.nn.functional.one_hot(label.long() % CLASSES, CLASSES).movedim(3, 1) * 20.0).requires_grad_()
    for case in (label, torch.full_like(label, 255)):
        total, count = annealed_cross_entropy(logits, case, 0.5)
        assert (total.item(), count.item()) == (0, 0)
        (gradient,) = torch.autograd.grad(total, logits)
        assert (gradient == 0).all()


def test_annealed_gradients() -> None:
    logits, label = annealing_case(2)
    logits.requires_grad_()
    few = logits.detach()[:, :, :2, :2].requires_grad_()
    assert torch.autograd.gradcheck(lambda z: annealed_cross_entropy(z, label[:, :2, :2], 0.4)[0], few)
    total, count = annealed_cross_entropy(logits, label, 0.4)
    reached = torch.autograd.grad(total, logits)[0].abs().sum(1) > 0
    assert reached.sum() == count < (label != 255).sum()


def test_annealing_in_half_precision_and_no_waiting() -> None:
    logits, label = annealing_case(3)
    half = (logits * 100).half()
    found, exact = (annealed_cross_entropy(z, label, 0.9) for z in (half, half.double()))
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[0], exact[0].float())
    with FakeTensorMode():
        total, count = annealed_cross_entropy(
            torch.randn(1, CLASSES, 3, 3), torch.zeros(1, 3, 3, dtype=torch.uint8), 0.9
        )
        assert (total / count).shape == ()
