"""What looks infinitely far: above the horizon, reached from the top, and no better explained by any other depth."""

from __future__ import annotations

import torch

from fathomseg.losses.far import looks_far
from fathomseg.losses.photometric import PhotometricLoss

SIZE = (40, 48)
K = torch.tensor([[[50.0, 0, 23.5], [0, 50.0, 19.5], [0, 0, 1]]])


def test_the_rule_by_hand() -> None:
    image = torch.rand(1, 3, *SIZE)
    error, infinity = torch.full((1, *SIZE), 0.1), torch.full((1, *SIZE), 0.1)
    infinity[:, 10:, :24] = 0.5  # something near on the left, from row 10 on
    infinity[:, 14:16, 24:] = 0.5  # a wire on the right
    found = looks_far(error, infinity, image, K)[0]
    assert found[:6].all()
    assert not found[10:, :20].any()
    assert not found[13:, 28:].any(), "what is below something near is not reached from the top"
    assert not found[20:].any(), "below the horizon nothing is"
    assert looks_far(error, torch.zeros_like(error), image, K)[0, :20].all()


def test_its_term_pushes_a_plain_sky_away_and_nothing_below() -> None:
    g = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, *SIZE, generator=g)
    image[:, :, :14] = 0.9  # a plain sky
    sources = image.roll(2, 3)[:, None].repeat(1, 2, 1, 1, 1)
    motion = torch.eye(4).repeat(1, 2, 1, 1)
    motion[..., 0, 3] = 0.4  # 2 pixels at the depth of 10
    disparity = torch.full((1, 1, *SIZE), 0.01, requires_grad=True)
    loss = PhotometricLoss(far=0.5, smoothness=0, automask=False)
    assert "far" in loss.extra_terms
    term = loss(image, sources, [disparity], K, motion, (0.1, 100.0)).terms["far"]
    assert term.weight == 0.5
    assert term.count > 0
    term.sum.backward()
    assert disparity.grad is not None
    assert (disparity.grad[0, 0, 2:8] > 0).float().mean() > 0.9
    assert not disparity.grad[0, 0, 18:].any()
