"""Scale-and-shift-invariant losses: against loops in float64, and what must not change them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fathomseg.losses.relative_depth import Fit, Reduction, scale_shift_invariant

FITS: tuple[Fit, ...] = ("robust", "least_squares")


def make(seed: int, h: int = 7, w: int = 9, holes: float = 0.3) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    prediction, target, unknown = (torch.rand(2, 1, h, w, generator=g, dtype=torch.float64) for _ in range(3))
    return prediction, target.masked_fill(unknown < holes, math.nan)


def aligned(prediction: Tensor, target: Tensor, fit: Fit) -> dict[tuple[int, int], float]:
    """The aligned difference of one image (h w) at its known pixels, by the paper's formulas."""
    places = [(y, x) for y in range(target.shape[0]) for x in range(target.shape[1]) if not target[y, x].isnan()]
    p, q = ([float(map[place]) for place in places] for map in (prediction, target))
    n = len(places)
    if fit == "least_squares":
        a00, a01, b0, b1 = (
            sum(a * b for a, b in zip(u, v, strict=True)) for u, v in ((p, p), (p, [1] * n), (p, q), (q, [1] * n))
        )
        det = a00 * n - a01 * a01
        s, t = (n * b0 - a01 * b1) / det, (a00 * b1 - a01 * b0) / det
        return {place: s * a + t - b for place, a, b in zip(places, p, q, strict=True)}
    normal = []
    for values in (p, q):
        middle = sorted(values)[(n - 1) // 2]
        deviation = sum(abs(v - middle) for v in values) / n
        normal.append([(v - middle) / deviation for v in values])
    return {place: a - b for place, a, b in zip(places, *normal, strict=True)}


def slow(prediction: Tensor, target: Tensor, fit: Fit, reduction: Reduction) -> tuple[float, float]:
    maps = [aligned(p[0], t[0], fit) for p, t in zip(prediction, target, strict=True)]
    data, slopes = [], [[(0.0, 0)] * len(maps) for _ in range(4)]
    for i, R in enumerate(maps):
        errors = sorted(abs(r) for r in R.values())
        kept = errors if fit == "least_squares" else errors[: int(0.8 * len(errors) + 1e-9)]
        data.append((sum(e * e if fit == "least_squares" else e for e in kept) / 2, len(errors)))
        for k in range(4):
            cells = {place for place in R if place[0] % 2**k == 0 and place[1] % 2**k == 0}
            pairs = [(a, b) for a in cells for b in ((a[0] + 2**k, a[1]), (a[0], a[1] + 2**k)) if b in cells]
            slopes[k][i] = (sum(abs(R[a] - R[b]) for a, b in pairs), len(cells))
    if reduction == "image":
        each = [
            e / n + 0.5 * sum(slopes[k][i][0] / max(slopes[k][i][1], 1) for k in range(4))
            for i, (e, n) in enumerate(data)
        ]
        return sum(each), len(each)
    count = sum(n for _, n in data)
    rough = sum(sum(s for s, _ in level) / max(sum(n for _, n in level), 1) for level in slopes)
    return sum(e for e, _ in data) + 0.5 * rough * count, count


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(FITS), st.sampled_from(["batch", "image"]))
def test_it_equals_the_formulas_in_loops(seed: int, fit: Fit, reduction: Reduction) -> None:
    prediction, target = make(seed)
    total, count = scale_shift_invariant(prediction, target, fit, reduction=reduction)
    expected, number = slow(prediction, target, fit, reduction)
    assert count.item() == number
    assert total.item() == pytest.approx(expected, rel=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(FITS), st.floats(0.01, 100), st.floats(-5, 5))
def test_scale_and_shift_of_the_prediction_change_nothing(seed: int, fit: Fit, scale: float, shift: float) -> None:
    prediction, target = make(seed)
    factors = torch.tensor([scale, 1.0], dtype=torch.float64).view(2, 1, 1, 1)  # each image has its own
    total, _ = scale_shift_invariant(prediction, target, fit)
    moved, _ = scale_shift_invariant(factors * prediction + shift, target, fit)
    assert total.item() > 0
    assert moved.item() == pytest.approx(total.item(), rel=1e-6)


def test_the_robust_loss_does_not_know_the_scale_of_the_target() -> None:
    prediction, target = make(3)
    total, _ = scale_shift_invariant(prediction, target)
    assert scale_shift_invariant(prediction, 7 * target + 2)[0].item() == pytest.approx(total.item(), rel=1e-9)


@pytest.mark.parametrize("fit", FITS)
def test_an_affine_map_of_the_target_is_no_loss_and_an_outlier_is_trimmed(fit: Fit) -> None:
    _, target = make(4, holes=0.0)
    assert scale_shift_invariant(3 * target + 1, target, fit)[0].item() == pytest.approx(0, abs=1e-10)
    spoilt = target.clone()
    spoilt[0, 0, 2, 3] = 50
    assert scale_shift_invariant(3 * target + 1, spoilt, "least_squares", alpha=0)[0].item() > 1
    without, _ = scale_shift_invariant(3 * target + 1, spoilt, "robust", trim=0.0, alpha=0)
    trimmed, _ = scale_shift_invariant(3 * target + 1, spoilt, "robust", alpha=0)
    assert trimmed < 0.6 * without


@pytest.mark.parametrize("fit", FITS)
def test_what_lies_in_holes_changes_nothing(fit: Fit) -> None:
    prediction, target = make(5)
    changed = torch.where(target.isnan(), 1e6, prediction)
    for one, other in zip(
        scale_shift_invariant(prediction, target, fit), scale_shift_invariant(changed, target, fit), strict=True
    ):
        assert other.item() == pytest.approx(one.item(), rel=1e-9)
    gradient = torch.autograd.grad(scale_shift_invariant(prediction.requires_grad_(), target, fit)[0], prediction)[0]
    assert gradient[target.isnan()].abs().max() == 0
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("reduction", ["batch", "image"])
def test_unknown_single_and_flat_maps_are_no_division_by_zero(fit: Fit, reduction: Reduction) -> None:
    prediction = torch.full((3, 1, 4, 5), 0.2).requires_grad_()
    target = torch.full((3, 1, 4, 5), math.nan)
    total, count = scale_shift_invariant(prediction, target, fit, reduction=reduction)
    assert (total.item(), count.item()) == (0, 0)
    assert torch.autograd.grad(total, prediction)[0].abs().max() == 0
    target[0, 0, 1, 1], target[1] = 0.7, 0.3
    total, count = scale_shift_invariant(prediction, target, fit, reduction=reduction)
    assert total.item() == pytest.approx(0, abs=1e-6)
    assert count.item() == (21 if reduction == "batch" else 2)
    assert torch.autograd.grad(total, prediction)[0].isfinite().all()


@pytest.mark.parametrize("fit", FITS)
def test_gradients_are_those_of_finite_differences(fit: Fit) -> None:
    prediction, target = make(6, 4, 5)
    assert torch.autograd.gradcheck(lambda p: scale_shift_invariant(p, target, fit)[0], prediction.requires_grad_())


@pytest.mark.parametrize("fit", FITS)
def test_it_is_computed_in_full_precision_under_autocast(fit: Fit) -> None:
    prediction, target = (x.float() for x in make(7))
    plain, _ = scale_shift_invariant(prediction, target, fit)
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = scale_shift_invariant(prediction, target, fit)
        half, _ = scale_shift_invariant(prediction.bfloat16(), target, fit)
    assert total == plain
    assert half.dtype == torch.float32


def test_a_weight_of_pixels_multiplies_their_errors_alone() -> None:
    prediction, target = make(8)
    total, count = scale_shift_invariant(prediction, target)
    doubled, same = scale_shift_invariant(prediction, target, pixel_weight=torch.full_like(prediction, 2.0))
    assert doubled.item() == pytest.approx(2 * total.item(), rel=1e-9)
    assert same == count
