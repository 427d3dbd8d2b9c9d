"""Losses of areas and the focal loss against slow float64 formulas and against segmentation_models_pytorch."""

from __future__ import annotations

import importlib
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from fathomseg.losses.regions import AnyRegion, Dice, Lovasz, Region
from fathomseg.losses.segmentation import cross_entropy, focal_loss
from fathomseg.models.compat import ensure_timm_imports

BOTH: list[Region] = [Dice(), Lovasz()]


def make(seed: int, batch: int = 2, ignored: float = 0.3) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, 4, 5, 6, generator=g, dtype=torch.float64) * 2
    label = torch.randint(0, 3, (batch, 5, 6), generator=g).to(torch.uint8)  # class 3 is in no label
    label[torch.rand(label.shape, generator=g) < ignored] = 255
    return logits, label


def jaccard(missed: set[int], own: set[int]) -> float:
    """1 - IoU of a class if these of its pixels, and of the others, are wrong (Berman et al., equation 6)."""
    return len(missed) / len(own | missed)


def slow(region: Region, logits: Tensor, label: Tensor) -> tuple[float, int]:
    """Image by image, class by class; Lovasz by the definition of the extension, over growing sets of pixels."""
    total = 0.0
    for scores, truth in zip(logits, label, strict=True):
        known = truth != 255
        p, t = scores.softmax(0)[:, known], truth[known]
        losses = []
        for c in t.unique().tolist():
            q = (t == c).double()
            if isinstance(region, Dice):
                losses.append(1 - 2 * (p[c] * q).sum().item() / (p[c].sum() + q.sum()).item())
                continue
            errors, own = (p[c] - q).abs().tolist(), {i for i in range(len(t)) if q[i]}
            order = sorted(range(len(t)), key=lambda i: -errors[i])
            sets = [set(order[:k]) for k in range(len(t) + 1)]
            rise = [jaccard(sets[k + 1], own) - jaccard(sets[k], own) for k in range(len(t))]
            losses.append(sum(errors[i] * step for i, step in zip(order, rise, strict=True)))
        total += len(t) * sum(losses) / max(1, len(losses))
    return total, int((label != 255).sum())


def test_every_region_is_tried_here() -> None:
    assert {type(region) for region in BOTH} == set(get_args(get_args(AnyRegion)[0]))


@pytest.mark.parametrize("region", BOTH, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_definition(region: Region, seed: int) -> None:
    logits, label = make(seed)
    expected, pixels = slow(region, logits, label)
    total, count = region(logits, label)
    assert total.item() == pytest.approx(expected, rel=1e-9)
    assert count.item() == pixels


@pytest.mark.parametrize("region", BOTH, ids=str)
def test_right_is_0_and_wrong_is_1(region: Region) -> None:
    label = torch.tensor([[[0, 0, 1, 255]]], dtype=torch.uint8)
    right = torch.nn.functional.one_hot(label.long().clamp(max=1), 2).permute(0, 3, 1, 2) * 200.0
    assert region(right, label)[0].item() == pytest.approx(0, abs=1e-6)
    assert region(-right, label)[0].item() == pytest.approx(3, rel=1e-6)  # 1 for each labelled pixel


@pytest.mark.parametrize("region", BOTH, ids=str)
def test_micro_batches_add_up_to_the_batch(region: Region) -> None:
    logits, label = make(1, batch=3)
    label[1] = 255
    whole = region(logits, label)
    parts = [region(logits[i : i + 1], label[i : i + 1]) for i in range(3)]
    assert whole[0].item() == pytest.approx(sum(part[0].item() for part in parts), rel=1e-12)
    assert whole[1].item() == sum(part[1].item() for part in parts)


@pytest.mark.parametrize("region", [*BOTH, None], ids=str)
def test_gradients_and_the_ignored(region: Region | None) -> None:
    def loss(logits: Tensor) -> Tensor:
        return (focal_loss(logits, label, 2.0) if region is None else region(logits, label))[0]

    logits, label = make(2)
    assert torch.autograd.gradcheck(loss, logits.clone().requires_grad_())
    (gradient,) = torch.autograd.grad(loss(logits.requires_grad_()), logits)
    assert (gradient.movedim(1, -1)[label == 255] == 0).all()
    label[:] = 255
    (gradient,) = torch.autograd.grad(loss(logits), logits)
    assert loss(logits).item() == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("region", BOTH, ids=str)
def test_never_waits_for_the_device(region: Region) -> None:
    with FakeTensorMode():  # knows no values: reading one back would raise
        total, count = region(torch.randn(2, 4, 5, 6), torch.zeros(2, 5, 6, dtype=torch.uint8))
    assert total.shape == count.shape == ()


def test_focal_by_its_formula_and_gamma_near_0() -> None:
    logits, label = make(3)
    p = logits.softmax(1).gather(1, label.long().clamp(max=3)[:, None])[:, 0]
    known = label != 255
    expected = (-((1 - p) ** 1.5) * p.log())[known].sum().item()
    total, count = focal_loss(logits, label, 1.5)
    assert (total.item(), count.item()) == (pytest.approx(expected, rel=1e-9), known.sum().item())
    assert focal_loss(logits, label, 1e-9)[0].item() == pytest.approx(cross_entropy(logits, label)[0].item(), rel=1e-6)
    halved = focal_loss(logits, label, 1.5, torch.full(label.shape, 0.5))
    assert (halved[0].item(), halved[1]) == (pytest.approx(expected / 2, rel=1e-9), count)


def library(name: str, **settings: Any) -> Any:
    ensure_timm_imports()
    return getattr(importlib.import_module("segmentation_models_pytorch.losses"), name)("multiclass", **settings)


@pytest.mark.parametrize("seed", range(3))
def test_one_image_equals_the_library(seed: int) -> None:
    logits, label = make(seed, batch=1, ignored=0.0)
    lovasz = library("LovaszLoss")(logits.float(), label.long())
    dice = library("DiceLoss")(logits, label.long())
    pixels = label.numel()
    assert Lovasz()(logits, label)[0].item() == pytest.approx(pixels * lovasz.item(), rel=1e-5)
    present = len(label.unique())  # the library takes absent classes for perfect ones
    assert Dice()(logits, label)[0].item() == pytest.approx(pixels * dice.item() * 4 / present, rel=1e-6)
