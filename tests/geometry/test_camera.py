"""Cameras against points projected by hand and against NumPy, and what a crop, resize or flip does to a projection."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.geometry.camera import (
    depth_to_disparity,
    disparity_to_depth,
    intrinsics,
    inverse,
    inverse_depth,
    project,
    rays,
    reciprocal,
)
from fathomseg.geometry.numerics import product
from fathomseg.types import Camera
from tests.geometry.views import backproject

CAMERA = Camera(fx=300.0, fy=200.0, cx=3.5, cy=2.0, height=5, width=8)
K = torch.tensor([[[7.0, 0.5, 3.5], [0, 5.0, 2.0], [0, 0, 1]], [[9.0, 0, 1.0], [0, 4.0, 1.5], [0, 0, 1]]]).double()


def test_intrinsics_stacks_the_matrices_of_the_cameras() -> None:
    both = intrinsics([CAMERA, CAMERA.flipped()])
    assert both.dtype == torch.float32
    assert both[1].tolist() == [[300, 0, 3.5], [0, 200, 2], [0, 0, 1]]
    assert intrinsics([CAMERA.cropped(1, 2, (3, 3))])[0, :2, 2].tolist() == [1.5, 1.0]


def test_inverse_equals_numpy_also_with_skew() -> None:
    np.testing.assert_allclose(inverse(K).numpy(), np.linalg.inv(K.numpy()), atol=1e-14)
    assert torch.autograd.gradcheck(inverse, K.clone().requires_grad_())


def test_known_points() -> None:
    points = torch.tensor([[0.0, 0, 10], [1, 0, 10], [0, 1, 10], [-2, 3, 100], [1, 1, -10]]).T.view(1, 3, 1, 5)
    pixels, z = project(points, intrinsics([CAMERA]))
    expected = [[3.5, 2], [33.5, 2], [3.5, 22], [-2.5, 8], [3.5, 2]]
    torch.testing.assert_close(pixels[0, :, 0].T, torch.tensor(expected))
    assert z.flatten().tolist() == [10, 10, 10, 100, -10]


def test_a_ray_looks_along_the_axis_at_the_principal_point() -> None:
    ray = rays(torch.tensor([[[7.0, 0, 3], [0, 5, 2], [0, 0, 1]]]), (5, 8))
    assert ray.shape == (1, 3, 5, 8)
    torch.testing.assert_close(ray[0, :, 2, 3], torch.tensor([0.0, 0, 1]), atol=1e-7, rtol=0)
    torch.testing.assert_close(ray[0, :, 4, 7], torch.tensor([4 / 7, 2 / 5, 1]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 7))
def test_projecting_undoes_backprojecting(seed: int, h: int, w: int) -> None:
    depth = torch.rand(2, 1, h, w, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 500 + 0.5
    pixels, z = project(backproject(depth, K), K)
    v, u = torch.meshgrid(torch.arange(h).double(), torch.arange(w).double(), indexing="ij")
    torch.testing.assert_close(pixels, torch.stack([u, v]).expand_as(pixels))
    torch.testing.assert_close(z, depth)


@pytest.mark.parametrize("change", ["resized", "cropped", "flipped"])
def test_a_changed_image_and_its_changed_camera_see_the_same_point(change: str) -> None:
    changed, where = {
        "resized": (CAMERA.resized((10, 24)), lambda u, v: ((u + 0.5) * 3 - 0.5, (v + 0.5) * 2 - 0.5)),
        "cropped": (CAMERA.cropped(1, 3, (2, 4)), lambda u, v: (u - 3, v - 1)),
        "flipped": (CAMERA.flipped(), lambda u, v: (7 - u, v)),
    }[change]
    points = torch.tensor([[0.3, -0.2, 20], [-0.1, 0.15, 35]]).T.view(1, 3, 1, 2)
    mirrored = points * torch.tensor([-1.0 if change == "flipped" else 1.0, 1, 1]).view(1, 3, 1, 1)
    u, v = project(points, intrinsics([CAMERA]))[0][0]
    torch.testing.assert_close(project(mirrored, intrinsics([changed]))[0][0], torch.stack(where(u, v)))


def test_gradients() -> None:
    depth = torch.rand(2, 1, 3, 4, dtype=torch.float64) + 0.5
    assert torch.autograd.gradcheck(backproject, (depth.requires_grad_(), K.clone().requires_grad_()))
    points = torch.randn(2, 3, 3, 4, dtype=torch.float64) + torch.tensor([0.0, 0, 4]).double().view(3, 1, 1)
    assert torch.autograd.gradcheck(project, (points.requires_grad_(), K.clone().requires_grad_()))


def test_points_behind_the_camera_have_no_gradient_and_no_nan() -> None:
    z = torch.tensor([-1.0, 0, 1e-9, 2, float("inf")], requires_grad=True)
    q = reciprocal(z)
    assert q.tolist() == [0, 0, 0, 0.5, 0]
    (gradient,) = torch.autograd.grad(q.sum(), z)
    assert gradient.tolist() == [0, 0, 0, -0.25, 0]


@given(st.floats(0.01, 1), st.floats(2, 500), st.floats(0, 1))
def test_depth_and_disparity_are_inverse(nearest: float, farthest: float, disparity: float) -> None:
    d = torch.tensor([0.0, disparity, 1.0], dtype=torch.float64)
    depth = disparity_to_depth(d, nearest, farthest)
    torch.testing.assert_close(depth[[0, 2]], torch.tensor([farthest, nearest], dtype=torch.float64))
    torch.testing.assert_close(depth_to_disparity(depth, nearest, farthest), d, atol=1e-9, rtol=0)
    torch.testing.assert_close(inverse_depth(d, nearest, farthest), 1 / depth)


def test_disparity_by_hand() -> None:
    assert disparity_to_depth(torch.tensor(0.5, dtype=torch.float64), 0.1, 100).item() == pytest.approx(2 / 10.01)


def test_half_precision_and_autocast_do_not_reach_geometry() -> None:
    depth = torch.full((1, 1, 2, 700), 3.0, dtype=torch.bfloat16)
    K = torch.tensor([[[500.0, 0, 350], [0, 500, 1], [0, 0, 1]]])
    with torch.autocast("cpu", torch.bfloat16):
        pixels, _ = project(backproject(depth, K), K)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels[0, 0, 0], torch.arange(700.0), atol=1e-3, rtol=0)
    assert backproject(depth.double(), K.double()).dtype == torch.float64


def test_product_is_the_matrix_product() -> None:
    A, B = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(product(A, B), A @ B)
