"""Relative depth as a loss of the task: both outputs, both targets, holes, counts, and that it is learned."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fathomseg.config import validate
from fathomseg.losses.relative_depth import scale_shift_invariant
from fathomseg.tasks import Depth, DepthLoss
from fathomseg.types import Batch

METRIC = Depth(output="metric", min_depth=1.0, max_depth=80.0)


def loss(**relative: Any) -> DepthLoss:
    return validate(DepthLoss, {"error": "scale_shift_invariant", "relative": relative})


def batch(target: str, values: Tensor, **more: Tensor) -> Batch:
    n = len(values)
    image = torch.zeros(n, 3, *values.shape[2:], dtype=torch.uint8)
    return Batch(("a",) * n, (0,) * n, image, {target: values, **more}, {target: torch.ones(n).bool()})


def scene(seed: int = 0) -> Tensor:
    """Metres, a third of them not measured."""
    g = torch.Generator().manual_seed(seed)
    depth = 2 + 40 * torch.rand(2, 1, 6, 8, generator=g)
    return depth.masked_fill(torch.rand(2, 1, 6, 8, generator=g) < 0.3, 0.0)


@pytest.mark.parametrize("reduction", ["batch", "image"])
def test_metres_of_a_sensor_teach_disparity_and_metres(reduction: str) -> None:
    depth = scene()
    for task in (Depth(), METRIC):
        criterion = loss(reduction=reduction).build(task, None)
        guess = 0.05 + 0.9 * torch.rand(2, 1, 6, 8)
        output = guess if task is not METRIC else 1 / guess.clamp(max=0.99)
        inverse = guess if task is not METRIC else 1 / output.clamp(min=1.0)
        total, count = criterion([output, torch.rand(2, 1, 3, 4)], batch("depth", depth), 0.0)
        wanted = torch.where(depth > 0, 1 / depth, math.nan)
        expected, number = scale_shift_invariant(inverse, wanted, reduction=reduction)  # type: ignore[arg-type]
        assert total.item() == pytest.approx(expected.item(), rel=1e-4)
        assert count == number == criterion.count(batch("depth", depth))


def test_a_right_prediction_in_another_unit_has_no_loss() -> None:
    depth = scene(1)
    for output, task in ((0.3 / depth.clamp(min=1) + 0.1, Depth()), (depth.clamp(min=1.5), METRIC)):
        total, count = loss().build(task, None)([output], batch("depth", depth), 0.0)
        assert (total / count).item() == pytest.approx(0, abs=1e-4)


def test_a_disparity_of_another_network_and_confidence_of_a_teacher() -> None:
    disparity = torch.rand(2, 1, 6, 8).masked_fill(torch.rand(2, 1, 6, 8) < 0.3, math.nan)
    criterion = validate(DepthLoss, {"error": "scale_shift_invariant", "target": "disparity"}).build(Depth(), None)
    output = torch.rand(2, 1, 6, 8)
    plain, count = criterion([output], batch("disparity", disparity), 0.0)
    half = torch.full((2, 6, 8), 0.5)
    weighed, same = criterion([output], batch("disparity", disparity, disparity_weight=half), 0.0)
    assert weighed.item() == pytest.approx(plain.item() / 2, rel=1e-5)
    assert count == same == (~disparity.isnan()).sum()


def test_the_shape_of_mixed_scales_is_learned() -> None:
    """Two images of one scene, one of them stored in centimetres and shifted: one network fits both."""
    g = torch.Generator().manual_seed(0)
    shape = torch.rand(1, 1, 6, 8, generator=g)
    wanted = torch.cat([shape, 100 * shape + 7])
    guess = torch.full((1, 1, 6, 8), 0.5).add(0.01 * torch.randn(1, 1, 6, 8, generator=g)).requires_grad_()
    optimiser = torch.optim.Adam([guess], lr=0.02)
    criterion = validate(
        DepthLoss, {"error": "scale_shift_invariant", "target": "disparity", "relative": {"trim": 0.0}}
    ).build(Depth(), None)
    errors = []
    for _ in range(200):
        total, count = criterion([guess.expand(2, -1, -1, -1)], batch("disparity", wanted), 0.0)
        optimiser.zero_grad()
        (total / count).backward()
        optimiser.step()
        errors.append((total / count).item())
    assert errors[-1] < 0.15 * errors[0]
    assert torch.corrcoef(torch.stack([guess.detach().flatten(), shape.flatten()]))[0, 1] > 0.95
