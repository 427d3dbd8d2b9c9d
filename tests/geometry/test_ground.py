"""The camera's height above a ground plane, known exactly, and what is no ground."""

from __future__ import annotations

import math

import pytest
import torch

from fathomseg.geometry.camera import rays
from fathomseg.geometry.ground import camera_heights, ground
from fathomseg.geometry.normals import normals

K = torch.tensor([[[50.0, 0, 31.5], [0, 50, 15.5], [0, 0, 1]]], dtype=torch.float64)


def road(height: float, pitch_deg: float = 0.0) -> torch.Tensor:
    """z-depth of a plane `height` below a camera that looks down by `pitch_deg`; 0 above the horizon."""
    a = math.radians(pitch_deg)
    normal = torch.tensor([0, math.cos(a), math.sin(a)], dtype=torch.float64).view(1, 3, 1, 1)
    down = (rays(K, (32, 64)) * normal).sum(1, keepdim=True)
    return torch.where(down > 0.02, height / down.clamp(min=0.02), 0.0)


@pytest.mark.parametrize(("height", "pitch"), [(1.5, 0.0), (0.02, 0.0), (1.65, 4.0), (1.65, -4.0)])
def test_the_height_of_a_plane_is_exact(height: float, pitch: float) -> None:
    assert camera_heights(road(height, pitch), K).item() == pytest.approx(height, rel=1e-6)


def test_half_of_the_road_may_be_hidden_by_what_stands_on_it() -> None:
    depth = road(1.5)
    depth[..., 20:26, 16:48] = 3.0  # a wall across
    assert camera_heights(depth, K).item() == pytest.approx(1.5, rel=1e-6)


def test_walls_and_steep_planes_are_no_ground() -> None:
    flat = torch.full((1, 1, 32, 64), 4.0, dtype=torch.float64)
    assert camera_heights(flat, K).isnan().all()
    assert camera_heights(road(1.5, 12.0), K).isnan().all()
    assert camera_heights(road(1.5, 12.0), K, max_angle=15).item() == pytest.approx(1.5, rel=1e-6)


def test_ground_lies_below_the_horizon_in_the_middle() -> None:
    found = ground(normals(road(1.5), K), K)[0]
    rows, columns = found.nonzero().T
    assert rows.min() > 15.5
    assert (columns.min().item(), columns.max().item()) == (16, 47)
