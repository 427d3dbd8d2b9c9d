"""Normals from depth and camera: exact on planes, unknown where nothing can be told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fathomseg.geometry.camera import rays
from fathomseg.geometry.normals import normals

SIZE = (24, 40)
K = torch.tensor([[[37.0, 0.6, 18.0], [0, 33.0, 11.5], [0, 0, 1]]])


def unit(vector: tuple[float, float, float]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(vector, dtype=torch.float32), dim=0)


def plane(normal: tuple[float, float, float], distance: float) -> torch.Tensor:
    """The z-depth of the plane n.P = -distance, whose unit normal points towards the camera."""
    direction = unit(normal).view(1, 3, 1, 1)
    return distance / -(rays(K, SIZE) * direction).sum(1, keepdim=True)


@pytest.mark.parametrize("normal", [(0, 0, -1), (0.2, -0.1, -0.9), (-0.4, 0.3, -1.0), (0.1, -0.25, -1.0)])
def test_planes_are_exact(normal: tuple[float, float, float]) -> None:
    depth = plane(normal, 7.0)
    assert (depth > 0).all()
    found = normals(depth, K)
    torch.testing.assert_close(found, unit(normal).view(1, 3, 1, 1).expand_as(found), atol=2e-4, rtol=0)


def test_the_ground_faces_up_and_the_sky_is_not_known() -> None:
    """y points down, so that up is (0, -1, 0)."""
    below = (rays(K, SIZE)[:, 1:2] > 0.05).squeeze()
    depth = torch.where(below, 1.5 / rays(K, SIZE)[:, 1:2].clamp(min=0.01), 0.0)
    found = normals(depth, K)[0]
    assert (found[:, ~below] == 0).all()
    torch.testing.assert_close(
        found[:, below], torch.tensor([[0.0], [-1.0], [0.0]]).expand(3, int(below.sum())), atol=1e-4, rtol=0
    )


def test_an_edge_between_two_walls_stays_sharp() -> None:
    near, far = plane((0.2, 0, -1), 3.0), plane((-0.3, 0.1, -1), 9.0)
    left = torch.arange(SIZE[1]) < 20
    found = normals(torch.where(left, near, far), K)
    for where, depth in ((left, near), (~left, far)):
        torch.testing.assert_close(found[..., where], normals(depth, K)[..., where], atol=2e-4, rtol=0)


def test_what_is_not_known() -> None:
    depth = plane((0, 0, -1), 5.0)
    depth[..., 5, 7] = 0
    depth[..., 10, :] = 0
    depth[..., 12, :] = 0
    known = normals(depth, K)[0].norm(dim=0) > 0
    expected = torch.ones(SIZE, dtype=torch.bool)
    expected[5, 7] = expected[10] = expected[12] = False
    expected[11] = False  # no neighbour above or below
    np.testing.assert_array_equal(known.numpy(), expected.numpy())
    assert (normals(torch.zeros(1, 1, 1, 1), K) == 0).all()


def test_a_smaller_scene_has_the_same_normals() -> None:
    depth = plane((0.2, -0.1, -0.9), 7.0)
    torch.testing.assert_close(normals(depth / 3, K), normals(depth, K), atol=2e-4, rtol=0)
