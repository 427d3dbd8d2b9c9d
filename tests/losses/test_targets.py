"""Targets from a teacher and the loss on them, against loops over pixels in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from fathomseg.config import Part, validate
from fathomseg.losses.segmentation import cross_entropy
from fathomseg.losses.targets import (
    AnyTarget,
    AnyWeighting,
    ConfidentFraction,
    EveryPixel,
    HardTarget,
    Lesson,
    SoftTarget,
    Target,
    Threshold,
    consistency,
    kl_divergence,
    with_labels,
)
from fathomseg.mixing import Pixels, composite
from fathomseg.types import IGNORE

C, SHAPE = 5, (3, 6, 7)
KINDS = [HardTarget(), SoftTarget()]
WEIGHTINGS = [EveryPixel(), Threshold(threshold=0.6), ConfidentFraction(threshold=0.6, per="image")]
WEIGHTINGS.append(ConfidentFraction(threshold=0.6, per="batch"))


def scores(seed: int, scale: float = 2.0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(SHAPE[0], C, *SHAPE[1:], generator=g, dtype=torch.float64) * scale


def labels(seed: int, ignored: float = 0.3) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(0, C, SHAPE, generator=g).to(torch.uint8)
    label[torch.rand(SHAPE, generator=g) < ignored] = IGNORE
    return label


def softmax(z: list[float], temperature: float = 1.0) -> list[float]:
    e = [math.exp((x - max(z)) / temperature) for x in z]
    return [x / sum(e) for x in e]


def with_ignored(target: Target, seed: int) -> Target:
    """As after mixing with an image that ends within the picture: some pixels are ignored."""
    ignored = labels(seed) == IGNORE
    label, confidence = target.label.clone(), target.confidence.clone()
    label[ignored], confidence[ignored] = IGNORE, 0.0
    return Target(label, confidence, target.probabilities)


def weigh(weighting: AnyWeighting, target: Target, truth: Tensor | None = None, shown: Tensor | None = None) -> Tensor:
    """The weights, without truth and without padding unless given."""
    truth = torch.zeros(len(target.label), dtype=torch.bool) if truth is None else truth
    return weighting(target, truth, torch.ones_like(target.label, dtype=torch.bool) if shown is None else shown)


def lesson(target: Target, weight: Tensor) -> Lesson:
    return Lesson(target.label, weight, target.probabilities)


def slow_consistency(
    logits: Tensor, target: Target, weight: Tensor, over: str, classes: Sequence[float] = (1.0,) * C
) -> tuple[float, float]:
    """The definition, a pixel at a time."""
    total, count, weight = 0.0, 0.0, weight.expand(SHAPE)
    for b, y, x in np.ndindex(*SHAPE):
        valid, w = target.label[b, y, x] != IGNORE, weight[b, y, x].item()
        count += {"valid": float(valid), "all": 1.0, "kept": w * float(valid)}[over]
        if not valid:
            continue
        q = softmax(logits[b, :, y, x].tolist())
        if target.probabilities is None:
            p = [float(c == target.label[b, y, x]) for c in range(C)]
        else:
            p = target.probabilities[b, :, y, x].tolist()
        p = [c * a for c, a in zip(classes, p, strict=True)]
        w, p = w * sum(p), [a / sum(p) for a in p]
        total += w * sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True) if a > 0)
    return total, count


class TestTargets:
    def test_known_answer(self) -> None:
        """Odds of 6 : 3 : 1; sharpened by T = 1/2 they are 36 : 9 : 1."""
        logits = torch.tensor([6.0, 3.0, 1.0]).log().view(1, 3, 1, 1)
        for target in (HardTarget()(logits), SoftTarget(temperature=0.5)(logits)):
            assert target.label.item() == 0
            assert target.confidence.item() == pytest.approx(0.6)
        assert HardTarget()(logits).probabilities is None
        torch.testing.assert_close(target.probabilities.flatten(), torch.tensor([36.0, 9.0, 1.0]) / 46)

    @pytest.mark.parametrize("temperature", [0.1, 0.4, 1.0, 3.0])
    def test_against_a_loop(self, temperature: float) -> None:
        logits = scores(0)
        target = SoftTarget(temperature=temperature)(logits)
        for b, y, x in np.ndindex(*SHAPE):
            z = logits[b, :, y, x].tolist()
            assert target.label[b, y, x] == max(range(C), key=z.__getitem__)
            assert target.confidence[b, y, x].item() == pytest.approx(max(softmax(z)), rel=1e-5)
            found = target.probabilities[b, :, y, x].tolist()
            assert found == pytest.approx(softmax(z, temperature), rel=1e-5, abs=1e-9)

    @pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision(self, kind: AnyTarget, dtype: torch.dtype) -> None:
        """Scores as large as half precision has them, and classes as sure as can be."""
        logits = (scores(1) * 5000).to(dtype)
        target, exact = kind(logits), kind(logits.double())
        assert torch.equal(target.label, exact.label)
        torch.testing.assert_close(target.confidence, exact.confidence)
        assert target.confidence.max() == 1
        if target.probabilities is not None:
            torch.testing.assert_close(target.probabilities, exact.probabilities)
            torch.testing.assert_close(target.probabilities.sum(1), torch.ones(SHAPE))

    @pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
    def test_no_gradient_reaches_the_teacher(self, kind: AnyTarget) -> None:
        teacher, student = scores(0).requires_grad_(), scores(1).requires_grad_()
        target = with_labels(kind(teacher), labels(0), torch.tensor([True, False, False]))
        total, _ = consistency(student, lesson(target, weigh(ConfidentFraction(threshold=0.1), target)))
        total.backward()
        assert teacher.grad is None
        assert student.grad.abs().sum() > 0

    def test_a_soft_target_given_with_a_graph_gets_no_gradient(self) -> None:
        teacher, student = scores(0).requires_grad_(), scores(1).requires_grad_()
        kl_divergence(teacher.softmax(1), student).sum().backward()
        assert teacher.grad is None
        assert student.grad.abs().sum() > 0


class TestTruth:
    @pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
    def test_replaces_the_answer_on_labelled_images_alone(self, kind: AnyTarget) -> None:
        before, label = kind(scores(0)), labels(0)
        after = with_labels(before, label, torch.tensor([False, True, False]))
        for b in (0, 2):
            assert torch.equal(after.label[b], before.label[b])
            assert torch.equal(after.confidence[b], before.confidence[b])
        assert torch.equal(after.label[1], label[1])
        assert torch.equal(after.confidence[1], (label[1] != IGNORE).float())
        if before.probabilities is not None:
            assert torch.equal(after.probabilities[::2], before.probabilities[::2])
            for y, x in np.ndindex(*SHAPE[1:]):
                expected = [float(c == label[1, y, x]) for c in range(C)]
                assert after.probabilities[1, :, y, x].tolist() == expected

    def test_a_hard_and_a_soft_truth_cost_the_same(self) -> None:
        logits, label, everywhere = scores(2), labels(1), torch.ones(3, dtype=torch.bool)
        expected = cross_entropy(logits, label)
        for kind in KINDS:
            target = with_labels(kind(scores(0)), label, everywhere)
            total, count = consistency(logits, lesson(target, weigh(Threshold(), target)))
            assert count == expected[1]
            assert total.item() == pytest.approx(expected[0].item(), rel=1e-12)


class TestWeighting:
    def target(self) -> Target:
        """Two images of 2 x 3 pixels: 3 and 1 of 6 are sure; one that would be is ignored."""
        confidence = torch.tensor([[[0.99, 0.97, 0.5], [0.2, 0.968, 0.99]], [[0.98, 0.1, 0.1], [0.2, 0.3, 0.4]]])
        label = torch.zeros(2, 2, 3, dtype=torch.uint8)
        label[0, 1, 2] = IGNORE
        return Target(label, confidence)

    def test_by_hand(self) -> None:
        target = self.target()
        valid = [[[1, 1, 1], [1, 1, 0]], [[1, 1, 1], [1, 1, 1]]]
        assert weigh(EveryPixel(), target).tolist() == valid
        sure = [[[1, 1, 0], [0, 1, 0]], [[1, 0, 0], [0, 0, 0]]]
        assert weigh(Threshold(threshold=0.968), target).tolist() == sure
        share = torch.tensor([3 / 5, 1 / 6]).view(2, 1, 1)
        torch.testing.assert_close(weigh(ConfidentFraction(), target), torch.tensor(valid) * share)
        torch.testing.assert_close(weigh(ConfidentFraction(per="batch"), target), torch.tensor(valid) * (4 / 12))

    def test_per_batch_is_counted_before_mixing_where_published_is_after(self) -> None:
        """One image with truth and one with 20 % sure pixels; of both mixed images 80 % are the first one's: published
        0.8 + 0.2 * 0.2 = 0.84, ours (1 + 0.2) / 2 = 0.6."""
        sure = torch.stack([torch.ones(1, 25, dtype=torch.bool), torch.arange(25)[None] % 5 == 0])
        target = Target(torch.zeros(2, 1, 25, dtype=torch.uint8), torch.where(sure, 1.0, 0.5))
        weight = weigh(ConfidentFraction(per="batch"), target, torch.tensor([True, False]))
        pixels = Pixels(torch.zeros(2, 3, 1, 25), target.label, weight, torch.ones_like(sure))
        first = torch.stack([torch.arange(25)[None] < 20, torch.arange(25)[None] >= 20])
        mixed = composite(first, pixels, pixels.rolled(1))
        torch.testing.assert_close(mixed.weight, torch.full((2, 1, 25), 0.6))
        after = torch.where(first, sure, sure.roll(1, dims=0))
        assert after.float().mean().item() == pytest.approx(0.84)

    def test_padding_is_neither_sure_nor_unsure(self) -> None:
        """A quarter of each image is padding, and the teacher is sure of the rest."""
        shown = torch.ones(2, 2, 4, dtype=torch.bool)
        shown[:, :, 3] = False
        label = torch.zeros(2, 2, 4, dtype=torch.uint8).masked_fill(~shown, IGNORE)
        target = Target(label, torch.where(shown, 0.99, 0.0))
        for per in ("image", "batch"):
            assert torch.equal(weigh(ConfidentFraction(per=per), target, shown=shown), shown.float())

    def test_truth_counts_whole_and_teaches_no_confidence_to_the_others(self) -> None:
        """One image with labels among three of which the teacher knows nothing."""
        truth = torch.tensor([True, False, False, False])
        target = Target(torch.zeros(4, 2, 3, dtype=torch.uint8), torch.full((4, 2, 3), 0.3))
        target = with_labels(target, torch.ones(4, 2, 3, dtype=torch.uint8), truth)
        assert weigh(ConfidentFraction(), target, truth).amax((1, 2)).tolist() == [1, 0, 0, 0]
        assert weigh(ConfidentFraction(per="batch"), target, truth).unique().tolist() == [0.25], "as published"

    def test_truth_is_sure_and_ignored_pixels_are_not(self) -> None:
        label, truth = torch.zeros(2, 2, 3, dtype=torch.uint8), torch.tensor([True, False])
        label[0, 0, :2] = IGNORE
        target = with_labels(self.target(), label, truth)
        published = weigh(ConfidentFraction(per="batch"), target, truth)
        torch.testing.assert_close(published, (target.label != IGNORE) * torch.tensor((4 + 1) / 12))
        assert weigh(ConfidentFraction(), target, truth)[0].tolist() == [[0, 0, 1], [1, 1, 1]]
        assert weigh(Threshold(threshold=1.0), target)[0].tolist() == [[0, 0, 1], [1, 1, 1]]

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 1000), st.floats(0, 1))
    def test_fractions_are_means_of_the_thresholded(self, seed: int, threshold: float) -> None:
        target = with_ignored(HardTarget()(scores(seed)), seed)
        sure = weigh(Threshold(threshold=threshold), target)
        valid = (target.label != IGNORE).float()
        share = sure.sum((1, 2), keepdim=True) / valid.sum((1, 2), keepdim=True)
        torch.testing.assert_close(weigh(ConfidentFraction(threshold=threshold), target), valid * share)
        batch = weigh(ConfidentFraction(threshold=threshold, per="batch"), target)
        torch.testing.assert_close(batch, valid * sure.mean())

    @pytest.mark.parametrize("weighting", WEIGHTINGS, ids=lambda w: f"{w.name}-{getattr(w, 'per', '')}")
    def test_weights_are_shares(self, weighting: AnyWeighting) -> None:
        weight = weigh(weighting, HardTarget()(scores(0))).expand(SHAPE)
        assert weight.dtype == torch.float32
        assert ((weight >= 0) & (weight <= 1)).all()
        assert weight.max() > 0


class TestConsistency:
    @pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
    @pytest.mark.parametrize("weighting", WEIGHTINGS, ids=lambda w: f"{w.name}-{getattr(w, 'per', '')}")
    @pytest.mark.parametrize("over", ["valid", "all", "kept"])
    def test_against_a_loop(self, kind: AnyTarget, weighting: AnyWeighting, over: str) -> None:
        target = with_ignored(kind(scores(0)), seed=5)
        weight, logits = weigh(weighting, target), scores(1)
        expected = slow_consistency(logits, target, weight, over)
        found = consistency(logits, lesson(target, weight), over)
        assert [x.item() for x in found] == pytest.approx(expected, rel=1e-6)

    def test_soft_targets_of_weighted_classes_teach_what_labels_drawn_from_them_would(self) -> None:
        """0.7 and 0.3 with weights 1 and 4 are odds of 0.7 : 1.2."""
        q, classes = torch.tensor([0.7, 0.3]), torch.tensor([1.0, 4.0])
        logits = torch.zeros(1, 2, 1, 1, requires_grad=True)
        given = Lesson(torch.zeros(1, 1, 1, dtype=torch.uint8), torch.ones(1, 1, 1), q.view(1, 2, 1, 1))
        optimiser = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> float:
            optimiser.zero_grad()
            total, _ = consistency(logits, given, classes=classes)
            total.backward()
            return total.item()

        optimiser.step(loss)
        assert logits.detach().softmax(1).flatten().tolist() == pytest.approx([0.7 / 1.9, 1.2 / 1.9], abs=1e-3)
        assert loss() == pytest.approx(0, abs=1e-5)

    @pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
    @pytest.mark.parametrize("over", ["valid", "all", "kept"])
    def test_weighted_classes_against_a_loop(self, kind: AnyTarget, over: str) -> None:
        target, classes = with_ignored(kind(scores(0)), seed=5), torch.linspace(0.25, 3, C)
        weight, logits = weigh(Threshold(threshold=0.4), target), scores(1)
        expected = slow_consistency(logits, target, weight, over, classes.tolist())
        found = consistency(logits, lesson(target, weight), over, classes)  # type: ignore[arg-type]
        assert [x.item() for x in found] == pytest.approx(expected, rel=1e-6)
        assert found[0] != consistency(logits, lesson(target, weight), over)[0]  # type: ignore[arg-type]

    def test_the_published_step(self) -> None:
        """Hoyer et al. 2021: fraction of sure pixels x cross-entropy, averaged over ALL pixels, by hand."""
        logits = torch.tensor([[1.0, 3.0], [2.0, 1.0], [1.0, 1.0], [1.0, 1.0]]).log().T.reshape(1, 2, 2, 2)
        target = Target(
            torch.tensor([[[1, 0], [1, IGNORE]]], dtype=torch.uint8), torch.tensor([[[0.99, 0.97], [0.6, 0.0]]])
        )
        total, count = consistency(logits, lesson(target, weigh(ConfidentFraction(per="batch"), target)), over="all")
        assert count == 4
        assert total.item() == pytest.approx(0.5 * (-math.log(3 / 4) - math.log(2 / 3) - math.log(1 / 2)))

    def test_divergence_by_hand(self) -> None:
        """KL of (1/2, 1/2, 0) from (1/4, 1/4, 1/2) is log 2; of a distribution from itself, 0."""
        p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.25, 0.5])
        for target, answer in ((p, math.log(2)), (q, 0.0)):
            divergence = kl_divergence(target.view(1, 3, 1, 1), q.log().view(1, 3, 1, 1) + 7)
            assert divergence.item() == pytest.approx(answer, abs=1e-6)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 1000), st.floats(0.05, 5))
    def test_divergence_is_never_negative_and_zero_at_the_target(self, seed: int, temperature: float) -> None:
        teacher, student = scores(seed).float(), scores(seed + 1).float()
        p = SoftTarget(temperature=temperature)(teacher).probabilities
        assert kl_divergence(p, student).min() > -1e-5
        assert kl_divergence(p, teacher / temperature).abs().max() < 1e-5

    @pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
    def test_gradients(self, kind: AnyTarget) -> None:
        few = (slice(None), ..., slice(2), slice(3))
        whole = with_ignored(kind(scores(0)), seed=5)
        soft = None if whole.probabilities is None else whole.probabilities[few]
        target = Target(whole.label[few], whole.confidence[few], soft)
        assert 0 < (target.label == IGNORE).sum() < target.label.numel()
        weight, logits = weigh(Threshold(threshold=0.6), target).double(), scores(1)[few].requires_grad_()
        assert torch.autograd.gradcheck(lambda z: consistency(z, lesson(target, weight))[0], logits)

    def test_the_gradient_of_soft_targets_is_the_difference(self) -> None:
        target = SoftTarget()(scores(0))
        logits = scores(1).requires_grad_()
        consistency(logits, lesson(target, weigh(EveryPixel(), target)))[0].backward()
        torch.testing.assert_close(logits.grad, logits.detach().softmax(1) - target.probabilities.double())

    @pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
    @pytest.mark.parametrize("weighting", WEIGHTINGS, ids=lambda w: f"{w.name}-{getattr(w, 'per', '')}")
    def test_ignored_pixels_count_nowhere(self, kind: AnyTarget, weighting: AnyWeighting) -> None:
        target, logits = with_ignored(kind(scores(0)), seed=5), scores(1).requires_grad_()
        ignored = target.label == IGNORE
        other = logits.detach().clone()
        other.movedim(1, -1)[ignored] += 10 * torch.randn(int(ignored.sum()), C, dtype=torch.float64)
        changed = Target(target.label, torch.where(ignored, 1.0, target.confidence), target.probabilities)
        first = consistency(logits, lesson(target, weigh(weighting, target)))
        second = consistency(other, lesson(changed, weigh(weighting, changed)))
        assert [x.item() for x in first] == [x.item() for x in second]
        first[0].backward()
        assert (logits.grad.movedim(1, -1)[ignored] == 0).all()
        assert logits.grad.abs().sum() > 0

    @pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
    def test_nothing_to_learn_gives_zero_not_nan(self, kind: AnyTarget) -> None:
        target = kind(scores(0))
        nowhere = Target(torch.full_like(target.label, IGNORE), target.confidence, target.probabilities)
        unsure = Target(target.label, torch.zeros_like(target.confidence), target.probabilities)
        for case, counts in ((nowhere, (0, 0)), (unsure, (target.label.numel(), 0))):
            for over, count in zip(("valid", "kept"), counts, strict=True):
                logits = scores(1).requires_grad_()
                total, found = consistency(logits, lesson(case, weigh(Threshold(), case)), over)
                assert (total.item(), found.item()) == (0, count)
                total.backward()
                assert (logits.grad == 0).all()

    @pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
    def test_half_precision(self, kind: AnyTarget) -> None:
        """Sums far beyond the 65504 of half precision."""
        target = kind(scores(0))
        logits = (scores(1) * 1000).half()
        total, count = consistency(logits, lesson(target, weigh(EveryPixel(), target)))
        exact, _ = consistency(logits.double(), lesson(target, weigh(EveryPixel(), target)))
        assert total.dtype == count.dtype == torch.float32
        assert exact > 65504
        torch.testing.assert_close(total, exact.float(), rtol=1e-5, atol=0)

    @pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
    def test_the_same_under_autocast(self, kind: AnyTarget) -> None:
        logits = scores(1).float()
        target = kind(scores(0))
        expected = consistency(logits, lesson(target, weigh(EveryPixel(), target)))
        with torch.autocast("cpu", torch.bfloat16):
            found = consistency(logits, lesson(kind(scores(0)), weigh(EveryPixel(), target)))
        assert torch.equal(found[0], expected[0])


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=lambda w: f"{w.name}-{getattr(w, 'per', '')}")
def test_nothing_waits_for_the_device(kind: AnyTarget, weighting: AnyWeighting) -> None:
    """Fake tensors have no values: whatever had to read one would fail."""
    with FakeTensorMode():
        teacher, student = torch.randn(2, 3, C, 4, 5), torch.randn(3, C, 4, 5, requires_grad=True)
        label, labelled = torch.zeros(3, 4, 5, dtype=torch.uint8), torch.zeros(3, dtype=torch.bool)
        target = with_labels(kind(teacher[0]), label, labelled)
        for over in ("valid", "all", "kept"):
            total, count = consistency(student, lesson(target, weigh(weighting, target)), over)
            (total / count).backward()
        assert student.grad.shape == student.shape


def test_parts_are_chosen_by_name() -> None:
    class Recipe(Part):
        target: AnyTarget = HardTarget()
        weighting: AnyWeighting = Threshold()

    given = {"target": {"name": "soft", "temperature": 0.5}, "weighting": {"name": "fraction", "per": "image"}}
    recipe = validate(Recipe, given)
    assert recipe == Recipe(target=SoftTarget(temperature=0.5), weighting=ConfidentFraction(per="image"))
    with pytest.raises(ValueError, match=r"temperature: .*greater than 0"):
        validate(Recipe, {"target": {"name": "soft", "temperature": 0}})
