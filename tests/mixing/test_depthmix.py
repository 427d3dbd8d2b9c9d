"""DepthMix against masks worked by hand, and what it promises of the two orders of a pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.config import load
from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import ConfigError
from fathomseg.mixing import DepthMix, Pixels, mix, mix_pairs, partner_shift, unit_disparity
from tests.mixing.coded import coded

# Multiples of 1/8, so that the margin of 1/8 is met exactly.
FIRST = torch.tensor([[0.0, 0.25, 0.5], [0.75, 1.0, torch.nan]])
SECOND = torch.tensor([[0.125, 0.5, 0.5], [0.5, 0.875, 0.5]])
FIRST_KEPT = torch.tensor([[True, False, True], [True, True, False]])
"""A tie at exactly the margin; the other is nearer; equal; this is nearer; a tie; unknown beside known."""
SECOND_KEPT = torch.tensor([[True, True, True], [False, True, True]])


def scenes(*disparities: torch.Tensor) -> Pixels:
    """Pixels with the given disparities (h w), one an image."""
    stacked = torch.stack(disparities)[:, None]
    b, _, h, w = stacked.shape
    image = torch.arange(b).view(b, 1, 1, 1).expand(b, 3, h, w).float()
    return Pixels(image, image[:, 0].byte(), torch.ones(b, h, w), torch.ones(b, h, w, dtype=torch.bool), stacked)


def test_a_pair_worked_by_hand() -> None:
    mixed, keep = mix(DepthMix(margin=0.125), scenes(FIRST, SECOND), (1, 2))
    assert torch.equal(keep, torch.stack([FIRST_KEPT, SECOND_KEPT]))
    assert torch.equal(mixed.label, torch.tensor([[[0, 1, 0], [0, 0, 1]], [[1, 1, 1], [0, 1, 1]]], dtype=torch.uint8))
    assert torch.equal(mixed.image[:, 1].byte(), mixed.label)


@pytest.mark.parametrize(("margin", "kept"), [(0.0, 3), (0.125, 4), (0.25, 5), (1.0, 5)])
def test_a_wider_margin_keeps_more(margin: float, kept: int) -> None:
    _, keep = mix(DepthMix(margin=margin), scenes(FIRST, SECOND), (1, 2))
    assert keep[0].sum() == kept
    assert keep[1].sum() == {0.0: 4, 0.125: 5}.get(margin, 6)


def test_half_of_the_images_take_the_margin_with_a_minus() -> None:
    """With +1/8 a tie shows this image, with -1/8 the other; what is farther apart is the same with both."""
    rule, keys = DepthMix(margin=0.125, either_sign=True), tuple(range(400))
    this, other = (scenes(*[plane] * 400) for plane in (FIRST, SECOND))
    _, keep = mix_pairs(rule, this, other, keys)
    strictly = torch.tensor([[False, False, False], [True, False, False]])
    found = [(torch.equal(one, FIRST_KEPT), torch.equal(one, strictly)) for one in keep]
    assert all(sum(each) == 1 for each in found)
    assert 160 < sum(plus for plus, _ in found) < 240
    assert torch.equal(mix_pairs(rule, scenes(FIRST), scenes(SECOND), keys[7:8])[1][0], keep[7])


def test_the_threshold_as_published_and_made_consistent_by_hand() -> None:
    """Columns: both background and apart; both background and tied; foreground before background; the reverse."""
    a, b = torch.tensor([[0.375, 0.25, 0.75, 0.125]]), torch.tensor([[0.0, 0.25, 0.25, 0.875]])
    published = DepthMix(margin=0.125, foreground=(0.5, 0.5), consistent=False)
    expected = torch.tensor([[[False, False, True, False]], [[False, False, False, True]]])
    assert torch.equal(mix(published, scenes(a, b), (1, 2))[1], expected)
    consistent = DepthMix(margin=0.125, foreground=(0.5, 0.5))
    expected = torch.tensor([[[True, False, True, False]], [[False, False, False, True]]])
    assert torch.equal(mix(consistent, scenes(a, b), (1, 2))[1], expected)


MAPS = st.lists(st.floats(0, 1, width=16), min_size=12, max_size=12)


@settings(max_examples=80, deadline=None)
@given(a=MAPS, b=MAPS, margin=st.sampled_from([0.0, 0.03, 0.125, 0.5]), threshold=st.floats(0, 1), key=st.integers(0))
def test_no_order_of_a_pair_contradicts_the_other(
    a: list[float], b: list[float], margin: float, threshold: float, key: int
) -> None:
    first, second = scenes(torch.tensor(a).view(3, 4)), scenes(torch.tensor(b).view(3, 4))
    rule = DepthMix(margin=margin, foreground=(threshold / 2, threshold))
    keep, back = rule.mask(first, second, [key]), rule.mask(second, first, [key + 1])
    near, far = torch.tensor(a).view(3, 4), torch.tensor(b).view(3, 4)
    apart = (near - margin > far) | (far - margin > near)
    assert torch.equal(keep[0][apart], ~back[0][apart]), "where the order is known both show the same surface"
    assert torch.equal(keep[0][apart], (near > far)[apart]), "which is the nearer one"
    plain = DepthMix(margin=margin)
    assert (plain.mask(first, second, [key]) | plain.mask(second, first, [key])).all()


@settings(max_examples=40, deadline=None)
@given(a=MAPS, b=MAPS, margin=st.floats(0, 1), threshold=st.floats(0, 1))
def test_the_published_formula(a: list[float], b: list[float], margin: float, threshold: float) -> None:
    rule = DepthMix(margin=margin, foreground=(threshold, threshold), consistent=False)
    keep = rule.mask(scenes(torch.tensor(a).view(3, 4)), scenes(torch.tensor(b).view(3, 4)), [0]).flatten()
    m, t = torch.tensor([margin, threshold])
    for i, (mine, theirs) in enumerate(zip(torch.tensor(a), torch.tensor(b), strict=True)):
        assert bool(keep[i]) == (bool(mine >= theirs - m) and bool(mine >= t))


def test_what_is_not_known_loses_to_what_is() -> None:
    pixels = coded(2, (40, 50))
    assert pixels.disparity is not None
    known = pixels.disparity[:, 0].isfinite() & pixels.valid
    other = known.roll(1, 0)
    for rule in (DepthMix(margin=0), DepthMix(foreground=(1, 1)), DepthMix(foreground=(1, 1), consistent=False)):
        keep = rule.mask(pixels, pixels.rolled(1), (1, 2))
        assert not keep[~known & other].any()
        assert keep[known & ~other].all()
        assert keep[~known & ~other].all(), "and where neither is, each image keeps its own"
        assert not keep[known & other].all()


def test_infinitely_far_is_known_and_behind_everything_but_the_unknown() -> None:
    nothing = torch.nan
    first, second = torch.tensor([[0.0, 0.0, 0.5]]), torch.tensor([[0.5, nothing, 0.0]])
    _, keep = mix(DepthMix(), scenes(first, second), (1, 2))
    assert keep[0].tolist() == [[False, True, True]]
    assert keep[1].tolist() == [[True, False, False]]


@pytest.mark.slow
def test_no_sky_of_the_streets_covers_anything_solid() -> None:
    """With the exact depth of the city, in which the sky has none."""
    data = Streets(size=(32, 64), train_clips=4, frames=1)
    ids = data.ids("train")[:4]
    depth = torch.from_numpy(np.stack([data.depth(id) for id in ids]))
    disparity = torch.where(depth > 0, 1 / depth.clamp(min=1), torch.nan)
    _, keep = mix(DepthMix(), scenes(*disparity), range(4))
    sky = depth == 0
    solid = ~sky.roll(-partner_shift(range(4)), 0)
    assert (sky & solid).sum() > 50
    assert not keep[sky & solid].any()
    assert keep[~sky & ~solid].all()


def test_the_threshold_is_drawn_for_each_image() -> None:
    flat = torch.linspace(0, 1, 1001).view(1, -1)
    pixels = scenes(*[flat] * 300)
    _, keep = mix(DepthMix(margin=0, foreground=(0.25, 0.75)), pixels, range(300))
    threshold = flat.expand(300, -1).masked_fill(~keep[:, 0], 2).amin(1)
    assert 0.25 <= threshold.min() < 0.27
    assert 0.73 < threshold.max() <= 0.7501
    assert abs(threshold.mean() - 0.5) < 0.03


def test_a_threshold_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"foreground must be \[smallest, largest\]"):
        load(DepthMix, {"foreground": [0.5, 0.2]})


def test_unit_disparity_by_hand() -> None:
    nan = torch.nan
    found = unit_disparity(torch.tensor([[[[2.0, 4.0, 10.0]]], [[[5.0, 5.0, nan]]], [[[nan, -1.0, 1.0]]]]))
    expected = torch.tensor([[[[0.0, 0.25, 1.0]]], [[[0.5, 0.5, nan]]], [[[nan, 0.0, 1.0]]]])
    torch.testing.assert_close(found, expected, equal_nan=True, rtol=0, atol=0)
    assert unit_disparity(torch.full((1, 1, 2, 2), nan)).isnan().all()
