"""Optical flow: known shifts, the generated world's true flow, confidence where there is texture, exposure, sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fathomseg.data.datasets.streets import Streets
from fathomseg.geometry.camera import intrinsics, project
from fathomseg.geometry.flow import optical_flow
from tests.geometry.views import backproject


def texture(height: int, width: int, count: int = 1, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures."""
    noise = torch.rand(count, 1, height // 3, width // 3, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, (height, width), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (0, -1), (3, 2), (-6, 0)])
def test_a_shift_is_found_to_a_twentieth_of_a_pixel(dx: int, dy: int) -> None:
    image = texture(48, 72)
    flow, confidence = optical_flow(image, torch.roll(image, (dy, dx), (2, 3)))
    inner = (..., slice(12, -12), slice(12, -12))
    error = (flow - torch.tensor([dx, dy]).view(1, 2, 1, 1))[inner].norm(dim=1)
    assert error.median() < 0.05
    assert error.mean() < 0.2
    assert confidence.min() >= 0
    assert confidence.max() <= 1


def test_no_motion_is_none_and_a_plain_wall_has_no_confidence() -> None:
    image = texture(40, 60)
    image[..., 30:] = 0.5
    flow, confidence = optical_flow(image, image)
    assert flow.abs().max() < 1e-4
    assert confidence[..., 44:].max() < 1e-3
    assert confidence[..., 4:24].median() > 0.5


def test_an_edge_tells_only_one_direction() -> None:
    stripes = (torch.arange(60) // 10 % 2).float().expand(1, 1, 40, 60)
    _, confidence = optical_flow(stripes, stripes)
    assert confidence.max() < 0.05


def test_a_change_of_exposure_is_no_motion() -> None:
    image = texture(48, 72)
    moved = torch.roll(image, 2, 3)
    plain, _ = optical_flow(image, moved)
    lighter, _ = optical_flow(image, moved + 0.2)
    torch.testing.assert_close(lighter, plain, atol=2e-3, rtol=0)


@pytest.mark.parametrize("size", [(7, 9), (25, 31), (1, 40)])
def test_odd_sizes_and_batches(size: tuple[int, int]) -> None:
    first, second = torch.rand(2, 3, 1, *size, generator=torch.Generator().manual_seed(1)).unbind(0)
    flow, confidence = optical_flow(first, second)
    assert flow.shape == (3, 2, *size)
    assert confidence.shape == (3, 1, *size)
    assert flow.isfinite().all()
    alone, _ = optical_flow(first[1:2], second[1:2])
    torch.testing.assert_close(flow[1:2], alone, atol=1e-4, rtol=1e-4)


def test_no_gradient() -> None:
    image = texture(24, 24).requires_grad_()
    flow, confidence = optical_flow(image, image.roll(1, 3))
    assert not flow.requires_grad
    assert not confidence.requires_grad


def test_the_true_flow_of_a_drive() -> None:
    """From exact depth and poses; where the picture moves by less than 3 pixels (what turning is told from)."""
    streets = Streets(size=(96, 192), frames=4)
    id, after = "val/0003/000001", "val/0003/000002"
    first, second = (
        torch.from_numpy(streets.image(i).astype(np.float32)).mean(2)[None, None] / 255 for i in (id, after)
    )
    depth = torch.from_numpy(streets.depth(id).copy())[None, None]
    K = intrinsics([streets.camera(id)])
    after_T_first = torch.from_numpy(np.linalg.inv(streets.world_T_cam(after)) @ streets.world_T_cam(id)).float()
    points = backproject(depth, K)[0].flatten(1)
    moved = (after_T_first[:3, :3] @ points + after_T_first[:3, 3:]).view(1, 3, 96, 192)
    seen = project(moved, K)[0]
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(192.0), indexing="ij")
    true = seen[0] - torch.stack([x, y])
    flow, confidence = optical_flow(first, second)
    chosen = (depth[0, 0] > 0) & (true.norm(dim=0) < 3)
    error = (flow[0] - true).norm(dim=0)
    sure = chosen & (confidence[0, 0] > confidence[0, 0][chosen].median())
    assert error[chosen].median() < 0.5
    assert error[sure].median() < 0.35
    assert true.norm(dim=0)[chosen].median() > 2.5 * error[sure].median(), "a constant 0 would be much worse"
