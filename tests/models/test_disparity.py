"""Disparity heads: order, range, size and precision."""

from __future__ import annotations

import pytest
import torch
from fathomseg.models.disparity import DisparityHead, DisparityHeads
from torch import Tensor

WIDTHS = {2: 6, 0: 4, 1: 5}


def levels(seed: int = 0) -> dict[int, Tensor]:
    """Coarse to fine, as a decoder gives them, with a level that has no head."""
    generator = torch.Generator().manual_seed(seed)
    widths = {3: 7, **dict(sorted(WIDTHS.items(), reverse=True))}
    return {
        level: torch.randn(2, width, 32 >> level, 64 >> level, generator=generator) for level, width in widths.items()
    }


def test_finest_first_whatever_the_order_given() -> None:
    disparity = DisparityHeads(WIDTHS)(levels())
    assert [tuple(d.shape) for d in disparity] == [(2, 1, 32, 64), (2, 1, 16, 32), (2, 1, 8, 16)]


def test_each_level_has_its_own_head() -> None:
    heads, given = DisparityHeads(WIDTHS), levels()
    for level, disparity in enumerate(heads(given)):
        assert torch.equal(disparity, heads.scales[str(level)](given[level]))


def test_two_halves_of_the_levels_give_the_same_maps() -> None:
    heads, given = DisparityHeads(WIDTHS), levels()
    coarse, fine = {k: given[k] for k in (3, 2)}, {k: given[k] for k in (1, 0)}
    together = heads(given)
    assert all(torch.equal(a, b) for a, b in zip(heads(fine) + heads(coarse), together, strict=True))


def test_value_by_hand() -> None:
    head = DisparityHead(1)
    with torch.no_grad():
        head.conv.weight.fill_(0.5)
        head.conv.bias.fill_(-1.0)
    rows = torch.tensor([0.0, 1.0, 2.0]).view(1, 1, 3, 1).expand(1, 1, 3, 3)
    logits = torch.tensor([0.5 * 6 - 1, 0.5 * 9 - 1, 0.5 * 12 - 1])  # rows continued to 1 0 1 2 1, three columns
    torch.testing.assert_close(head(rows)[0, 0, :, 0], 1 / (1 + torch.exp(-logits)))


def test_starts_near_a_fifth_and_stays_within_0_and_1() -> None:
    torch.manual_seed(0)
    heads = DisparityHeads(WIDTHS)
    for disparity in heads(levels()):
        assert (disparity - 0.2).abs().max() < 0.15
        assert disparity.std() > 1e-3, "not a constant"
    for scale in (-1e4, 1e4):
        assert all(((d >= 0) & (d <= 1)).all() for d in heads({k: scale * m for k, m in levels().items()}))


def test_far_depth_keeps_its_precision_under_autocast() -> None:
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
def test_follows_the_precision_of_its_weights(dtype: torch.dtype) -> None:
    assert DisparityHead(3).to(dtype)(torch.randn(1, 3, 4, 4).to(dtype)).dtype == dtype


def test_every_pixel_begins_at_the_start_whatever_the_features() -> None:
    torch.manual_seed(0)
    heads = DisparityHeads({2: 8, 3: 16}, start=0.05)
    for disparity in heads({2: torch.randn(2, 8, 12, 16), 3: torch.randn(2, 16, 6, 8)}):
        assert disparity.mean().item() == pytest.approx(0.05, rel=0.05)
        assert disparity.min() > 0.03
        assert disparity.max() < 0.08
