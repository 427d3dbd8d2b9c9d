"""Statistics that stay as they are while a network trains."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fathomseg.models.norms import statistics_held


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
