"""Fixed, uncertainty, DWA and GradNorm against slow calculations in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fathomseg.engine.balancing.dwa import DwaBalancer
from fathomseg.engine.balancing.fixed import FixedBalancer
from fathomseg.engine.balancing.gradnorm import GradNormBalancer
from fathomseg.engine.balancing.uncertainty import UncertaintyBalancer
from fathomseg.errors import FathomError
from tests.engine.balancing.toy import Toy, prepared

TASKS = pytest.mark.parametrize("tasks", [2, 3])


def values(toy: Toy) -> np.ndarray:
    return np.array([loss.everyone.item() for loss in toy.losses()])


@TASKS
def test_fixed_is_the_sum(tasks: int) -> None:
    toy = Toy(tasks)
    assert toy.step(prepared(FixedBalancer(toy.groups), toy)) == {}
    torch.testing.assert_close(toy.found(), toy.gradients().sum(0), rtol=1e-5, atol=1e-6)


@TASKS
@pytest.mark.parametrize("parts", [1, 2])
def test_uncertainty(tasks: int, parts: int) -> None:
    """Gradients at log-variances that differ: exp(-s) g for the network, 1/2 - exp(-s) L for s."""
    toy = Toy(tasks)
    balancer = UncertaintyBalancer(toy.groups)
    s = np.linspace(-0.5, 1.0, tasks)
    with torch.no_grad():
        balancer.log_variance.copy_(torch.tensor(s))
    weights = toy.step(prepared(balancer, toy), parts=parts)
    np.testing.assert_allclose([w.item() for w in weights.values()], np.exp(-s), rtol=1e-6)
    expected = torch.tensor(np.exp(-s)) @ toy.gradients()
    torch.testing.assert_close(toy.found(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(balancer.log_variance.grad, 0.5 - np.exp(-s) * values(toy), rtol=1e-5)


def test_the_weight_uncertainty_tends_to() -> None:
    """1 / (2 L) for a loss that stays."""
    toy = Toy(2)
    balancer = prepared(UncertaintyBalancer(toy.groups), toy)
    for number in range(300):
        toy.step(balancer, number)
        with torch.no_grad():
            balancer.log_variance -= 0.2 * balancer.log_variance.grad
    np.testing.assert_allclose(balancer.weights().detach(), 1 / (2 * values(toy)), rtol=1e-3)


def test_uncertainty_of_what_is_absent_stays() -> None:
    toy = Toy(2)
    balancer = prepared(UncertaintyBalancer(toy.groups), toy)
    balancer.begin(0, 0)
    balancer.backward(toy.losses(absent=[1]), last=True)
    assert balancer.log_variance.grad[0] != 0
    assert balancer.log_variance.grad[1] == 0


@TASKS
def test_dwa(tasks: int) -> None:
    """Windows of three steps, losses that fall at different rates, a slow list of means beside it."""
    toy = Toy(tasks)
    balancer = prepared(DwaBalancer(toy.groups, 2.0, 3), toy)
    history: list[np.ndarray] = []
    for number in range(11):
        with torch.no_grad():
            for i, head in enumerate(toy.heads):
                head *= 0.9 - 0.2 * i
        means = [np.mean(history[i : i + 3], axis=0) for i in range(0, len(history) - 2, 3)]
        ratio = means[-1] / means[-2] if len(means) > 1 else np.ones(tasks)
        expected = tasks * np.exp(ratio / 2) / np.exp(ratio / 2).sum()
        history.append(values(toy))
        weights = toy.step(balancer, number, parts=2)
        np.testing.assert_allclose([w.item() for w in weights.values()], expected, rtol=1e-5)
        torch.testing.assert_close(toy.found(), torch.tensor(expected) @ toy.gradients(), rtol=1e-4, atol=1e-5)
    assert np.ptp(expected) > 1e-3


def test_dwa_keeps_the_mean_of_what_is_absent() -> None:
    toy = Toy(2)
    balancer = prepared(DwaBalancer(toy.groups, 2.0, 1), toy)
    for number, absent in enumerate([(), (), (1,), ()]):
        balancer.begin(number, 0)
        balancer.backward(toy.losses(absent=absent), last=True)
        balancer.finish()
    assert torch.isfinite(balancer.weights()).all()
    torch.testing.assert_close(balancer.last, torch.tensor(values(toy), dtype=torch.float32))


@TASKS
@pytest.mark.parametrize("parts", [1, 2])
def test_gradnorm(tasks: int, parts: int) -> None:
    """Eq. 2 differentiated by autograd in float64, with the target held constant, over several steps."""
    toy = Toy(tasks)
    alpha, lr = 1.5, 0.025
    balancer = prepared(GradNormBalancer(toy.groups, [toy.encoder.second.weight], alpha, lr), toy)
    w, first = torch.ones(tasks, dtype=torch.float64), torch.tensor(values(toy))
    for number in range(6):
        with torch.no_grad():
            for i, head in enumerate(toy.heads):
                head *= 1.1 - 0.15 * i
        gradients, loss = toy.gradients(), torch.tensor(values(toy))
        if number == 0:
            first = loss
        weights = toy.step(balancer, number, parts=parts)
        np.testing.assert_allclose([x.item() for x in weights.values()], w, rtol=1e-5)
        torch.testing.assert_close(toy.found(), w @ gradients, rtol=1e-4, atol=1e-5)
        free = w.clone().requires_grad_()
        norms = free * gradients[:, 16:24].norm(dim=1)
        rate = (loss / first) / (loss / first).mean()
        mean = norms.mean().detach()
        ((norms - mean * rate**alpha).abs().sum() / mean).backward()
        w = w - lr * free.grad
        w = w * tasks / w.sum()
    assert (w - 1).abs().max() > 0.02
    assert math.isclose(balancer.weights().sum().item(), tasks, rel_tol=1e-5)


def test_gradnorm_with_alpha_0_makes_the_gradients_equally_long() -> None:
    toy = Toy(2, seed=3)
    balancer = prepared(GradNormBalancer(toy.groups, [toy.encoder.second.weight], 0.0, 0.01), toy)
    norms = toy.gradients()[:, 16:24].norm(dim=1)
    for number in range(300):
        toy.step(balancer, number)
    long = balancer.weights().double() * norms
    assert max(norms) / min(norms) > 1.2
    assert max(long) / min(long) < 1.05


def test_gradnorm_leaves_the_weight_of_what_is_absent_and_survives_overflow() -> None:
    toy = Toy(3)
    balancer = prepared(GradNormBalancer(toy.groups, [toy.encoder.second.weight], 1.5, 0.025), toy)
    balancer.begin(0, 0)
    balancer.backward(toy.losses(absent=[1, 2]), last=True)
    balancer.finish()
    torch.testing.assert_close(balancer.weights(), torch.ones(3))  # one group alone has nothing to be compared with
    with torch.no_grad():
        toy.heads[0] *= torch.inf
    toy.step(balancer)
    assert torch.equal(balancer.weights(), balancer.weights().nan_to_num())


def test_gradnorm_needs_a_layer() -> None:
    toy = Toy(2)
    with pytest.raises(FathomError, match=r"a layer that task0, task1 share, .* give balancing\.name=uncertainty"):
        prepared(GradNormBalancer(toy.groups, [toy.encoder.second.weight.requires_grad_(False)], 1.5, 0.025), toy)
