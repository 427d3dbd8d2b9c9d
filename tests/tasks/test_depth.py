"""The task depth: disparity heads, and its losses against slow formulas in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fathomseg.config import validate
from fathomseg.errors import ConfigError
from fathomseg.geometry.camera import depth_to_disparity, disparity_to_depth
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.depth_heads import DepthHeads, DisparityHead
from fathomseg.tasks.depth_loss import DepthLoss
from fathomseg.types import Batch

WIDTHS = {2: 6, 0: 4, 1: 5}
NEAREST, FARTHEST = 0.5, 80.0
TASK = Depth(min_depth=NEAREST, max_depth=FARTHEST)


def levels(seed: int = 0) -> dict[int, Tensor]:
    """Coarse to fine, as a decoder gives them, with a level that has no head."""
    generator = torch.Generator().manual_seed(seed)
    widths = {3: 7, **dict(sorted(WIDTHS.items(), reverse=True))}
    return {
        level: torch.randn(2, width, 32 >> level, 64 >> level, generator=generator) for level, width in widths.items()
    }


def disparity_heads() -> DepthHeads:
    return DepthHeads({level: DisparityHead(width) for level, width in WIDTHS.items()})


class TestHeads:
    def test_finest_first_whatever_the_order_given(self) -> None:
        disparity = disparity_heads()(levels())
        assert [tuple(d.shape) for d in disparity] == [(2, 1, 32, 64), (2, 1, 16, 32), (2, 1, 8, 16)]

    def test_each_level_has_its_own(self) -> None:
        heads, given = disparity_heads(), levels()
        for level, disparity in enumerate(heads(given)):
            assert torch.equal(disparity, heads.scales[str(level)](given[level]))

    def test_value_by_hand(self) -> None:
        head = DisparityHead(1)
        with torch.no_grad():
            head.conv.weight.fill_(0.5)
            head.conv.bias.fill_(-1.0)
        rows = torch.tensor([0.0, 1.0, 2.0]).view(1, 1, 3, 1).expand(1, 1, 3, 3)
        logits = torch.tensor([0.5 * 6 - 1, 0.5 * 9 - 1, 0.5 * 12 - 1])  # rows continued to 1 0 1 2 1, three columns
        torch.testing.assert_close(head(rows)[0, 0, :, 0], 1 / (1 + torch.exp(-logits)))

    def test_starts_near_a_fifth_and_stays_within_0_and_1(self) -> None:
        torch.manual_seed(0)
        heads = disparity_heads()
        for disparity in heads(levels()):
            assert (disparity - 0.2).abs().max() < 0.15
            assert disparity.std() > 1e-3, "not a constant"
        for scale in (-1e4, 1e4):
            assert all(((d >= 0) & (d <= 1)).all() for d in heads({k: scale * m for k, m in levels().items()}))

    def test_every_pixel_begins_at_the_start_whatever_the_features(self) -> None:
        torch.manual_seed(0)
        heads = DepthHeads({level: DisparityHead(width, start=0.05) for level, width in {2: 8, 3: 16}.items()})
        for disparity in heads({2: torch.randn(2, 8, 12, 16), 3: torch.randn(2, 16, 6, 8)}):
            assert disparity.mean().item() == pytest.approx(0.05, rel=0.05)
            assert disparity.min() > 0.03
            assert disparity.max() < 0.08

    def test_far_depth_keeps_its_precision_under_autocast(self) -> None:
        """Neighbouring disparities near 0.01 differ by half a percent in bfloat16; here they must not."""
        head = DisparityHead(8)
        with torch.no_grad():
            head.conv.bias.fill_(-4.6)
        feature = torch.randn(1, 8, 16, 16)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed, halved = head(feature), head(feature.bfloat16())
        assert mixed.dtype == halved.dtype == torch.float32
        assert torch.equal(mixed, head(feature))
        assert torch.equal(halved, head(feature.bfloat16().float()))

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_they_follow_the_precision_of_their_weights(self, dtype: torch.dtype) -> None:
        assert DisparityHead(3).to(dtype)(torch.randn(1, 3, 4, 4).to(dtype)).dtype == dtype


def test_decoding_by_hand() -> None:
    """Disparity is resampled, depth follows from it: halfway between 0.2 and 0.4 is 0.3, not the mean depth."""
    found = TASK.decode(torch.tensor([[[0.2, 0.4]]]), (1, 4))
    torch.testing.assert_close(found["disparity"], torch.tensor([[0.2, 0.25, 0.35, 0.4]]))
    inverse = 1 / FARTHEST + (1 / NEAREST - 1 / FARTHEST) * torch.tensor([[0.2, 0.25, 0.35, 0.4]])
    torch.testing.assert_close(found["depth"], 1 / inverse)
    ends = TASK.decode(torch.tensor([[[0.0, 1.0]]]), (1, 2))["depth"]
    torch.testing.assert_close(ends, torch.tensor([[FARTHEST, NEAREST]]))


def slow(error: str, disparity: Tensor, truth: Tensor, target: str) -> tuple[Tensor, int]:
    """One pixel at a time, in float64, from the finest disparity at the truth's size."""
    near, far = 1 / NEAREST, 1 / FARTHEST
    pairs = []
    for d, t in zip(disparity.flatten(), truth.flatten().double(), strict=True):
        if (target == "depth" and t > 0) or (target == "disparity" and not t.isnan()):
            pairs.append((d, t))
    if error == "log":
        return torch.stack(
            [(torch.log(1 / (far + (near - far) * d)) - torch.log(t)).abs() for d, t in pairs]
        ).sum(), len(pairs)
    if target == "depth":
        pairs = [(d, (1 / t.clamp(NEAREST, FARTHEST) - far) / (near - far)) for d, t in pairs]
    errors = torch.stack([(d - t).abs() for d, t in pairs])
    if error == "l1":
        return errors.sum(), len(pairs)
    c = 0.2 * errors.detach().max()
    return torch.stack([e if e <= c else (e * e + c * c) / (2 * c) for e in errors]).sum(), len(pairs)


@pytest.mark.parametrize(
    ("target", "error"),
    [("depth", "log"), ("depth", "l1"), ("depth", "berhu"), ("disparity", "l1"), ("disparity", "berhu")],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_losses_and_their_gradients_equal_slow_ones_in_float64(target: str, error: str, seed: int) -> None:
    """The truth is twice as large as the disparity, partly unknown, and partly nearer and farther than depths go."""
    g = torch.Generator().manual_seed(seed)
    disparity = (0.05 + 0.9 * torch.rand(2, 1, 4, 6, generator=g)).requires_grad_()
    unknown = torch.rand(2, 1, 8, 12, generator=g) < 0.3
    noise = torch.rand(2, 1, 8, 12, generator=g)
    truth = (0.1 * 2000**noise).masked_fill(unknown, 0.0) if target == "depth" else noise.masked_fill(unknown, math.nan)
    batch = Batch(("a", "b"), (1, 2), torch.zeros(2, 3, 8, 12, dtype=torch.uint8), {target: truth})
    criterion = validate(DepthLoss, {"target": target, "error": error}).build(TASK, None)
    total, count = criterion([disparity, torch.rand(2, 1, 2, 3)], batch, 0.0)
    exact = disparity.detach().double().requires_grad_()
    full = torch.nn.functional.interpolate(exact, (8, 12), mode="bilinear", align_corners=False)
    expected, number = slow(error, full, truth, target)
    assert count == number == (~unknown).sum()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    (found,), (right,) = torch.autograd.grad(total, [disparity]), torch.autograd.grad(expected, [exact])
    assert right.abs().max() > 0
    torch.testing.assert_close(found.double(), right, rtol=1e-4, atol=1e-5 * right.abs().max().item())


@pytest.mark.parametrize("error", ["log", "l1", "berhu"])
def test_gradients_are_those_of_finite_differences(error: str) -> None:
    """In float64, on the disparity at the size of the truth."""
    g = torch.Generator().manual_seed(0)
    disparity = (0.1 + 0.8 * torch.rand(1, 1, 3, 4, generator=g, dtype=torch.float64)).requires_grad_()
    truth = 1 + 20 * torch.rand(1, 1, 3, 4, generator=g, dtype=torch.float64)
    truth[..., 0] = 0
    criterion = validate(DepthLoss, {"error": error}).build(TASK, None)
    # The threshold of berhu is a share of the largest error, which gets no gradient there: that pixel is held.
    largest, farthest = torch.full((1, 1, 3, 1), 0.99, dtype=torch.float64), torch.full((1, 1, 3, 1), 79.0).double()

    def loss(d: Tensor) -> Tensor:
        total: Tensor = criterion.error_of(torch.cat([d, largest], 3), torch.cat([truth, farthest], 3), None)[0]
        return total

    assert torch.autograd.gradcheck(loss, disparity)


def test_the_scale_of_depths_that_are_right_is_no_loss() -> None:
    """Known answer: the disparity that belongs to a depth has no error, and twice the depth one of ln 2 per pixel."""
    disparity = torch.full((1, 1, 2, 3), 0.3)
    truth = disparity_to_depth(disparity, NEAREST, FARTHEST)
    for factor, error in ((1.0, 0.0), (2.0, math.log(2)), (0.5, math.log(2))):
        batch = Batch(("a",), (1,), torch.zeros(1, 3, 2, 3, dtype=torch.uint8), {"depth": factor * truth})
        total, count = DepthLoss().build(TASK, None)([disparity], batch, 0.0)
        assert (total / count).item() == pytest.approx(error, abs=1e-5)


def test_of_a_network_of_another_unit_only_the_shape_counts() -> None:
    """Depth in units of 3 m has no error; then one pixel of it is twice as far, and the second image has no truth."""
    criterion = validate(DepthLoss, {"error": "scale_invariant"}).build(TASK, None)
    metres = torch.tensor([[3.0, 6.0, 12.0], [5.0, 9.0, 30.0]]).expand(2, 1, 2, 3)
    disparity = depth_to_disparity(metres / 3, NEAREST, FARTHEST)
    truth = metres * torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)
    batch = Batch(("a", "b"), (1, 2), torch.zeros(2, 3, 2, 3, dtype=torch.uint8), {"depth": truth})
    total, count = criterion([disparity], batch, 0.0)
    assert (total.item(), count.item()) == (pytest.approx(0.0, abs=1e-5), 6)
    truth[0, 0, 1, 2] /= 2
    wanted = disparity.clone().requires_grad_()
    total, _ = criterion([wanted], batch, 0.0)
    assert total.item() == pytest.approx(math.log(2), rel=1e-5)
    (gradient,) = torch.autograd.grad(total, wanted)
    assert gradient.isfinite().all()
    assert gradient[0, 0, 1, 2] < 0, "nearer: a larger disparity lowers the loss"


def test_an_error_that_leaves_the_scale_open_teaches_no_metres() -> None:
    assert validate(DepthLoss, {"error": "scale_invariant"}).leaves_scale_open
    metric = validate(Depth, {"output": "metric"})
    assert "has no logarithm" in (validate(DepthLoss, {"error": "scale_invariant"}).misfit(metric) or "")
    with pytest.raises(ConfigError, match="error=scale_invariant compares depths in metres"):
        validate(DepthLoss, {"error": "scale_invariant", "target": "disparity"})
