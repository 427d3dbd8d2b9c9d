"""Statistics that stay as they are while a network trains."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fathomseg.models.norms import OwnNorms, statistics_held


def test_held_norms_go_by_the_batch_and_keep_their_statistics() -> None:
    held, plain, images = nn.BatchNorm2d(3), nn.BatchNorm2d(3), torch.rand(4, 3, 5, 5)
    before = {name: tensor.clone() for name, tensor in held.named_buffers()}
    with statistics_held([nn.Sequential(held)]):
        assert torch.equal(held(images), plain(images))
    assert all(torch.equal(tensor, before[name]) for name, tensor in held.named_buffers())
    assert not torch.equal(plain.running_mean, before["running_mean"])  # type: ignore[arg-type]
    held(images)
    assert all(torch.equal(tensor, getattr(plain, name)) for name, tensor in held.named_buffers()), "as ever afterwards"


def test_frozen_norms_go_by_their_own_statistics() -> None:
    norm, images = nn.BatchNorm2d(3).eval(), torch.rand(4, 3, 5, 5)
    with statistics_held([norm]):
        assert torch.equal(norm(images), nn.BatchNorm2d(3).eval()(images))


def test_an_error_within_lets_them_move_again() -> None:
    norm = nn.BatchNorm2d(3)
    without = nn.BatchNorm2d(3, track_running_stats=False)
    with pytest.raises(RuntimeError), statistics_held([norm, without]):
        raise RuntimeError
    assert norm.track_running_stats
    assert not without.track_running_stats


class TestOwnNorms:
    def test_they_take_the_place_of_the_networks_own_for_a_while(self) -> None:
        norm = nn.BatchNorm2d(3)
        images = torch.rand(4, 3, 5, 5)
        own = OwnNorms([norm])
        with torch.no_grad():
            own.weights[0].fill_(2.0)
            own.biases[0].fill_(0.5)
        plain = norm(images)
        with own.used([norm]):
            torch.testing.assert_close(norm(images), 2 * plain + 0.5)
        assert torch.equal(norm(images), plain)
        assert [name for name, _ in norm.named_parameters()] == ["weight", "bias"]

    def test_each_learns_from_its_own_images_alone(self) -> None:
        norm, images = nn.BatchNorm2d(3), torch.rand(4, 3, 5, 5)
        own = OwnNorms([nn.Sequential(norm, norm)])
        assert len(own.weights) == 1, "a norm that is met twice is one"
        with own.used([norm]):
            norm(images).square().sum().backward()
        assert norm.weight.grad is None
        assert own.weights[0].grad is not None
        originals = [original for _, original in own.originals([norm])]
        assert originals[0] is norm.weight
        assert originals[1] is norm.bias

    def test_an_error_within_gives_them_back(self) -> None:
        norm = nn.BatchNorm2d(3)
        weight, own = norm.weight, OwnNorms([norm, nn.BatchNorm2d(3, affine=False)])
        with pytest.raises(RuntimeError), own.used([norm, nn.BatchNorm2d(3, affine=False)]):
            raise RuntimeError
        assert norm.weight is weight
