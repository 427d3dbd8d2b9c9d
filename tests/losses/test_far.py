"""What looks infinitely far: above the horizon, reached from the top, and no better explained by any other depth."""

from __future__ import annotations

import pytest
import torch

from fathomseg.geometry.pose import se3
from fathomseg.geometry.warp import projection
from fathomseg.losses.far import looks_far, parallax
from fathomseg.losses.photometric import PhotometricLoss

SIZE = (40, 48)
K = torch.tensor([[[50.0, 0, 23.5], [0, 50.0, 19.5], [0, 0, 1]]])


def test_the_rule_by_hand() -> None:
    error, infinity = torch.full((1, *SIZE), 0.1), torch.full((1, *SIZE), 0.1)
    infinity[:, 10:, :24] = 0.5  # something near on the left, from row 10 on
    infinity[:, 14:16, 24:] = 0.5  # a wire on the right
    wide, known = torch.full_like(error, 1.5), torch.ones_like(error, dtype=torch.bool)
    found = looks_far(error, infinity, wide, known, K)[0]
    assert found[:6].all()
    assert not found[10:, :20].any()
    assert not found[13:, 28:].any(), "what is below something near is not reached from the top"
    assert not found[20:].any(), "below the horizon nothing is"
    everything = looks_far(error, torch.zeros_like(error), wide, known, K)[0]
    assert everything[:20].all()
    wide[:, 8, 30:] = 0.5  # no parallax here
    found = looks_far(error, infinity, wide, known, K)[0]
    assert found[:8].any(dim=0)[30:].all()
    assert not found[8:, 30:].any(), "what tells nothing is not far, and ends its column"


def test_pixels_that_no_source_shows_say_nothing_of_their_neighbours() -> None:
    error, infinity = torch.full((1, *SIZE), 0.1), torch.full((1, *SIZE), 0.1)
    known = torch.ones_like(error, dtype=torch.bool)
    known[:, 4:6, 10] = False
    error[~known] = torch.inf  # as the minimum over no source
    infinity[:, 10:] = 0.5
    found = looks_far(error, infinity, torch.full_like(error, 2.0), known, K)[0]
    assert torch.equal(found[:6], known[0, :6]), "none of them is far, and all around them are"
    assert not found[10:].any(), "one infinite error made its whole window far"


def test_parallax_by_hand() -> None:
    move = torch.eye(4).repeat(1, 2, 1, 1)
    move[0, 0, 0, 3], move[0, 1, 2, 3] = 0.5, -1.0  # sideways; ahead
    near = torch.full((1, 1, *SIZE), 0.2)
    near[..., :10] = 5.0  # the median is not moved by it
    matrices = projection(K, move, K[:, None], SIZE)
    sideways, ahead = (parallax(matrices[:, i : i + 1], near, torch.zeros_like(near))[0] for i in (0, 1))
    torch.testing.assert_close(sideways, torch.full(SIZE, 50 * 0.5 * 0.2))  # f t / z
    rows, columns = torch.meshgrid(torch.arange(40.0) - 19.5, torch.arange(48.0) - 23.5, indexing="ij")
    torch.testing.assert_close(ahead, torch.hypot(rows, columns) * (1 / (1 - 0.2) - 1), rtol=1e-4, atol=1e-4)
    both = parallax(matrices, near, torch.zeros_like(near))[0]
    torch.testing.assert_close(both, torch.minimum(sideways, ahead))


@pytest.mark.parametrize("turn", [0.0, 0.03])
def test_a_camera_that_stands_or_turns_sees_nothing_that_is_far(turn: float) -> None:
    image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    motion = se3(torch.tensor([[0.0, turn, 0.0]] * 2), torch.zeros(2, 3))[None]
    disparity = torch.full((1, 1, *SIZE), 0.05)
    loss = PhotometricLoss(far=0.5, smoothness=0, automask=False)
    term = loss(image, image[:, None].repeat(1, 2, 1, 1, 1), [disparity], K, motion, (0.1, 100.0)).terms["far"]
    assert (term.sum, term.count) == (0, 0)


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
    assert (disparity.grad[0, 0, 18:] <= 0).all()
