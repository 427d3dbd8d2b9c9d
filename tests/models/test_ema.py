"""The averaged network: floats averaged, integers copied, always in eval mode, never trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fathomseg.models.ema import Ema


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))


def test_it_follows_the_formula_over_several_steps() -> None:
    student = network(0)
    ema = Ema(student, decay=0.6)
    expected = {k: v.double().clone() for k, v in student.state_dict().items()}
    for step in range(5):
        for parameter in student.parameters():
            parameter.data += torch.randn_like(parameter)
        student(torch.randn(2, 3, 8, 8))  # moves the BatchNorm statistics and its integer step counter
        ema.update(student, step)
        decay = min(step / (step + 9), 0.6)
        for name, value in student.state_dict().items():
            averaged = decay * expected[name] + (1 - decay) * value.double()
            expected[name] = averaged if value.is_floating_point() else value.clone()
    for name, value in ema.network.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name].double(), rtol=1e-6, atol=1e-6)
    assert ema.network[1].num_batches_tracked == 5


def test_the_first_update_forgets_the_random_start() -> None:
    ema, student = Ema(network(0), 0.99), network(1)
    ema.update(student, step=0)
    for mine, theirs in zip(ema.network.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_the_average_looks_back_over_a_share_of_the_training() -> None:
    """A weight that grows by 1 a step: the average lags by a tenth of the steps, and at last by 1 / (1 - decay)."""
    ema, student = Ema(nn.Linear(1, 1, bias=False), 0.99), nn.Linear(1, 1, bias=False)
    lag = {}
    for step in range(3000):
        student.weight.data.fill_(float(step))
        ema.update(student, step)
        lag[step + 1] = step - ema.network.weight.item()
    assert lag[180] == pytest.approx(18, abs=2)
    assert lag[3000] == pytest.approx(99, abs=1)


def test_it_stays_in_eval_mode_and_takes_no_gradient() -> None:
    holder = nn.ModuleList([Ema(network(0), 0.9)])
    holder.train()
    assert not any(module.training for module in holder[0].modules())
    assert not any(parameter.requires_grad for parameter in holder.parameters())


def test_the_copy_is_a_copy() -> None:
    student = network(0)
    ema = Ema(student, 0.9)
    before = ema.network[0].weight.clone()
    student[0].weight.data += 1
    torch.testing.assert_close(ema.network[0].weight, before, rtol=0, atol=0)


def test_networks_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        Ema(network(0), 0.9).update(nn.Conv2d(3, 4, 3), 0)
