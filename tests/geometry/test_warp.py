"""Warps of which the answer is known: no motion, sideways, forwards; generated streets; points behind the camera."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.data.datasets.streets import Streets
from fathomseg.geometry.camera import intrinsics, project, reciprocal
from fathomseg.geometry.pose import relative, se3
from fathomseg.geometry.warp import inside, locate, projection, sample
from tests.geometry.views import backproject, warp

F_PX, CX, CY = 40.0, 9.5, 6.0
K = torch.tensor([[[F_PX, 0, CX], [0, F_PX, CY], [0, 0, 1]]])
H, W = 13, 20


def moved(x: float = 0, y: float = 0, z: float = 0) -> torch.Tensor:
    return se3(torch.zeros(1, 3), torch.tensor([[x, y, z]], dtype=torch.float32))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("size", "dtype", "tolerance"),
    [
        ((13, 20), torch.float32, 1e-5),
        ((1, 7), torch.float32, 1e-5),
        ((64, 128), torch.float32, 1e-5),
        # White noise is the worst case, and float32 positions around 600 lie 6e-5 pixels apart.
        ((192, 640), torch.float32, 5e-5),
        ((192, 640), torch.float64, 1e-12),
    ],
)
def test_no_motion_gives_the_image_back(size: tuple[int, int], dtype: torch.dtype, tolerance: float) -> None:
    h, w = size
    camera = torch.tensor([[[0.58 * w, 0, 0.49 * w], [0, 1.92 * h, 0.51 * h], [0, 0, 1]]], dtype=dtype)
    image, depth = noise(2, 3, *size).to(dtype), 1 + 99 * noise(2, 1, *size, seed=1).to(dtype)
    again, valid = warp(image, depth, camera.expand(2, 3, 3), moved().to(dtype).expand(2, 4, 4))
    torch.testing.assert_close(again, image, atol=tolerance, rtol=0)
    assert valid.all()


@pytest.mark.parametrize("pixels", [3, -5])
def test_a_plane_moved_sideways_shifts_by_f_t_over_z(pixels: int) -> None:
    z = 8.0
    image, depth = noise(1, 3, H, W), torch.full((1, 1, H, W), z)
    # The point at u in the target lies at u + f t / z in the source.
    view, valid = warp(image, depth, K, moved(x=pixels * z / F_PX))
    here = torch.arange(W) + pixels
    known = (here >= 0) & (here < W)
    torch.testing.assert_close(view[..., known], image[..., here[known]], atol=1e-5, rtol=0)
    assert (valid[0, 0] == known).all()
    border = image[..., -1:] if pixels > 0 else image[..., :1]
    torch.testing.assert_close(view[..., ~known], border.expand_as(view[..., ~known]), atol=1e-5, rtol=0)


def test_half_a_pixel_is_the_mean_of_two() -> None:
    image = noise(1, 1, H, W)
    view, _ = warp(image, torch.full((1, 1, H, W), 10.0), K, moved(x=0.5 * 10 / F_PX))
    torch.testing.assert_close(view[..., :-1], (image[..., :-1] + image[..., 1:]) / 2, atol=1e-5, rtol=0)


def test_moving_forward_expands_the_view_about_the_principal_point() -> None:
    depth = torch.full((1, 1, H, W), 6.0)
    ramps = torch.stack(torch.meshgrid(torch.arange(W) / W, torch.arange(H) / H, indexing="xy"))[None]
    view, valid = warp(ramps, depth, K, moved(z=-2.0))  # the source is 2 m ahead: 6 m become 4
    u, v = torch.meshgrid(torch.arange(W), torch.arange(H), indexing="xy")
    x, y = CX + (u - CX) * 6 / 4, CY + (v - CY) * 6 / 4
    torch.testing.assert_close(view[0, 0], x.clamp(0, W - 1) / W)
    torch.testing.assert_close(view[0, 1], y.clamp(0, H - 1) / H)
    assert (valid[0, 0] == ((x >= 0) & (x <= W - 1) & (y >= 0) & (y <= H - 1))).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_positions_equal_backprojection_transform_and_projection(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    depth = torch.rand(2, 1, 4, 5, generator=g, dtype=torch.float64) * 20 + 3
    T = se3(*(0.2 * torch.randn(2, 6, 3, generator=g, dtype=torch.float64)).unbind()).view(2, 3, 4, 4)
    K_tgt = K.double()
    K_src = torch.tensor([[30.0, 1, 4], [0, 35, 5], [0, 0, 1]]).double().expand(2, 3, 3, 3)
    grid, ahead = locate(projection(K_tgt.expand(2, 3, 3), T, K_src, (9, 11)), 1 / depth)
    points = backproject(depth, K_tgt.expand(2, 3, 3)).flatten(2)
    for s in range(3):
        there = T[:, s, :3, :3] @ points + T[:, s, :3, 3:]
        pixels, z = project(there.unflatten(2, (4, 5)), K_src[:, s])
        assert ahead[:, s].equal(z[:, 0] > 0)
        expected = pixels * torch.tensor([2 / 10, 2 / 8]).double().view(2, 1, 1) - 1
        torch.testing.assert_close(grid[:, s], expected, atol=1e-6, rtol=1e-6)


def test_gradients_of_positions_and_of_the_warp() -> None:
    g = torch.Generator().manual_seed(0)
    matrices = torch.eye(3, 4) + 0.1 * torch.randn(2, 3, 3, 4, generator=g)
    r = 0.1 + torch.rand(2, 1, 3, 4, generator=g)
    leaves = (matrices.double().requires_grad_(), r.double().requires_grad_())
    assert torch.autograd.gradcheck(lambda *x: locate(*x)[0], leaves)

    image, depth = noise(1, 2, 5, 6).double().requires_grad_(), (4 + noise(1, 1, 4, 6)).double().requires_grad_()
    T = se3(torch.tensor([[0.02, -0.03, 0.01]]), torch.tensor([[0.13, 0.07, -0.21]])).double().requires_grad_()
    camera = torch.tensor([[[5.0, 0, 2.6], [0, 6, 1.7], [0, 0, 1]]]).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: warp(*x)[0], (image, depth, camera, T), eps=1e-7, atol=1e-5)


def test_gradients_stay_finite_where_points_lie_behind_the_source() -> None:
    depth = torch.tensor([0.5, 2.0, 2.0000001, 9.0]).view(1, 1, 2, 2).requires_grad_()
    T = moved(z=-2.0).requires_grad_()
    image, valid = warp(noise(1, 3, 2, 2), depth, torch.tensor([[[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]]), T)
    assert image.isfinite().all()
    assert valid.flatten().tolist()[:3] == [False, False, False]
    for gradient in torch.autograd.grad(image.sum(), (depth, T)):
        assert gradient.isfinite().all()
    assert warp(noise(1, 3, 2, 2), depth, K, T)[1].shape == (1, 1, 2, 2)


def test_pixels_without_depth_are_not_known() -> None:
    depth = torch.full((1, 1, H, W), 5.0)
    depth[..., 3, 4] = 0
    image, valid = warp(noise(1, 3, H, W), depth, K, moved())
    assert image.isfinite().all()
    assert not valid[0, 0, 3, 4]
    assert valid.sum() == H * W - 1


def test_autocast_and_bfloat16_do_not_reach_the_warp() -> None:
    image, depth = noise(1, 3, 16, 640), torch.full((1, 1, 16, 640), 5.0)
    with torch.autocast("cpu", torch.bfloat16):
        again, _ = warp(image.bfloat16(), depth, K, moved())
    assert again.dtype == torch.float32
    torch.testing.assert_close(again, image.bfloat16().float(), atol=1e-4, rtol=0)


def test_several_sources_in_one_call_equal_one_at_a_time() -> None:
    sources, depth = noise(2, 3, 3, H, W), 4 + noise(2, 1, H, W, seed=1)
    T = se3(0.05 * noise(6, 3, seed=2), noise(6, 3, seed=3)).view(2, 3, 4, 4)
    both = K.expand(2, 3, 3)
    grid, ahead = locate(projection(both, T, both[:, None], (H, W)), reciprocal(depth))
    views = sample(sources, grid)
    for s in range(3):
        view, valid = warp(sources[:, s], depth, both, T[:, s])
        assert views[:, s].equal(view)
        assert (ahead & inside(grid))[:, s].equal(valid[:, 0])


@pytest.mark.parametrize("offset", [-1, 1])
def test_a_neighbouring_frame_of_the_streets_warps_onto_the_target(offset: int) -> None:
    streets = Streets(size=(96, 192))
    errors = []
    for id in ("train/0000/000004", "train/0003/000010"):
        other = streets.neighbour(id, offset)
        assert other is not None
        target, source = (torch.tensor(streets.image(i)).permute(2, 0, 1)[None] / 255 for i in (id, other))
        depth = torch.tensor(streets.depth(id))[None, None]
        pose, other_pose = (torch.tensor(streets.world_T_cam(i))[None] for i in (id, other))
        src_T_tgt = relative(other_pose, pose).float()
        view, valid = warp(source, depth, intrinsics([streets.camera(id)]), src_T_tgt)
        known = (valid & ~torch.tensor(streets.moving(id)))[:, 0]
        assert known.float().mean() > 0.3
        before, after = ((image - target).abs().mean(1)[known].mean().item() for image in (source, view))
        errors.append((before, after))
    assert all(after < 0.6 * before for before, after in errors), errors


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_a_broken_pose_does_not_crash_the_process(broken: float) -> None:
    """PyTorch's grid_sample with repeated borders reads foreign memory in its backward pass on the CPU for a NaN."""
    source, depth = noise(1, 3, H, W), 4 + noise(1, 1, H, W, seed=1)
    T = moved(x=0.1).float()
    T[:, 0, 3] = broken
    T.requires_grad_()
    view, valid = warp(source, depth, K.float(), T)
    (view * valid).sum().backward()
    assert view.isfinite().all()
    assert not valid.any()
