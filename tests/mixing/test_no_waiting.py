"""Mixing and strong augmentation read nothing back from the device: they run where there is nothing to read.

Tensors on PyTorch's meta device have a shape but no values: whatever needs a value on the host (`item`, `nonzero`, a
boolean index) fails, and so does meeting a tensor of another device. So it stands for a GPU that is not there.
"""

from __future__ import annotations

import pytest
import torch

from fathomseg.augment import Augmentation, AutoAugment, Colours, NoAugmentation, RandAugment
from fathomseg.mixing import AllOf, CutMix, DepthMix, Mixing, NoMix, OneOf, Pixels, mix, unit_disparity

RULES = [NoMix(), AllOf(), OneOf(rules=(CutMix(probability=1), DepthMix(foreground=(0.1, 0.4)), AllOf()))]
STRONG = [NoAugmentation(), Colours(), RandAugment(number=4), AutoAugment()]
KEYS = range(40, 60)


def without_values() -> Pixels:
    """Pixels on a device that need not exist."""
    b, h, w = len(KEYS), 24, 32
    image, plane = torch.empty(b, 3, h, w, device="meta"), torch.empty(b, h, w, device="meta")
    return Pixels(image, plane.byte(), plane, plane.bool(), plane[:, None], image, image[:, None])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_mixing(rule: Mixing) -> None:
    mixed, keep = mix(rule, without_values(), KEYS)
    assert mixed.image.is_meta
    assert mixed.label.is_meta
    assert keep.is_meta


@pytest.mark.parametrize("strong", STRONG, ids=lambda strong: strong.name)
def test_strong(strong: Augmentation) -> None:
    out = strong(without_values(), KEYS)
    assert out.image.is_meta
    assert out.label.is_meta


def test_scaling_disparity() -> None:
    disparity = without_values().disparity
    assert disparity is not None
    assert unit_disparity(disparity).is_meta


def test_this_test_can_fail() -> None:
    pixels = without_values()
    with pytest.raises(RuntimeError, match="meta"):
        pixels.weight.max().item()
    with pytest.raises(NotImplementedError):
        pixels.weight[pixels.valid]
    with pytest.raises(RuntimeError, match="meta"):
        pixels.weight + torch.ones(32)
