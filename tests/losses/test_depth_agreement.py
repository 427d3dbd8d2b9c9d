"""The weight of pseudo-labels by the agreement of two depths: a slow oracle in float64, and what is known ahead."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fathomseg.config import validate
from fathomseg.errors import ConfigError
from fathomseg.losses.depth_agreement import DepthAgreement

Unit = Literal["disparity", "depth"]
Per = Literal["image", "batch"]


def oracle(config: DepthAgreement, source: Tensor, target: Tensor, known: Tensor, counted: Tensor) -> np.ndarray:
    """Pixel by pixel, in float64."""
    s, t, d = (x[:, 0].double().numpy() for x in (source, target, known))
    weights, there = np.ones(d.shape), np.zeros(d.shape, bool)
    for place in np.ndindex(*d.shape):
        valid = not np.isnan(d[place]) and (config.target == "disparity" or d[place] > 0)
        there[place] = valid and bool(counted[place])
        if there[place]:
            off = abs(s[place] - t[place]) / max(d[place], config.floor)
            weights[place] = min(max(max(1 - off, 0) + 1e-3, 0), 1)
    means = weights.copy()
    for image in range(len(d)):
        group = slice(None) if config.per == "batch" else slice(image, image + 1)
        if there[group].any():
            means[image] = weights[group][there[group]].mean()
    return np.where(there, weights / means, 1.0)


def scene(seed: int, unit: Unit, size: tuple[int, int] = (5, 7), count: int = 3) -> tuple[Tensor, ...]:
    """Two predictions near a truth with holes, and the pixels that count."""
    g = torch.Generator().manual_seed(seed)
    shape = (count, 1, *size)
    known = torch.rand(shape, generator=g) * (1 if unit == "disparity" else 60)
    source, target = (known * (1 + 0.4 * torch.randn(shape, generator=g)).abs() for _ in range(2))
    hole = torch.rand(shape, generator=g) < 0.2
    known = known.masked_fill(hole, torch.nan if unit == "disparity" else 0.0)
    return source, target, known, torch.rand((count, *size), generator=g) > 0.2


@pytest.mark.parametrize("per", ["image", "batch"])
@pytest.mark.parametrize("unit", ["disparity", "depth"])
@given(seed=st.integers(0, 10_000))
def test_it_is_the_formula(unit: Unit, per: Per, seed: int) -> None:
    config, given_ = DepthAgreement(target=unit, per=per), scene(seed, unit)
    found = config.weight(*given_)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), oracle(config, *given_), rtol=2e-4, atol=2e-5)


def test_by_hand() -> None:
    """Off by 0, a quarter, a half, twice the depth; then one of unknown depth, and one that does not count."""
    known = torch.tensor([40.0, 40, 40, 40, 0, 40]).view(1, 1, 1, 6)
    source = torch.tensor([40.0, 50, 20, 120, 7, 3]).view(1, 1, 1, 6)
    target = torch.full((1, 1, 1, 6), 40.0)
    counted = torch.tensor([True, True, True, True, True, False]).view(1, 1, 6)
    found = DepthAgreement(target="depth").weight(source, target, known, counted)
    each = torch.tensor([1.0, 0.751, 0.501, 0.001])
    torch.testing.assert_close(found[0, 0], torch.cat([each / each.mean(), torch.ones(2)]))


@pytest.mark.parametrize("per", ["image", "batch"])
@pytest.mark.parametrize("unit", ["disparity", "depth"])
class TestKnown:
    def test_equal_heads_change_nothing(self, unit: Unit, per: Per) -> None:
        source, _, known, counted = scene(1, unit)
        found = DepthAgreement(target=unit, per=per).weight(source, source, known, counted)
        torch.testing.assert_close(found, torch.ones_like(found))

    def test_without_any_depth_every_weight_is_1(self, unit: Unit, per: Per) -> None:
        source, target, known, counted = scene(2, unit)
        nothing = torch.full_like(known, torch.nan if unit == "disparity" else 0.0)
        config = DepthAgreement(target=unit, per=per)
        assert (config.weight(source, target, nothing, counted) == 1).all()
        assert (config.weight(source, target, known, torch.zeros_like(counted)) == 1).all()
        assert (config.weight(source, target, known, counted) != 1).any()

    def test_what_does_not_count_decides_nothing(self, unit: Unit, per: Per) -> None:
        source, target, known, counted = scene(3, unit)
        config = DepthAgreement(target=unit, per=per)
        other = torch.where(counted[:, None], source, 100 * source + 1)
        assert torch.equal(config.weight(source, target, known, counted), config.weight(other, target, known, counted))

    def test_heads_that_never_agree_leave_all_alike(self, unit: Unit, per: Per) -> None:
        """The mean takes out what is the same everywhere; the thousandth keeps it from being 0 / 0."""
        _, target, known, counted = scene(4, unit)
        found = DepthAgreement(target=unit, per=per).weight(target + 1e4, target, known, counted)
        torch.testing.assert_close(found, torch.ones_like(found))


def test_the_mean_is_of_each_image_or_of_the_batch() -> None:
    """One image in which the heads agree, one in which they do not at half of the pixels."""
    known = torch.full((2, 1, 1, 2), 0.5)
    source = torch.tensor([[0.5, 0.5], [0.5, 1.0]])[:, None, None]
    counted = torch.ones(2, 1, 2, dtype=torch.bool)
    each = DepthAgreement().weight(source, known, known, counted)
    torch.testing.assert_close(each[:, 0], torch.tensor([[1, 1], [2 / 1.001, 0.002 / 1.001]]))
    together = DepthAgreement(per="batch").weight(source, known, known, counted)
    torch.testing.assert_close(together[:, 0], torch.tensor([[1, 1], [1, 0.001]]) * 4 / 3.001)


def test_far_away_a_small_difference_of_disparity_stays_small() -> None:
    """At a normalised disparity of 0 or 0.01, where 0.02 is twice the disparity or infinitely many times."""
    known = torch.tensor([0.0, 0.01, 0.5, 0.5]).view(1, 1, 1, 4)
    source, counted = known + torch.tensor([0.02, 0.02, 0.0, 0.0]), torch.ones(1, 1, 4, dtype=torch.bool)
    each = torch.tensor([0.801, 0.801, 1.0, 1.0])
    torch.testing.assert_close(DepthAgreement().weight(source, known, known, counted)[0, 0], each / each.mean())
    bare = DepthAgreement(floor=1e-6).weight(source, known, known, counted)[0, 0]
    assert bare[0] == bare[1] < 0.003


def test_no_gradient_and_no_low_precision() -> None:
    source, target, known, counted = scene(5, "disparity")
    source.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = DepthAgreement().weight(source.bfloat16(), target.bfloat16(), known.bfloat16(), counted)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    expected = oracle(DepthAgreement(), *(x.detach().bfloat16() for x in (source, target, known)), counted)
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-4, atol=2e-5)


def test_settings_are_checked() -> None:
    assert validate(DepthAgreement, DepthAgreement(per="batch").model_dump()).per == "batch"
    with pytest.raises(ConfigError, match="floor"):
        validate(DepthAgreement, {"floor": 0})
