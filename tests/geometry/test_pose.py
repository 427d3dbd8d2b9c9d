"""Rigid motions against the matrix exponential, by hand, and their gradients at and near no rotation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.geometry.pose import invert, relative, se3, skew

ANGLES = [0.0, 1e-12, 1e-6, 0.00999, 0.01001, 0.3, 3.0, math.pi, 6.0]
"""Radians; the series hands over to the closed form at 0.01."""


def motions(seed: int, n: int = 4) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    axis_angle, translation = torch.randn(2, n, 3, generator=g, dtype=torch.float64)
    return se3(axis_angle, 10 * translation)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_rotation_equals_the_matrix_exponential(angle: float, dtype: torch.dtype, tolerance: float) -> None:
    axes = torch.tensor([[1.0, 0, 0], [0.6, 0, -0.8], [2 / 3, -1 / 3, 2 / 3]], dtype=torch.float64)
    T = se3((axes * angle).to(dtype), torch.tensor([[1.0, 2, 3]], dtype=dtype).expand(3, 3))
    expected = torch.linalg.matrix_exp(skew(axes * angle))
    torch.testing.assert_close(T[:, :3, :3].double(), expected, atol=tolerance, rtol=0)
    assert T.dtype == dtype
    assert T[:, :3, 3].tolist() == [[1, 2, 3]] * 3
    assert T[:, 3].tolist() == [[0, 0, 0, 1]] * 3


def test_a_quarter_turn_about_y_takes_forward_to_right() -> None:
    T = se3(torch.tensor([[0.0, math.pi / 2, 0]]), torch.tensor([[0.0, 0, 5]]))
    torch.testing.assert_close(T[0] @ torch.tensor([0.0, 0, 2, 1]), torch.tensor([2.0, 0, 5, 1]))


@pytest.mark.parametrize("angle", ANGLES)
def test_the_gradient_is_right_at_every_angle(angle: float) -> None:
    axis_angle = torch.tensor([[0.6, 0, -0.8], [2 / 3, -1 / 3, 2 / 3]], dtype=torch.float64) * angle
    assert torch.autograd.gradcheck(se3, (axis_angle.requires_grad_(), torch.randn(2, 3).double().requires_grad_()))


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-4, 0.009, 0.011])
def test_the_float32_gradient_is_exact_near_zero(angle: float) -> None:
    def gradient(dtype: torch.dtype) -> torch.Tensor:
        w = torch.tensor([[0.6, 0.1, -0.7]], dtype=dtype) * angle
        weights = torch.arange(16, dtype=dtype).view(1, 4, 4)
        w.requires_grad_()
        return torch.autograd.grad((se3(w, torch.zeros_like(w)) * weights).sum(), w)[0].double()

    torch.testing.assert_close(gradient(torch.float32), gradient(torch.float64), rtol=1e-6, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_invert_and_relative(seed: int) -> None:
    a, b = motions(seed), motions(seed + 1)
    eye = torch.eye(4, dtype=torch.float64).expand_as(a)
    torch.testing.assert_close(invert(a) @ a, eye)
    torch.testing.assert_close(relative(a, b), torch.linalg.inv(a) @ b)
    torch.testing.assert_close(a @ relative(a, b), b)


def test_relative_keeps_its_precision_far_from_the_origin() -> None:
    a = se3(torch.tensor([[0.0, 0.5, 0]]), torch.tensor([[50_000.0, 0, 80_000]]))
    b = a.clone()
    b[:, 0, 3] += 0.5
    expected = torch.tensor([0.5 * math.cos(0.5), 0, 0.5 * math.sin(0.5)])
    torch.testing.assert_close(relative(a, b)[0, :3, 3], expected, atol=1e-6, rtol=0)


def test_gradients() -> None:
    a, b = motions(1, 2).requires_grad_(), motions(2, 2).requires_grad_()
    assert torch.autograd.gradcheck(invert, a)
    assert torch.autograd.gradcheck(relative, (a, b))
