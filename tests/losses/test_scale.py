"""The rule that holds the scale: worked by hand, and a drifting scale that it stops."""

from __future__ import annotations

import math

import pytest
import torch

from fathomseg.losses.photometric import Photometric
from fathomseg.losses.scale import drift


def flat(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 4, 6)


def test_by_hand() -> None:
    total, count = drift(flat(0.6, 0.05, 0.25), 0.2)
    assert count == 3
    # 0.6 is three times 0.2, of which 1.5 are free; 0.05 a quarter; 0.25 lies within the band.
    assert total.item() == pytest.approx(math.log(2) ** 2 + math.log(4 / 1.5) ** 2)


def test_inside_the_band_nothing_pulls() -> None:
    disparity = flat(0.21).clone().requires_grad_()
    drift(disparity, 0.2)[0].backward()
    assert disparity.grad is not None
    assert not disparity.grad.any()


def test_only_the_mean_counts() -> None:
    steep = torch.linspace(0.1, 0.9, 24).view(1, 1, 4, 6)
    assert drift(steep, 0.2)[0].item() == pytest.approx(drift(flat(0.5), 0.2)[0].item())


@pytest.mark.parametrize("start", [0.02, 0.9])
def test_descent_brings_the_scale_back(start: float) -> None:
    logit = (torch.tensor([0.5, 1.0]) * start).log().view(1, 1, 1, 2).requires_grad_()
    optimiser = torch.optim.SGD([logit], lr=1.0)
    for _ in range(500):
        optimiser.zero_grad()
        drift(logit.exp(), 0.2)[0].backward()
        optimiser.step()
    found = logit.detach().exp()
    assert 0.2 / 1.5 - 1e-3 <= found.mean().item() <= 0.2 * 1.5 + 1e-3


def test_the_photometric_loss_has_it_on_request() -> None:
    image, frames = torch.rand(1, 3, 8, 12), torch.rand(1, 2, 3, 8, 12)
    camera = torch.tensor([[[9.0, 0.0, 6.0], [0.0, 9.0, 4.0], [0.0, 0.0, 1.0]]])
    motions = torch.eye(4).expand(1, 2, 4, 4)
    disparity = torch.full((1, 1, 8, 12), 0.9)
    terms = Photometric(scale=0.5, mean_disparity=0.2)(image, frames, [disparity], camera, motions).terms
    assert terms["scale"].weight == 0.5
    assert (terms["scale"].sum / terms["scale"].count).item() == pytest.approx(math.log(3) ** 2, rel=1e-5)
    assert "scale" not in Photometric()(image, frames, [disparity], camera, motions).terms
