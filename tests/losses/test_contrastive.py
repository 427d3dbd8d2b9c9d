"""The contrastive loss against loops in float64, with pairs that take no part."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fathomseg.losses.contrastive import info_nce, told_apart


def vectors(seed: int, count: int = 6, length: int = 5) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, length, generator=rng, dtype=torch.float64), dim=1)


def oracle(first: Tensor, second: Tensor, scale: float, pairs: Tensor) -> tuple[float, int]:
    """Pair by pair, over the samples that have a partner and someone else."""
    total, count = 0.0, 0
    for one, other in ((first, second), (second, first)):
        for i in range(len(one)):
            partners = [j for j in range(len(one)) if pairs[i, j]]
            if i not in partners or len(partners) < 2:
                continue
            said = {j: math.exp(scale * float(one[i] @ other[j])) for j in partners}
            total, count = total - math.log(said[i] / sum(said.values())), count + 1
    return total, count


PAIRS = {
    "all": torch.ones(6, 6, dtype=torch.bool),
    "near": told_apart(
        torch.tensor([0, 0, 1, 0, 1, 2]), torch.tensor([0, 3, 0, 9, 4, 0]), torch.ones(6, dtype=torch.bool), 5
    ),
    "absent": told_apart(
        torch.arange(6), torch.zeros(6, dtype=torch.long), torch.tensor([True, False, True, True, False, True]), 5
    ),
    "alone": torch.eye(6, dtype=torch.bool),
}


@pytest.mark.parametrize("pairs", PAIRS)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_it_equals_the_formula_pair_by_pair(pairs: str, scale: float) -> None:
    first, second = vectors(0), vectors(1)
    total, count = info_nce(first, second, torch.tensor(scale, dtype=torch.float64), PAIRS[pairs])
    expected, terms = oracle(first, second, scale, PAIRS[pairs])
    assert count.item() == terms
    assert total.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert (expected > 0) == (pairs != "alone")


def test_which_pairs_are_told_apart() -> None:
    """Frames 0 and 3 of clip 0 lie near each other, frame 9 does not; clips never do; what is absent has no pair."""
    clip, place = torch.tensor([0, 0, 0, 1, 0]), torch.tensor([0, 3, 9, 3, 0])
    there = torch.tensor([True, True, True, True, False])
    expected = [[1, 0, 1, 1, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    assert told_apart(clip, place, there, 4).int().tolist() == expected
    assert told_apart(clip, place, there, 3)[0].int().tolist() == [1, 1, 1, 1, 0], "exactly so far apart is enough"


def test_a_twin_in_the_batch_changes_nothing_once_it_is_left_out() -> None:
    """The same sample twice: as a wrong pair it would be the hardest there is."""
    first, second = vectors(0, 4), vectors(1, 4)
    twice = [torch.cat([x, x[:1]]) for x in (first, second)]
    there = torch.ones(5, dtype=torch.bool)
    pairs = told_apart(torch.tensor([0, 1, 2, 3, 0]), torch.zeros(5, dtype=torch.long), there, 1)
    scale = torch.tensor(10.0, dtype=torch.float64)
    total, count = info_nce(*twice, scale, pairs & ~_between(4, 5))
    alone, terms = info_nce(first, second, scale, torch.ones(4, 4, dtype=torch.bool))
    assert (total.item(), count.item()) == (pytest.approx(alone.item()), terms.item())


def _between(last: int, count: int) -> Tensor:
    """Everything that touches one row or column."""
    at = torch.zeros(count, count, dtype=torch.bool)
    at[last], at[:, last] = True, True
    return at


def test_gradients_are_right_and_finite_whatever_is_left_out() -> None:
    first, second = vectors(0).requires_grad_(), vectors(1).requires_grad_()
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    for pairs in PAIRS.values():
        assert torch.autograd.gradcheck(lambda a, b, s, p=pairs: info_nce(a, b, s, p)[0], (first, second, scale))
    info_nce(first, second, scale, PAIRS["alone"])[0].backward()
    assert [x.grad is not None and x.grad.abs().sum().item() for x in (first, second, scale)] == [0, 0, 0]
