"""The rule against holes: worked by hand, an oracle in loops, and a hole that is filled by descending it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.losses.holes import holes


def camera(cy: float, count: int = 1) -> torch.Tensor:
    return torch.tensor([[9.0, 0.0, 3.0], [0.0, 9.0, cy], [0.0, 0.0, 1.0]]).repeat(count, 1, 1)


def test_by_hand() -> None:
    column = torch.tensor([5.0, 1.0, 4.0, 1.0, 6.0, 7.0]).view(1, 1, 6, 1)  # mean 4; rows 2 to 5 lie below row 1.5
    total, count = holes(column, camera(1.5), margin=0.1)
    assert count == 1
    # Only row 3 is farther than what is above it: (4 - 1) / 4 - 0.1, one of six pixels. Row 1 is above the horizon.
    assert total.item() == pytest.approx((0.75 - 0.1) / 6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 9), st.integers(1, 5), st.floats(-1, 10))
def test_equals_loops(seed: int, height: int, width: int, cy: float) -> None:
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
    assert holes(d, camera(cy, 2).double())[0].item() == pytest.approx(expected, abs=1e-6)


def test_a_hole_is_filled_and_the_road_stays() -> None:
    road = torch.linspace(0.1, 1.0, 12).view(1, 1, 12, 1).expand(1, 1, 12, 8)
    with_hole = road.clone()
    with_hole[:, :, 5:10, 3:6] = 0.02
    logit = with_hole.logit(eps=1e-4).requires_grad_()
    optimiser = torch.optim.Adam([logit], lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        holes(logit.sigmoid(), camera(0.5))[0].backward()  # type: ignore[no-untyped-call]
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
    holes(d, camera(0.5, 2))[0].backward()  # type: ignore[no-untyped-call]
    assert d.grad is not None
    lifted = d.grad[~fine]
    assert (lifted < 0).all(), "descending lifts what is too far"
