"""CutMix, ClassMix and the combinations: what each promises beyond the contract."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.config import load
from fathomseg.errors import ConfigError
from fathomseg.mixing import AllOf, ClassMix, CutMix, DepthMix, NoMix, OneOf, Pixels, subkeys
from fathomseg.types import IGNORE
from tests.mixing.coded import coded


def labelled(label: torch.Tensor) -> Pixels:
    """Pixels with the given labels (b h w)."""
    pixels = coded(label.shape[0], (label.shape[1], label.shape[2]))
    return replace(pixels, label=label, valid=torch.ones_like(pixels.valid))


@settings(max_examples=40, deadline=None)
@given(key=st.integers(0, 2**40), height=st.integers(8, 200), width=st.integers(8, 200))
def test_the_other_image_shows_in_one_box(key: int, height: int, width: int) -> None:
    pixels = coded(1, (height, width))
    pasted = ~CutMix(probability=1).mask(pixels, pixels, [key])[0]
    rows, columns = pasted.any(1), pasted.any(0)
    assert torch.equal(pasted, rows[:, None] & columns[None, :])
    for side in (rows, columns):
        assert (side.int().diff().abs().sum() + side[0] + side[-1]) == 2, "one run of rows and of columns"


def test_boxes_fill_the_ranges_of_area_and_shape_and_reach_every_pixel() -> None:
    rule, size = CutMix(probability=0.5, area=(0.1, 0.4), aspect=(0.5, 2.0)), (300, 400)
    boxes = np.array([rule.box(np.random.default_rng(key), size) for key in range(4000)])
    some = boxes[boxes.any(axis=1)]
    assert abs(len(some) / 4000 - 0.5) < 0.03
    height, width = some[:, 2] - some[:, 0], some[:, 3] - some[:, 1]
    area, aspect = height * width / (300 * 400), height / width
    assert abs(area.min() - 0.1) < 0.003
    assert abs(area.max() - 0.4) < 0.003
    assert abs(area.mean() - 0.25) < 0.01, "even between its ends"
    assert 0.49 < aspect.min() < 0.53
    assert 1.9 < aspect.max() < 2.04
    assert abs(np.log(aspect).mean()) < 0.06, "as often wide as high"
    assert some[:, :2].min() == 0
    assert some[:, 2].max() == 300
    assert some[:, 3].max() == 400


def test_a_box_too_long_for_the_image_takes_the_nearest_shape_that_fits() -> None:
    rule = CutMix(probability=1, area=(0.5, 0.5), aspect=(1, 1))
    top, left, bottom, right = rule.box(np.random.default_rng(0), (10, 1000))
    assert (bottom - top, right - left) == (10, 500)
    assert top == 0
    assert 0 <= left <= 500


def test_probability_zero_pastes_nothing() -> None:
    pixels = coded(3, (8, 8))
    assert CutMix(probability=0).mask(pixels, pixels, (1, 2, 3)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"area": [0.5, 0.2]}, "area must be"), ({"aspect": [2, 1]}, "aspect must be"), ({"area": [0, 0.2]}, "area")],
)
def test_impossible_boxes_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(CutMix, settings)


@settings(max_examples=60, deadline=None)
@given(classes=st.sets(st.integers(0, 254), max_size=9), key=st.integers(0, 2**40), ignored=st.booleans())
def test_classmix_keeps_half_of_the_classes_whole(classes: set[int], key: int, ignored: bool) -> None:
    present = [*sorted(classes), *[IGNORE] * (ignored or not classes)]
    label = torch.tensor(present, dtype=torch.uint8).repeat(3).view(1, 3, -1)
    keep = ClassMix().mask(labelled(label), labelled(label), [key])
    kept, pasted = set(label[keep].tolist()), set(label[~keep].tolist())
    assert len(kept) == len(classes) // 2
    assert not kept & pasted, "a class is kept or not, as a whole"
    assert IGNORE not in kept


def test_every_choice_of_classes_is_equally_likely() -> None:
    label = torch.tensor([[[3, 7, 11, 200]]], dtype=torch.uint8).expand(1200, 1, 4)
    keep = ClassMix().mask(labelled(label), labelled(label), range(1200))[:, 0]
    pairs = torch.bincount((keep * torch.tensor([1, 2, 4, 8])).sum(1), minlength=16)
    two_of_four = [3, 5, 6, 9, 10, 12]
    assert pairs[two_of_four].sum() == 1200
    assert (pairs[two_of_four] > 150).all(), pairs


def test_invalid_pixels_are_of_no_class() -> None:
    label = torch.tensor([[[0, 0, 1, 1]]], dtype=torch.uint8)
    padded = replace(labelled(label), valid=torch.tensor([[[True, True, False, False]]]))
    assert not any(ClassMix().mask(padded, padded, [key]).any() for key in range(20)), "half of one class is none"
    assert all(ClassMix().mask(labelled(label), padded, [key]).sum() == 2 for key in range(20))


def test_all_of_is_the_intersection_with_keys_of_its_own_for_each_rule() -> None:
    this, other, keys = coded(3, (12, 16)), coded(3, (12, 16), seed=1), (1, 2, 3)
    keep = AllOf().mask(this, other, keys)
    near, classes = DepthMix().mask(this, other, keys), ClassMix().mask(this, other, subkeys(keys, 1))
    assert torch.equal(keep, near & classes)
    assert 0 < keep.sum() < torch.minimum(near.sum(), classes.sum())
    twice = AllOf(rules=(CutMix(probability=1), CutMix(probability=1)))
    once = AllOf(rules=(CutMix(probability=1),))
    assert twice.mask(this, other, keys).sum() < once.mask(this, other, keys).sum()


def test_one_of_takes_each_mask_from_the_rule_it_chose() -> None:
    this, other, keys = coded(40, (12, 16)), coded(40, (12, 16), seed=1), range(40)
    rules = (NoMix(), ClassMix(), DepthMix())
    rule = OneOf(rules=rules)
    keep, choices = rule.mask(this, other, keys), rule.choices(keys)
    assert set(choices) == {0, 1, 2}
    for i, choice in enumerate(choices):
        expected = rules[choice].mask(this, other, subkeys(keys, choice))
        assert torch.equal(keep[i], expected[i])


def test_weights_are_kept() -> None:
    choices = np.array(OneOf(rules=(NoMix(), ClassMix(), DepthMix()), weights=(1, 3, 0)).choices(range(2000)))
    assert abs((choices == 0).mean() - 0.25) < 0.03
    assert (choices == 2).sum() == 0


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [1.0, 2.0, 3.0]])
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="one number a rule"):
        load(OneOf, {"weights": weights})
