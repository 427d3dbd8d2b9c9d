"""Convex upsampling: what it is before training, and what it can and cannot give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fathomseg.config import validate
from fathomseg.errors import FathomError
from fathomseg.models.convex import ConvexUpsample
from fathomseg.tasks.network import NetworkConfig
from tests.models.networks import TINY, images


@pytest.mark.parametrize("factor", [2, 4])
def test_it_begins_as_bilinear_interpolation_but_for_a_tenth(factor: int) -> None:
    torch.manual_seed(0)
    coarse = torch.rand(2, 1, 5, 7)
    made = ConvexUpsample(8, factor)
    found = made(torch.randn(2, 8, 5, 7), coarse)
    smooth = F.interpolate(coarse, scale_factor=factor, mode="bilinear", align_corners=False)
    mean = F.avg_pool2d(F.pad(coarse, (1, 1, 1, 1), mode="replicate"), 3, 1)
    expected = 0.9 * smooth + 0.1 * F.interpolate(mean, scale_factor=factor, mode="nearest")
    torch.testing.assert_close(found, expected)


def test_it_can_keep_a_jump_that_interpolation_blurs() -> None:
    made = ConvexUpsample(1, 2)
    coarse = torch.tensor([0.2, 0.2, 0.8, 0.8]).expand(1, 1, 4, 4)
    with torch.no_grad():  # all weight on the middle of the nine
        made.weights.bias.zero_()  # type: ignore[union-attr]
        made.weights.bias.view(9, 4)[4] = 50.0  # type: ignore[union-attr]
        found = made(torch.zeros(1, 1, 4, 4), coarse)
    torch.testing.assert_close(found, coarse.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_nothing_lies_beyond_the_neighbours_and_all_of_it_learns() -> None:
    torch.manual_seed(0)
    made = ConvexUpsample(8, 2)
    torch.nn.init.normal_(made.weights.weight, std=3)
    features, coarse = torch.randn(1, 8, 6, 6, requires_grad=True), torch.rand(1, 1, 6, 6, requires_grad=True)
    found = made(features, coarse)
    padded = F.pad(coarse, (1, 1, 1, 1), mode="replicate")
    low, high = -F.max_pool2d(-padded, 3, 1), F.max_pool2d(padded, 3, 1)
    low, high = (x.repeat_interleave(2, 2).repeat_interleave(2, 3) for x in (low, high))
    assert (found >= low - 1e-6).all()
    assert (found <= high + 1e-6).all()
    found.square().sum().backward()
    for tensor in (features, coarse, *made.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.any()


def test_a_network_of_stride_2_gives_depth_at_full_size_and_coarser_maps_as_they_were() -> None:
    unet = {"name": "depth_unet", "channels": (4, 4, 4, 4, 4), "stride": 2}
    settings = {"encoder": TINY, "tasks": {"depth": {"decoder": unet, "upsampling": "convex"}}}
    found = validate(NetworkConfig, settings).build().eval()(images(1, 64, 96))["depth"]
    assert [tuple(x.shape[2:]) for x in found] == [(64, 96), (16, 24), (8, 12)]
    unet["stride"] = 1
    with pytest.raises(FathomError, match="upsampling=convex has nothing to do"):
        validate(NetworkConfig, settings).build()
