"""Training-signal annealing: the published schedules by hand, the loss against a loop over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from fathomseg.losses.annealing import Annealing, annealed_cross_entropy
from fathomseg.losses.segmentation import cross_entropy

C = 4


def make(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, C, 5, 6, generator=g, dtype=torch.float64) * 2
    label = torch.randint(0, C, (2, 5, 6), generator=g).to(torch.uint8)
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
def test_schedules_by_hand(schedule: str, alphas: tuple[float, ...]) -> None:
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
def test_loss_against_a_loop(seed: int, threshold: float) -> None:
    logits, label = make(seed)
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


def test_at_the_end_it_is_plain_cross_entropy() -> None:
    logits, label = make(0)
    logits[0, :, 0] = torch.tensor([60.0, 0, 0, 0], dtype=torch.float64)[:, None]  # a probability that rounds to 1
    label[0, 0] = 0
    for dtype in (torch.float32, torch.float64):
        found, expected = (
            loss(logits.to(dtype), label, *more)
            for loss, more in (
                (annealed_cross_entropy, (Annealing().threshold(1.0, C),)),
                (cross_entropy, ()),
            )
        )
        assert found[1] == expected[1]
        torch.testing.assert_close(found[0], expected[0])


def test_everything_known_or_ignored_gives_zero_and_no_gradient() -> None:
    logits, label = make(1)
    logits = (torch.nn.functional.one_hot(label.long() % C, C).movedim(3, 1) * 20.0).requires_grad_()
    for case in (label, torch.full_like(label, 255)):
        total, count = annealed_cross_entropy(logits, case, 0.5)
        assert (total.item(), count.item()) == (0, 0)
        (gradient,) = torch.autograd.grad(total, logits)
        assert (gradient == 0).all()


def test_gradients() -> None:
    logits, label = make(2)
    logits.requires_grad_()
    few = logits.detach()[:, :, :2, :2].requires_grad_()
    assert torch.autograd.gradcheck(lambda z: annealed_cross_entropy(z, label[:, :2, :2], 0.4)[0], few)
    total, count = annealed_cross_entropy(logits, label, 0.4)
    reached = torch.autograd.grad(total, logits)[0].abs().sum(1) > 0
    assert reached.sum() == count < (label != 255).sum()


def test_half_precision_and_no_waiting() -> None:
    logits, label = make(3)
    half = (logits * 100).half()
    found, exact = (annealed_cross_entropy(z, label, 0.9) for z in (half, half.double()))
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[0], exact[0].float())
    with FakeTensorMode():
        total, count = annealed_cross_entropy(torch.randn(1, C, 3, 3), torch.zeros(1, 3, 3, dtype=torch.uint8), 0.9)
        assert (total / count).shape == ()
