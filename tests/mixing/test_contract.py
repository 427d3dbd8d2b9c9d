"""What every mixing rule must keep: a pixel comes from one image, with all that is known of it."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.config import Part, load
from fathomseg.mixing import (
    AllOf,
    AnyMixing,
    ClassMix,
    CutMix,
    DepthMix,
    Mixing,
    NoMix,
    OneOf,
    Pixels,
    composite,
    mix,
    partner_shift,
    subkeys,
)
from fathomseg.types import IGNORE
from tests.mixing.coded import assert_moved_alike, coded, numbers

RULES: list[Mixing] = [
    NoMix(),
    CutMix(probability=1.0),
    ClassMix(),
    DepthMix(),
    DepthMix(either_sign=True),
    DepthMix(foreground=(0.2, 0.8)),
    DepthMix(foreground=(0.5, 0.5), consistent=False),
    AllOf(),
    OneOf(rules=(DepthMix(), ClassMix(), CutMix(), AllOf())),
]
EVERY_RULE = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
KEYS = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=7)


def test_every_rule_of_the_union_is_under_this_contract() -> None:
    assert {type(rule) for rule in RULES} == set(get_args(get_args(AnyMixing)[0]))


@EVERY_RULE
@settings(max_examples=25, deadline=None)
@given(keys=KEYS, height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_every_pixel_comes_from_one_of_two_images_whole(
    rule: Mixing, keys: list[int], height: int, width: int, seed: int
) -> None:
    pixels = coded(len(keys), (height, width), seed=seed)
    mixed, keep = mix(rule, pixels, keys)
    assert_moved_alike(mixed, pixels)
    place = numbers(pixels) % (height * width)
    assert torch.equal(numbers(mixed) % (height * width), place), "pixels stay at their place"
    source = numbers(mixed) // (height * width)
    this = torch.arange(len(keys)).view(-1, 1, 1).expand_as(source)
    partner = (this + partner_shift(keys)) % len(keys)
    assert torch.equal(source, torch.where(keep, this, partner))


@EVERY_RULE
def test_a_batch_of_one_comes_back(rule: Mixing) -> None:
    pixels = coded(1, (6, 8))
    mixed, _ = mix(rule, pixels, [5])
    assert_moved_alike(mixed, pixels)
    assert torch.equal(mixed.image, pixels.image)


@EVERY_RULE
def test_the_mask_of_an_image_does_not_depend_on_its_batch(rule: Mixing) -> None:
    this, other, keys = coded(7, (12, 16)), coded(7, (12, 16), seed=1), list(range(100, 107))
    whole = rule.mask(this, other, keys)
    for i in range(7):
        alone = rule.mask(this.each(lambda x, i=i: x[i : i + 1]), other.each(lambda x, i=i: x[i : i + 1]), keys[i:][:1])
        assert torch.equal(alone[0], whole[i])


@EVERY_RULE
def test_the_same_keys_give_the_same_mask_and_others_another(rule: Mixing) -> None:
    pixels, other = coded(3, (24, 32)), coded(3, (24, 32), seed=1)
    first = rule.mask(pixels, other, (1, 2, 3))
    assert torch.equal(first, rule.mask(pixels, other, (1, 2, 3)))
    random = not isinstance(rule, NoMix) and rule not in (DepthMix(), DepthMix(foreground=(0.5, 0.5), consistent=False))
    assert torch.equal(first, rule.mask(pixels, other, (7, 8, 9))) != random


@EVERY_RULE
def test_padding_never_covers_a_photograph(rule: Mixing) -> None:
    """Dead are only pixels at which neither image shows anything; but nothing is filled where nothing is mixed."""
    pixels, keys = coded(6, (24, 32)), range(6)
    mixed, _ = mix(rule, pixels, keys)
    either = pixels.valid | pixels.valid.roll(-partner_shift(keys), 0)
    expected = torch.where(torch.tensor(rule.fills(keys))[:, None, None], either, pixels.valid)
    if isinstance(rule, NoMix):
        assert torch.equal(expected, pixels.valid)
    elif not isinstance(rule, OneOf):  # among whose rules CutMix leaves half of the images alone
        assert torch.equal(expected, either)
    assert torch.equal(mixed.valid, expected)


@pytest.mark.parametrize("probability", [0.0, 0.5])
def test_images_without_a_box_are_left_alone_with_their_padding(probability: float) -> None:
    rule, pixels, keys = CutMix(probability=probability), coded(20, (24, 32)), range(20)
    mixed, keep = mix(rule, pixels, keys)
    alone = rule.mask(pixels, pixels, keys).flatten(1).all(1)
    assert alone.sum() == 20 if probability == 0 else 0 < alone.sum() < 20
    assert keep[alone].all()
    assert torch.equal(mixed.image[alone], pixels.image[alone])
    assert_moved_alike(mixed, pixels)


def test_an_image_that_is_left_alone_among_others_is_not_filled() -> None:
    pixels, keys, rule = coded(20, (12, 16)), range(20), OneOf(rules=(NoMix(), CutMix(probability=1)))
    mixed, _ = mix(rule, pixels, keys)
    filled = torch.tensor([choice == 1 for choice in rule.choices(keys)])
    assert 0 < filled.sum() < 20
    assert torch.equal(mixed.valid[~filled], pixels.valid[~filled])
    either = pixels.valid | pixels.valid.roll(-partner_shift(keys), 0)
    assert torch.equal(mixed.valid[filled], either[filled])


@EVERY_RULE
def test_nothing_of_it_has_a_gradient(rule: Mixing) -> None:
    pixels = coded(2, (6, 8))
    assert pixels.disparity is not None
    online = replace(pixels, image=pixels.image.clone().requires_grad_(), disparity=pixels.disparity.requires_grad_())
    mixed, keep = mix(rule, online, (1, 2))
    assert mixed.disparity is not None
    assert not any(x.requires_grad for x in (mixed.image, mixed.weight, mixed.disparity, keep))


@EVERY_RULE
def test_rules_come_from_recipes(rule: Mixing) -> None:
    class Recipe(Part):
        mixing: AnyMixing

    assert load(Recipe, {"mixing": rule.model_dump(mode="json")}).mixing == rule


@EVERY_RULE
def test_only_rules_that_say_so_need_disparity(rule: Mixing) -> None:
    bare = replace(coded(2, (6, 8)), disparity=None, probabilities=None, frames=None)
    if rule.needs_disparity:
        with pytest.raises(ValueError, match="source of depth"):
            mix(rule, bare, (1, 2))
    else:
        mixed, _ = mix(rule, bare, (1, 2))
        assert mixed.disparity is None


def test_64_bit_labels_mix_too() -> None:
    pixels = coded(3, (6, 8))
    wide = replace(pixels, label=pixels.label.long())
    for rule in RULES:
        mixed, _ = mix(rule, wide, (1, 2, 3))
        assert mixed.label.dtype == torch.int64
        assert torch.equal(mixed.label, mix(rule, pixels, (1, 2, 3))[0].label.long())


def test_what_one_image_lacks_the_composite_lacks() -> None:
    this, other = coded(1, (2, 2)), replace(coded(1, (2, 2)), frames=None)
    mixed = composite(torch.ones(1, 2, 2, dtype=torch.bool), this, other)
    assert mixed.frames is None
    assert mixed.disparity is not None


def test_partners_are_others_and_all_shifts_occur() -> None:
    shifts = [partner_shift((key, 1, 2, 3, 4)) for key in range(400)]
    counts = torch.bincount(torch.tensor(shifts), minlength=5)
    assert counts[0] == 0
    assert (counts[1:] > 70).all(), counts
    assert partner_shift((3,)) == 0
    assert partner_shift((3, 4)) == 1


def test_rolling_brings_the_partner_to_the_place_of_an_image() -> None:
    pixels = coded(5, (2, 3))
    assert torch.equal(pixels.rolled(2).image[:3], pixels.image[2:])
    assert torch.equal(pixels.rolled(2).label[3:], pixels.label[:2])


def test_subkeys_differ_from_each_other_and_from_the_keys() -> None:
    keys = tuple(range(50))
    assert len({*keys, *subkeys(keys, 0), *subkeys(keys, 1)}) == 150
    assert subkeys(keys, 1) == subkeys(keys, 1)
    assert subkeys(keys[7:9], 1) == subkeys(keys, 1)[7:9]


def test_a_batch_without_any_label_can_be_mixed() -> None:
    pixels = coded(2, (6, 8))
    blank = replace(pixels, label=torch.full_like(pixels.label, IGNORE))
    for rule in RULES:
        assert (mix(rule, blank, (1, 2))[0].label == IGNORE).all()


def test_fields_of_different_sizes_are_refused() -> None:
    pixels = coded(2, (6, 8))
    with pytest.raises(TypeError):
        Pixels(pixels.image, pixels.label[:, 1:], pixels.weight, pixels.valid)
