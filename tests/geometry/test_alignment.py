"""Direct alignment: a room painted by formula, seen from two places, gives back how the camera moved between them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fathomseg.geometry.alignment import _flows, align
from fathomseg.geometry.camera import project
from fathomseg.geometry.pose import invert, se3
from tests.geometry.views import backproject

SIZE = (60, 96)
K = torch.tensor([[60.0, 0, 47.5], [0, 62.0, 29.0], [0, 0, 1]])
PLANES = [((0, 1, 0), 1.5), ((0, -1, 0), 2.0), ((1, 0, 0), 2.5), ((-1, 0, 0), 3.0), ((0, 0, 1), 9.0)]
"""A room: n . P = d for floor, ceiling, right, left and far wall."""

MOTIONS = {
    "ahead": ((0, 0, 0), (0, 0, -0.3)),
    "aside": ((0, 0, 0), (0.1, 0.05, 0)),
    "turning": ((0.004, 0.015, 0.01), (0, 0, 0)),
    "all at once": ((-0.006, 0.012, -0.008), (0.05, -0.03, -0.25)),
}


def view(world_T_cam: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Image and z-depth, in float64: every ray meets the nearest plane, which is painted by a sum of waves."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    rays = np.stack([(u - 47.5) / 60, (v - 29) / 62, np.ones(SIZE)], -1)
    turned, start = rays @ world_T_cam[:3, :3].T, world_T_cam[:3, 3]
    depth = np.full(SIZE, np.inf)
    for normal, distance in PLANES:
        towards = turned @ np.array(normal)
        with np.errstate(divide="ignore"):
            z = (distance - start @ np.array(normal)) / towards
        depth = np.where((towards > 0) & (z < depth), z, depth)
    points = start + turned * depth[..., None]
    waves = np.random.default_rng(0).normal(size=(3, 6, 3)) * 4
    image = np.stack([np.sin(points @ colour.T + np.arange(6)).mean(-1) for colour in waves]) * 0.5 + 0.5
    return torch.from_numpy(image)[None].float(), torch.from_numpy(depth)[None, None].float()


def pair(name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """target, source, inverse depth of the target, src_T_tgt."""
    axis, shift = (torch.tensor([part], dtype=torch.float64) for part in MOTIONS[name])
    src_T_tgt = se3(axis, shift)
    target, depth = view(np.eye(4))
    source, _ = view(invert(src_T_tgt)[0].numpy())
    return target, source[:, None], 1 / depth, src_T_tgt[:, None].float()


def errors(found: torch.Tensor, true: torch.Tensor) -> tuple[float, float]:
    """Radians of rotation, metres of translation."""
    return float((found - true)[..., :3, :3].norm() / math.sqrt(2)), float((found - true)[..., :3, 3].norm())


START = torch.eye(4).expand(1, 1, 4, 4)


@pytest.mark.parametrize("name", MOTIONS)
def test_a_motion_is_found_from_nothing(name: str) -> None:
    target, source, r, true = pair(name)
    found = START
    for _ in range(6):  # as in training, where each call begins with what the last has taught
        found = align(target, source, r, K[None], found)
    rotation, shift = errors(found, true)
    assert rotation < 1e-3, "a sixteenth of a pixel"
    assert shift < 0.01


def test_one_call_removes_most_of_the_error() -> None:
    target, source, r, true = pair("all at once")
    before, after = errors(START, true), errors(align(target, source, r, K[None], START), true)
    assert after[0] < 0.3 * before[0]
    assert after[1] < 0.15 * before[1]


def test_translations_are_in_the_unit_of_the_depth() -> None:
    target, source, r, _ = pair("all at once")
    metres, feet = align(target, source, r, K[None], START), align(target, source, r / 3.28, K[None], START)
    torch.testing.assert_close(feet[..., :3, 3], metres[..., :3, 3] * 3.28, atol=2e-3, rtol=1e-2)
    torch.testing.assert_close(feet[..., :3, :3], metres[..., :3, :3], atol=2e-4, rtol=0)


def test_pairs_do_not_mix() -> None:
    made = [pair(name) for name in MOTIONS]
    target, r = made[0][0].expand(2, -1, -1, -1), made[0][2].expand(2, -1, -1, -1)
    sources = torch.cat([m[1] for m in made], dim=1).view(2, 2, 3, *SIZE)
    together = align(target, sources, r, K.expand(2, 3, 3), torch.eye(4).expand(2, 2, 4, 4)).flatten(0, 1)
    for found, (t, s, depth, _) in zip(together, made, strict=True):
        torch.testing.assert_close(found, align(t, s, depth, K[None], START)[0, 0], atol=1e-5, rtol=0)


def test_a_change_of_exposure_is_no_motion() -> None:
    target, source, r, _ = pair("all at once")
    plain, lighter = align(target, source, r, K[None], START), align(target, source + 0.1, r, K[None], START)
    torch.testing.assert_close(lighter, plain, atol=1e-4, rtol=0)


def test_what_moves_by_itself_counts_little_and_what_is_not_valid_not_at_all() -> None:
    target, source, r, true = pair("ahead")
    broken, valid = target.clone(), torch.ones(1, 1, *SIZE, dtype=torch.bool)
    broken[..., 20:50, 10:40] = torch.rand(3, 30, 30, generator=torch.Generator().manual_seed(0))
    valid[..., 17:53, 7:43] = False
    begun = true @ se3(torch.tensor([[0.002, -0.002, 0.0]]), torch.tensor([[0.01, 0.0, 0.05]]))
    assert errors(align(broken, source, r, K[None], begun), true)[1] < 0.25 * errors(begun, true)[1]
    alone = align(broken, source, r, K[None], begun, valid)
    assert errors(alone, true)[1] < 0.2 * errors(begun, true)[1]


def test_a_motion_that_does_not_help_is_not_taken() -> None:
    generator = torch.Generator().manual_seed(0)
    target, sources = torch.rand(1, 3, *SIZE, generator=generator), torch.full((1, 1, 3, *SIZE), torch.nan)
    r = torch.full((1, 1, *SIZE), 0.2)
    assert torch.equal(align(target, sources, r, K[None], START), START)
    plain = torch.full((1, 3, *SIZE), 0.5)
    assert torch.equal(align(plain, plain[:, None], r, K[None], START), START)


def test_a_wall_that_cannot_tell_turning_from_moving_aside_does_not_run_away() -> None:
    """At one depth everywhere both move the picture alike, nearly; that is how every depth network begins."""
    target, source, r, true = pair("all at once")
    found = START
    for _ in range(3):
        found = align(target, source, torch.full_like(r, float(r.median())), K[None], found)
    assert errors(found, START)[0] < 4 * errors(START, true)[0]


def test_flows_are_the_derivatives_of_projection() -> None:
    _, _, r, _ = pair("ahead")
    double, still = K[None].double(), torch.zeros(1, 3, dtype=torch.float64)
    points = backproject(1 / r.double(), double)
    x, y = _flows(r.double(), double)
    for k in range(6):
        small = torch.zeros(1, 3, dtype=torch.float64)
        small[0, k % 3] = 1e-6
        ends = []
        for sign in (1, -1):
            T = se3(sign * small, still) if k < 3 else se3(still, sign * small)
            moved = torch.einsum("bij,bjhw->bihw", T[:, :3, :3], points) + T[:, :3, 3, None, None]
            ends.append(project(moved, double)[0])
        slope = (ends[0] - ends[1]) / 2e-6
        torch.testing.assert_close(torch.cat([x[:, k : k + 1], y[:, k : k + 1]], 1), slope, atol=1e-5, rtol=1e-5)


def test_no_gradient_and_full_precision() -> None:
    target, source, r, _ = pair("ahead")
    start = START.clone().requires_grad_()
    plain = align(target, source, r, K[None], start)
    assert not plain.requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(align(target, source, r, K[None], start), plain)
