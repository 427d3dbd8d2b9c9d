"""Losses of disparity by hand, against loops in float64, and what descending them does."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.losses.disparity import below_horizon, berhu, drift, smoothness
from fathomseg.losses.photometric import PhotometricLoss


def textbook(d: torch.Tensor, image: torch.Tensor) -> float:
    total = 0.0
    for b in range(len(d)):
        mean = d[b].mean().item() + 1e-7
        for dy, dx in ((0, 1), (1, 0)):
            values = []
            for y in range(d.shape[2] - dy):
                for x in range(d.shape[3] - dx):
                    step = abs(d[b, 0, y + dy, x + dx].item() - d[b, 0, y, x].item()) / mean
                    edge = sum(abs((image[b, c, y + dy, x + dx] - image[b, c, y, x]).item()) for c in range(3)) / 3
                    values.append(step * math.exp(-edge))
            total += sum(values) / max(len(values), 1)
    return total


def make(seed: int, h: int, w: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return (torch.rand(2, c, h, w, generator=g, dtype=torch.float64) for c in (1, 3))  # type: ignore[return-value]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 6))
def test_smoothness_equals_the_formula_in_loops(seed: int, h: int, w: int) -> None:
    d, image = make(seed, h, w)
    total, count = smoothness(d, image)
    assert count == 2
    assert total.item() == pytest.approx(textbook(d, image), rel=1e-10)


def test_smoothness_of_a_step_by_hand() -> None:
    d = torch.tensor([[1.0, 3.0], [1.0, 3.0]]).view(1, 1, 2, 2)  # mean 2: steps of 1 along x, none along y
    flat, edge = torch.zeros(1, 3, 2, 2), torch.tensor([0.0, 1.0]).expand(1, 3, 2, 2)
    assert smoothness(d, flat)[0].item() == pytest.approx(1)
    assert smoothness(d, edge)[0].item() == pytest.approx(math.exp(-1))


def test_smoothness_does_not_depend_on_scale() -> None:
    d, image = make(0, 6, 7)
    torch.testing.assert_close(smoothness(0.01 * d, image)[0], smoothness(d, image)[0], rtol=1e-4, atol=0)


def test_smoothness_gradient() -> None:
    d, image = make(1, 4, 5)
    assert torch.autograd.gradcheck(lambda x: smoothness(x, image)[0], d.requires_grad_())
    total, _ = smoothness(d, image.requires_grad_())
    assert torch.autograd.grad(total, image, allow_unused=True)[0] is None


def test_a_black_map_gives_no_nan() -> None:
    d = torch.zeros(1, 1, 4, 5, requires_grad=True)
    total, _ = smoothness(d, torch.rand(1, 3, 4, 5))
    (gradient,) = torch.autograd.grad(total, d)
    assert total.item() == 0
    assert gradient.isfinite().all()


def camera(cy: float, count: int = 1) -> torch.Tensor:
    return torch.tensor([[9.0, 0.0, 3.0], [0.0, 9.0, cy], [0.0, 0.0, 1.0]]).repeat(count, 1, 1)


def test_below_horizon_by_hand() -> None:
    column = torch.tensor([5.0, 1.0, 4.0, 1.0, 6.0, 7.0]).view(1, 1, 6, 1)  # mean 4; rows 2 to 5 lie below row 1.5
    total, count = below_horizon(column, camera(1.5), margin=0.1)
    assert count == 1
    # Only row 3 is farther than what is above it: (4 - 1) / 4 - 0.1, one of six pixels. Row 1 is above the horizon.
    assert total.item() == pytest.approx((0.75 - 0.1) / 6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 9), st.integers(1, 5), st.floats(-1, 10))
def test_below_horizon_equals_loops(seed: int, height: int, width: int, cy: float) -> None:
    d = torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.01
    expected = 0.0
    for image in d[:, 0]:
        unit = image / (image.mean() + 1e-7)
        for x in range(width):
            nearest = 0.0
            for y in range(height):
                if y > torch.tensor(cy).float():
                    nearest = max(nearest, float(unit[y, x]))
                    expected += max(0.0, nearest - float(unit[y, x]) - 0.1) / (height * width)
    assert below_horizon(d, camera(cy, 2).double())[0].item() == pytest.approx(expected, abs=1e-6)


def test_a_hole_is_filled_and_the_road_stays() -> None:
    road = torch.linspace(0.1, 1.0, 12).view(1, 1, 12, 1).expand(1, 1, 12, 8)
    with_hole = road.clone()
    with_hole[:, :, 5:10, 3:6] = 0.02
    logit = with_hole.logit(eps=1e-4).requires_grad_()
    optimiser = torch.optim.Adam([logit], lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        below_horizon(logit.sigmoid(), camera(0.5))[0].backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    filled = logit.sigmoid().detach()
    # What is seen in its place is at least what is above it, less the margin of a tenth of the mean.
    assert (filled[:, :, 5:10, 3:6] >= 0.8 * road[:, :, 4:5, 3:6]).all()
    outside = torch.ones_like(road, dtype=torch.bool)
    outside[:, :, 5:10, 3:6] = False
    torch.testing.assert_close(filled[outside], road.clone()[outside].clamp(max=1 - 1e-4))


def test_near_things_are_never_pushed_away() -> None:
    d = torch.rand(2, 1, 8, 6, generator=torch.Generator().manual_seed(1)) + 0.05
    d.requires_grad_()
    unit = d.detach() / d.detach().mean((1, 2, 3), keepdim=True)
    nearest = unit[:, :, 1:].cummax(2).values  # rows 1.. lie below row 0.5
    fine = torch.ones_like(d, dtype=torch.bool)
    fine[:, :, 1:] = nearest - unit[:, :, 1:] < 0.1
    below_horizon(d, camera(0.5, 2))[0].backward()  # type: ignore[no-untyped-call]
    assert d.grad is not None
    lifted = d.grad[~fine]
    assert (lifted < 0).all(), "descending lifts what is too far"


def flat(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 4, 6)


def test_drift_by_hand() -> None:
    total, count = drift(flat(0.6, 0.8, 1.0), 0.2)
    assert count == 3
    # 3, 4 and 5 times 0.2: in the geometric mean the cube root of 60, of which 1.5 are free.
    assert total.item() == pytest.approx(3 * (math.log(60) / 3 - math.log(1.5)) ** 2)
    assert drift(flat(0.05), 0.2)[0].item() == pytest.approx(math.log(4 / 1.5) ** 2), "too small is as bad"


def test_drift_leaves_images_their_own_scale() -> None:
    """A narrow street beside a wide one."""
    disparity = flat(0.6, 0.2 / 3).clone().requires_grad_()
    total, _ = drift(disparity, 0.2)
    total.backward()
    assert total.item() == pytest.approx(0, abs=1e-12)
    assert disparity.grad is not None
    assert not disparity.grad.any()


def test_padding_counts_nowhere() -> None:
    picture = torch.rand(2, 1, 6, 8, generator=torch.Generator().manual_seed(2)) * 0.2 + 0.6
    padded = torch.nn.functional.pad(picture, (2, 4, 2, 2), value=0.01)
    valid = torch.nn.functional.pad(torch.ones_like(picture), (2, 4, 2, 2)).bool()
    torch.testing.assert_close(drift(padded, 0.2, valid), drift(picture, 0.2))
    assert drift(padded, 0.2)[0] < 0.9 * drift(picture, 0.2)[0]
    moved = camera(2.5, 2)
    moved[:, 1, 2] += 2
    torch.testing.assert_close(below_horizon(padded, moved, valid=valid), below_horizon(picture, camera(2.5, 2)))
    assert below_horizon(padded, moved)[0] > 2 * below_horizon(picture, camera(2.5, 2))[0]
    smaller = torch.nn.functional.avg_pool2d(padded, 2)  # a coarser map, of whose pixels none is valid in part
    torch.testing.assert_close(drift(smaller, 0.2, valid), drift(picture, 0.2))


def test_inside_the_band_no_drift_pulls() -> None:
    disparity = flat(0.21).clone().requires_grad_()
    drift(disparity, 0.2)[0].backward()
    assert disparity.grad is not None
    assert not disparity.grad.any()


def test_drift_looks_at_the_mean_alone() -> None:
    steep = torch.linspace(0.1, 0.9, 24).view(1, 1, 4, 6)
    assert drift(steep, 0.2)[0].item() == pytest.approx(drift(flat(0.5), 0.2)[0].item())


@pytest.mark.parametrize("start", [0.02, 0.9])
def test_descent_brings_the_scale_back(start: float) -> None:
    logit = (torch.tensor([0.5, 1.0]) * start).log().view(1, 1, 1, 2).requires_grad_()
    optimiser = torch.optim.SGD([logit], lr=1.0)
    for _ in range(500):
        optimiser.zero_grad()
        drift(logit.exp(), 0.2)[0].backward()
        optimiser.step()
    found = logit.detach().exp()
    assert 0.2 / 1.5 - 1e-3 <= found.mean().item() <= 0.2 * 1.5 + 1e-3


def test_the_photometric_loss_has_it_on_request() -> None:
    image, frames = torch.rand(1, 3, 8, 12), torch.rand(1, 2, 3, 8, 12)
    camera = torch.tensor([[[9.0, 0.0, 6.0], [0.0, 9.0, 4.0], [0.0, 0.0, 1.0]]])
    motions = torch.eye(4).expand(1, 2, 4, 4)
    disparity = torch.full((1, 1, 8, 12), 0.9)
    given = image, frames, [disparity], camera, motions, (0.1, 100.0)
    terms = PhotometricLoss(scale=0.5, mean_disparity=0.2)(*given).terms
    assert terms["scale"].weight == 0.5
    assert (terms["scale"].sum / terms["scale"].count).item() == pytest.approx(math.log(3) ** 2, rel=1e-5)
    assert "scale" not in PhotometricLoss()(*given).terms


def test_berhu_by_hand() -> None:
    """Errors 0.1, 0.2, 1.0 with c = 0.2: 0.1 + 0.2 + (1 + 0.04) / 0.4."""
    total, count = berhu(torch.tensor([0.1, 0.7, 1.0, 0.3]), torch.tensor([0.0, 0.5, 0.0, math.nan]))
    assert total.item() == pytest.approx(0.1 + 0.2 + 2.6)
    assert count == 3


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 1.0))
def test_berhu_equals_the_formula_in_loops(seed: int, share: float) -> None:
    g = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, 1, 3, 4, generator=g), torch.rand(2, 1, 3, 4, generator=g)
    errors = [abs(x - y) for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)]
    c = share * max(errors)
    expected = sum(e if e <= c else (e * e + c * c) / (2 * c) for e in errors)
    assert berhu(a, b, share)[0].item() == pytest.approx(expected, rel=1e-5)


def test_berhu_gradient_is_that_of_a_constant_c() -> None:
    """sign(e) below c, e / c above."""
    a = torch.tensor([0.1, -1.0, 0.4], requires_grad=True)
    total, _ = berhu(a, torch.zeros(3))
    total.backward()
    torch.testing.assert_close(a.grad, torch.tensor([1.0, -5.0, 2.0]))


@pytest.mark.parametrize("target", [[math.nan, math.nan], [0.5, 0.5]])
def test_nothing_to_learn_moves_nothing(target: list[float]) -> None:
    a = torch.tensor([0.5, 0.5], requires_grad=True)
    total, _ = berhu(a, torch.tensor(target))
    total.backward()
    assert total.item() == 0
    assert a.grad is not None
    assert torch.equal(a.grad, torch.zeros(2))
