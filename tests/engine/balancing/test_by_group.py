"""PCGrad and MGDA-UB against slow calculations in float64, and what their directions promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from fathomseg.engine.balancing.base import TermLoss
from fathomseg.engine.balancing.mgda import MgdaBalancer, least_norm
from fathomseg.engine.balancing.pcgrad import PcGradBalancer, projected
from tests.engine.balancing.toy import Toy, prepared

CASES = pytest.mark.parametrize(("tasks", "seed"), [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
PARTS = pytest.mark.parametrize("parts", [1, 2])


def surgery(gradients: Tensor, orders: list[list[int]]) -> Tensor:
    """Algorithm 1 as it is printed."""
    found = []
    for i, order in enumerate(orders):
        g = gradients[i].clone()
        for j in order:
            if g @ gradients[j] < 0:
                g = g - (g @ gradients[j]) / (gradients[j] @ gradients[j]) * gradients[j]
        found.append(g)
    return torch.stack(found).sum(0)


def orders(tasks: int, seed: int, step: int) -> list[list[int]]:
    random = np.random.default_rng((seed, step))
    return [[j for j in random.permutation(tasks).tolist() if j != i] for i in range(tasks)]


@CASES
@PARTS
def test_pcgrad(tasks: int, seed: int, parts: int) -> None:
    toy = Toy(tasks, seed)
    toy.step(prepared(PcGradBalancer(toy.groups, toy.shared), toy), number=5, parts=parts, seed=9)
    gradients, n = toy.gradients(), toy.width
    expected = torch.cat([surgery(gradients[:, :n], orders(tasks, 9, 5)), gradients[:, n:].sum(0)])
    torch.testing.assert_close(toy.found(), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_the_cases_have_conflicts() -> None:
    """Otherwise the test above would pass without any projection."""
    grams = [(t := Toy(tasks, seed)).gradients()[:, : t.width] for tasks, seed in ((2, 0), (2, 1), (3, 0), (3, 1))]
    assert sum(bool((g @ g.T < 0).any()) for g in grams) >= 2


def test_pcgrad_leaves_gradients_that_do_not_conflict_alone() -> None:
    toy = Toy(2)
    toy.targets[1] = toy.targets[0]
    with torch.no_grad():
        toy.heads[1].copy_(1.5 * toy.heads[0])
    gradients = toy.gradients()[:, : toy.width]
    assert gradients[0] @ gradients[1] > 0
    weights = toy.step(prepared(PcGradBalancer(toy.groups, toy.shared), toy))
    assert [w.item() for w in weights.values()] == [1, 1]
    torch.testing.assert_close(toy.found()[: toy.width], gradients.sum(0), rtol=1e-5, atol=1e-5)


def test_after_projection_two_gradients_no_longer_conflict() -> None:
    g = torch.tensor([[1.0, 0.5], [-2.0, 1.0]], dtype=torch.float64)
    rows = projected(g @ g.T, [[1], [0]]) @ g
    assert (g[0] @ g[1]) < 0
    torch.testing.assert_close((rows * g.flip(0)).sum(1), torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["pcgrad", "mgda"])
def test_terms_in_no_group_have_their_usual_gradient(kind: str) -> None:
    toy = Toy(3)
    two, expected = toy.groups[:2], toy.gradients()[2]
    made = PcGradBalancer(two, toy.shared) if kind == "pcgrad" else MgdaBalancer(two, toy.shared, [toy.encoder])
    balancer = prepared(made, toy)
    found = []
    for count in (3, 2):
        balancer.begin(0, 0)
        balancer.backward(toy.losses()[:count], last=True)
        balancer.finish()
        found.append(toy.found())
    torch.testing.assert_close(found[0] - found[1], expected, rtol=1e-4, atol=1e-4)


def at_maps(toy: Toy) -> Tensor:
    """Gradients at both maps, by hand."""
    rows = []
    for i in range(len(toy.groups)):
        maps = torch.cat(toy.encoder(toy.images)[1:], dim=1).detach().double().requires_grad_()
        loss = (maps @ toy.heads[i].detach().double() - toy.targets[i].double()).square().sum() / len(toy.images)
        rows.append(torch.autograd.grad(loss, maps)[0].flatten())
    return torch.stack(rows)


def best(gradients: Tensor, fineness: int = 60) -> float:
    """The least norm by trying points of the simplex."""
    points = itertools.product(range(fineness + 1), repeat=len(gradients) - 1)
    weights = [(*p, fineness - sum(p)) for p in points if sum(p) <= fineness]
    return float((torch.tensor(weights, dtype=torch.float64) / fineness @ gradients).norm(dim=1).min())


@CASES
@PARTS
def test_mgda(tasks: int, seed: int, parts: int) -> None:
    toy = Toy(tasks, seed)
    gradients, maps = toy.gradients(), at_maps(toy)  # before the graph is cut
    weights = toy.step(prepared(MgdaBalancer(toy.groups, toy.shared, [toy.encoder]), toy), parts=parts)
    alpha = torch.stack(list(weights.values())).double()
    assert alpha.min() >= 0
    assert alpha.sum().item() == pytest.approx(1)
    direction = alpha @ maps
    assert direction.norm() <= best(maps) * (1 + 1e-4)
    # No loss grows against a direction of least norm: g_i . d >= |d|^2 (Desideri 2012).
    assert (maps @ direction >= direction @ direction * (1 - 1e-3)).all()
    n = toy.width
    expected = torch.cat([alpha @ gradients[:, :n], gradients[:, n:].sum(0)])
    torch.testing.assert_close(toy.found(), expected, rtol=1e-4, atol=1e-5)
    if tasks == 2:
        one, two = maps
        closed = (((two - one) @ two) / (one - two).square().sum()).clamp(0, 1)
        assert alpha[0].item() == pytest.approx(closed.item(), abs=1e-5)


def test_the_least_norm_meets_its_condition() -> None:
    """g_i . d >= |d|^2 for all i, also of lengths that differ by ten."""
    for seed in range(100):
        random = torch.Generator().manual_seed(seed)
        g = torch.randn(2 + seed % 3, 4 + seed % 7, generator=random, dtype=torch.float64)
        g *= 10 ** torch.empty(len(g), 1, dtype=torch.float64).uniform_(-0.5, 0.5, generator=random)
        weights = least_norm(g @ g.T, torch.ones(len(g), dtype=torch.bool))
        direction = weights @ g
        gap = direction @ direction - (g @ direction).min()
        assert gap <= 1e-2 * g.square().sum(1).min(), seed
        assert weights.sum().item() == pytest.approx(1)


def test_what_is_absent_does_not_stop_the_others() -> None:
    """Its gradient is 0, which no other could be shorter than."""
    toy = Toy(3)
    balancer = prepared(MgdaBalancer(toy.groups, toy.shared, [toy.encoder]), toy)
    balancer.begin(0, 0)
    balancer.backward(toy.losses(absent=[1]), last=True)
    weights = [w.item() for w in balancer.finish().values()]
    assert weights[1] == 0
    assert weights[0] + weights[2] == pytest.approx(1)
    assert toy.found()[: toy.width].norm() > 0


def test_parameters_shared_above_the_maps_are_compared_as_well() -> None:
    """Both tasks read one head, which is no encoder: the least norm over the map and the head together."""
    toy = Toy(2, seed=4)
    head = toy.heads[0]
    toy.heads[1], toy.parameters = head, [*toy.shared, head]
    gradients = toy.gradients()
    table = torch.cat([at_maps(toy), gradients[:, toy.width :]], dim=1)
    balancer = prepared(MgdaBalancer(toy.groups, [*toy.shared, head], [toy.encoder]), toy)
    alpha = torch.stack(list(toy.step(balancer).values())).double()
    assert (alpha @ table).norm() <= best(table, 2000) * (1 + 1e-5)
    torch.testing.assert_close(toy.found(), alpha @ gradients, rtol=1e-4, atol=1e-5)


def test_nothing_shared_is_a_plain_sum() -> None:
    """An encoder that is frozen."""
    toy = Toy(2)
    for p in toy.shared:
        p.requires_grad_(False)
    toy.parameters = toy.heads
    for balancer in (
        PcGradBalancer(toy.groups, toy.shared),
        MgdaBalancer(toy.groups, toy.shared, [toy.encoder]),
    ):
        toy.step(prepared(balancer, toy))
        torch.testing.assert_close(toy.found(), toy.gradients().sum(0), rtol=1e-5, atol=1e-5)


def test_a_group_may_have_several_terms() -> None:
    toy, split = Toy(2), Toy(2)
    first = prepared(PcGradBalancer(toy.groups, toy.shared), toy)
    toy.step(first)
    second = prepared(PcGradBalancer(split.groups, split.shared), split)
    second.begin(0, 0)
    halves = [
        TermLoss(loss.group, loss.mine * w, loss.everyone * w, loss.count)
        for loss in split.losses()
        for w in (0.25, 0.75)
    ]
    second.backward(halves, last=True)
    second.finish()
    torch.testing.assert_close(split.found(), toy.found(), rtol=1e-5, atol=1e-6)
