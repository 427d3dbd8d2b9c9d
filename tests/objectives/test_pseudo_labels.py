"""Pseudo-labels: the loss worked by hand, padding that counts nowhere, views, targets that follow, the teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fathomseg.augment.affine import Motion, motion, translate
from fathomseg.augment.base import Augmentation
from fathomseg.config import validate
from fathomseg.errors import ConfigError
from fathomseg.losses.targets import Lesson, Target
from fathomseg.mixing import CutMix, Pixels, subkeys
from fathomseg.objectives.base import to_unit
from fathomseg.objectives.pseudo_labels import PseudoLabels
from fathomseg.types import IGNORE, Batch, Size
from tests.objectives.pointwise import Pointwise

KEYS = (11, 22, 33, 44)
BARE = {"mixing": {"name": "none"}, "augment": {"name": "none"}, "weighting": {"name": "none"}}


def pseudo_labels(**settings: object) -> PseudoLabels:
    """Without mixing, strong augmentation and weights, unless given."""
    return validate(PseudoLabels, {**BARE, **settings})


def logits_of(probabilities: list[list[float]]) -> Tensor:
    """Two-class logits of images of one row, from the probabilities of class 1."""
    p = torch.tensor(probabilities)[:, None, None, :]
    return torch.cat([(1 - p).log(), p.log()], dim=1)


def row(images: int, width: int, **targets: Tensor) -> Batch:
    """Images of one row; all of them have the targets."""
    image = torch.arange(images * 3 * width, dtype=torch.uint8).view(images, 3, 1, width)
    return known(Batch(tuple(map(str, range(images))), KEYS[:images], image), **targets)


def known(batch: Batch, **targets: Tensor) -> Batch:
    """The batch with targets that all its samples have."""
    everyone = torch.ones(len(batch), dtype=torch.bool)
    return replace(batch, targets=targets, present=dict.fromkeys(targets, everyone))


def predicted(
    config: PseudoLabels,
    batch: Batch,
    logits: Tensor,
    disparity: Tensor | None = None,
    classes: Tensor | None = None,
) -> tuple[Pixels, Target]:
    """What a teacher of these logits says of the clean images."""
    correction = classes.log() if config.logit_adjusted and classes is not None else None
    return config.pseudo_labelled(batch, to_unit(batch.image), logits, disparity, correction)


def photographs(size: Size = (9, 14), count: int = 4, seed: int = 0) -> Batch:
    image = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return Batch(tuple(map(str, range(count))), KEYS[:count], image)


def whole_loss(config: PseudoLabels, batch: Batch, teacher: Pointwise, student: Pointwise) -> tuple[float, float]:
    """Sum and count of the loss of a batch, as the objective computes it; disparity is the red channel."""
    image = batch.image.float() / 255
    pixels, _target = predicted(config, batch, teacher(image)["segmentation"].detach(), image[:, :1])
    images, targets = config.views_of(pixels, batch.keys)
    term = config.loss(student(images)["segmentation"], targets)
    return term.sum.item(), term.count.item()


class TestByHand:
    """Two images of three pixels. The student says P(class 1) = 1/4 everywhere: -ln 1/4 for class 1, -ln 3/4 for 0."""

    teacher = logits_of([[0.9, 0.6, 0.2], [0.97, 0.5001, 0.01]])  # classes 1 1 0 | 1 1 0
    student = logits_of([[0.25] * 3] * 2)
    one, zero = -math.log(0.25), -math.log(0.75)

    def term(self, batch: Batch | None = None, **settings: object) -> tuple[float, float]:
        config = pseudo_labels(**settings)
        batch = row(2, 3) if batch is None else batch
        images, targets = config.views_of(predicted(config, batch, self.teacher, None)[0], batch.keys)
        assert images.shape == batch.image.shape
        term = config.loss(self.student, targets)
        return term.sum.item(), term.count.item()

    def test_every_pixel(self) -> None:
        assert self.term() == pytest.approx((4 * self.one + 2 * self.zero, 6))

    def test_threshold(self) -> None:
        """Sure of at least 0.8: pixels 0 and 2 of both images."""
        expected = 2 * self.one + 2 * self.zero
        for over, count in (("valid", 6), ("all", 6), ("kept", 4)):
            found = self.term(weighting={"name": "threshold", "threshold": 0.8}, normalize_by=over)
            assert found == pytest.approx((expected, count)), over

    def test_fraction_of_the_batch_and_of_the_image(self) -> None:
        """At 0.85, one pixel of image 0 is sure and two of image 1."""
        each = [2 * self.one + self.zero] * 2
        fraction = {"name": "fraction", "threshold": 0.85}
        batch = self.term(weighting={**fraction, "per": "batch"})
        assert batch[0] == pytest.approx(3 / 6 * sum(each))
        per_image = self.term(weighting=fraction, normalize_by="kept")
        assert per_image == pytest.approx((1 / 3 * each[0] + 2 / 3 * each[1], 3 * 1 / 3 + 3 * 2 / 3))

    def test_the_truth_of_one_image_takes_the_place_of_the_teacher(self) -> None:
        label = torch.tensor([[[0, 0, IGNORE]], [[0, 0, 0]]], dtype=torch.uint8)
        batch = replace(row(2, 3, label=label), present={"label": torch.tensor([True, False])})
        # Image 0: truth 0 0 ignored. Image 1: the teacher's 1 1 0, whatever stands in its label.
        expected = 2 * self.zero + 2 * self.one + self.zero
        assert self.term(batch) == pytest.approx((expected, 5))
        assert self.term(batch, normalize_by="all") == pytest.approx((expected, 6))
        assert self.term(batch, truth=False) == pytest.approx((4 * self.one + 2 * self.zero, 6))

    def test_depthmix_shows_the_nearer_pixel_with_its_own_label(self) -> None:
        """Image 0 is nearer in its first pixel, farther in its last, and the middle one is within the margin."""
        disparity = torch.tensor([[0.9, 0.50, 0.1], [0.2, 0.51, 0.8]])[:, None, None, :]
        label = torch.tensor([[[0, 0, 0]], [[1, 1, 1]]], dtype=torch.uint8)
        batch = row(2, 3, label=label, disparity=disparity)
        config = pseudo_labels(mixing={"name": "depthmix", "margin": 0.03})
        images, (target,) = config.views_of(predicted(config, batch, self.teacher, None)[0], batch.keys)
        assert target.label.squeeze(1).tolist() == [[0, 0, 1], [0, 1, 1]]
        source = torch.tensor([[0, 0, 1], [0, 1, 1]])
        for image in range(2):
            for x in range(3):
                assert torch.equal(images[image, :, 0, x], batch.image[source[image, x], :, 0, x] / 255)
        expected = 3 * self.zero + 3 * self.one
        assert config.loss(self.student, [target]).sum.item() == pytest.approx(expected)

    def test_a_pasted_pixel_keeps_the_weight_of_its_image(self) -> None:
        """Image 0 has labels and counts whole; of image 1 the teacher is sure at two thirds of its pixels."""
        disparity = torch.tensor([[0.9, 0.50, 0.1], [0.2, 0.51, 0.8]])[:, None, None, :]
        label = torch.tensor([[[0, 0, 0]], [[1, 1, 1]]], dtype=torch.uint8)
        batch = replace(row(2, 3, label=label, disparity=disparity), present={"label": torch.tensor([True, False])})
        config = pseudo_labels(
            mixing={"name": "depthmix", "margin": 0.03}, weighting={"name": "fraction", "threshold": 0.9}
        )
        _, (lesson,) = config.views_of(predicted(config, batch, self.teacher, None)[0], batch.keys)
        assert lesson.weight[:, 0].flatten().tolist() == pytest.approx([1, 1, 2 / 3, 1, 2 / 3, 2 / 3])

    def test_soft_targets_are_compared_by_divergence(self) -> None:
        """T = 1/2 squares the odds: P(1) of the first pixel is .81 / (.81 + .01)."""
        config = pseudo_labels(target={"name": "soft", "temperature": 0.5})
        batch = row(2, 3)
        _, targets = config.views_of(predicted(config, batch, self.teacher, None)[0], batch.keys)
        expected = 0.0
        for p in (0.9, 0.6, 0.2, 0.97, 0.5001, 0.01):
            sharp = p**2 / (p**2 + (1 - p) ** 2)
            expected += sharp * math.log(sharp / 0.25) + (1 - sharp) * math.log((1 - sharp) / 0.75)
        assert config.loss(self.student, targets).sum.item() == pytest.approx(expected, rel=1e-5)

    def test_a_balanced_teacher_answers_without_its_weights(self) -> None:
        """Weights 1 and 3 turn P(class 1) = 0.6 into odds of 1.5 / 3: class 0, with probability 2/3."""
        classes = torch.tensor([1.0, 3.0])
        plain, balanced = pseudo_labels(), pseudo_labels(logit_adjusted=True)
        for config, weights, label in (
            (plain, classes, [[1, 1, 0], [1, 1, 0]]),
            (balanced, None, [[1, 1, 0], [1, 1, 0]]),
            (balanced, classes, [[1, 0, 0], [1, 0, 0]]),
        ):
            _, target = predicted(config, row(2, 3), self.teacher, None, weights)
            assert target.label[:, 0].tolist() == label
        assert target.confidence[0, 0].tolist() == pytest.approx([3 / 4, 2 / 3, 12 / 13])

    def test_classes_weigh_only_if_balanced(self) -> None:
        """Class 1 counts three times: twice its part of the loss more."""
        classes = torch.tensor([1.0, 3.0])
        plain, balanced = pseudo_labels(), pseudo_labels(logit_adjusted=True)
        _, targets = plain.views_of(predicted(plain, row(2, 3), self.teacher, None)[0], KEYS[:2])
        assert set(targets[0].label.unique().tolist()) == {0, 1}
        usual = plain.loss(self.student, targets).sum
        assert plain.loss(self.student, targets, classes).sum == usual
        assert balanced.loss(self.student, targets).sum == usual
        one = balanced.loss(self.student, targets, torch.tensor([0.0, 1.0])).sum
        found = balanced.loss(self.student, targets, classes)
        assert found.sum.item() == pytest.approx((usual + 2 * one).item(), rel=1e-5)
        assert found.count == plain.loss(self.student, targets).count


class TestPadding:
    """What a padded pixel shows, and what the teacher makes of it, must change nothing."""

    @pytest.mark.parametrize("over", ["valid", "all", "kept"])
    @pytest.mark.parametrize(
        "mixing", ["none", "cutmix", "classmix", "depthmix", "all-of", "one-of"], ids=lambda name: f"{name}"
    )
    def test_its_content_counts_nowhere(self, mixing: str, over: str) -> None:
        teacher, student = Pointwise(seed=1), Pointwise(seed=2)
        fraction = {"name": "fraction", "threshold": 0.7}
        config = pseudo_labels(
            mixing={"name": mixing}, normalize_by=over, weighting=fraction, depth_scale="image", views=2
        )
        black, shown = photographs(), torch.rand(4, 9, 14, generator=torch.Generator().manual_seed(3)) > 0.3
        assert black.image is not None
        noise = photographs(seed=9).image
        black = replace(black, image=torch.where(shown[:, None], black.image, 0), valid=shown)
        coloured = replace(black, image=torch.where(shown[:, None], black.image, noise))
        assert not torch.equal(black.image, coloured.image)
        first, second = (whole_loss(config, batch, teacher, student) for batch in (black, coloured))
        assert first == second
        assert first[0] > 0
        if over == "all":
            assert first[1] == 2 * shown.numel()
        elif over == "valid" and mixing == "none":
            assert first[1] == 2 * shown.sum()

    def test_without_a_mask_everything_counts(self) -> None:
        assert whole_loss(pseudo_labels(), photographs(), Pointwise(seed=1), Pointwise(seed=2))[1] == 4 * 9 * 14

    def test_nothing_valid_gives_zero_with_a_gradient_of_zero(self) -> None:
        student, batch = Pointwise(seed=2), photographs()
        batch = replace(batch, valid=torch.zeros(4, 9, 14, dtype=torch.bool))
        config = pseudo_labels(mixing={"name": "classmix"})
        pixels, _target = predicted(config, batch, student(batch.image / 255)["segmentation"], None)
        images, targets = config.views_of(pixels, batch.keys)
        term = config.loss(student(images)["segmentation"], targets)
        (term.sum / term.count.clamp(min=1)).backward()
        assert (term.sum.item(), term.count.item()) == (0, 0)
        assert all((p.grad == 0).all() for p in student.parameters())


class TestDisparity:
    def test_that_of_the_batch_goes_before_that_of_the_network(self) -> None:
        given = torch.rand(4, 1, 9, 14)
        batch, logits = photographs(), torch.zeros(4, 3, 3, 4)
        config = pseudo_labels(mixing={"name": "depthmix"})
        pixels, _ = predicted(config, known(batch, disparity=given), logits, torch.rand(4, 1, 3, 4))
        assert pixels.disparity is not None
        assert torch.equal(pixels.disparity, given)
        pixels, _ = predicted(config, batch, logits, torch.full((4, 1, 3, 4), 0.25))
        assert pixels.disparity is not None
        torch.testing.assert_close(pixels.disparity, torch.full((4, 1, 9, 14), 0.25))
        assert predicted(pseudo_labels(), known(batch, disparity=given), logits, None)[0].disparity is None

    def test_a_scale_of_its_own_is_that_of_what_the_crop_shows(self) -> None:
        disparity = torch.linspace(0.2, 0.4, 5).view(1, 1, 1, 5)
        disparity[..., 4] = 0.9  # in the padding
        valid = torch.tensor([[[True, True, True, True, False]]])
        batch = replace(row(1, 5), valid=valid)
        config = pseudo_labels(mixing={"name": "depthmix"}, depth_scale="image")
        pixels, _ = predicted(config, batch, torch.zeros(1, 2, 1, 5), disparity)
        assert pixels.disparity is not None
        found = pixels.disparity.flatten()
        torch.testing.assert_close(found[:4], torch.tensor([0, 1 / 3, 2 / 3, 1.0]))
        assert found[4].isnan()
        given = predicted(pseudo_labels(mixing={"name": "depthmix"}), batch, torch.zeros(1, 2, 1, 5), disparity)[
            0
        ].disparity
        assert given is not None
        assert torch.equal(given.flatten()[:4], disparity.flatten()[:4])


def test_two_views_are_the_mean_of_single_ones() -> None:
    strong = {"name": "randaugment"}
    config = pseudo_labels(mixing={"name": "cutmix"}, augment=strong, views=2, normalize_by="all")
    single = pseudo_labels(mixing={"name": "cutmix"}, augment=strong, normalize_by="all")
    teacher, student, batch = Pointwise(seed=1), Pointwise(seed=2), photographs()
    logits = teacher(batch.image / 255)["segmentation"].detach()
    pixels, _target = predicted(config, batch, logits, None)
    parts = []
    for number in range(2):
        image, wanted = single.view(pixels, subkeys(batch.keys, number))
        term = single.loss(student(image)["segmentation"], [wanted])
        parts.append(term.sum.item() / term.count.item())
    assert parts[0] != pytest.approx(parts[1], rel=1e-3), "the views differ"
    total, count = whole_loss(config, batch, teacher, student)
    assert total / count == pytest.approx(sum(parts) / 2, rel=1e-5)
    assert count == 2 * 4 * 9 * 14


class Shift(Augmentation):
    """Moves every image 3 pixels to the left and 2 up, and recolours nothing."""

    name: str = "shift"

    def recolour(self, image: Tensor, keys: Sequence[int]) -> Tensor:
        return image

    def motion(self, keys: Sequence[int], size: Size, like: Tensor) -> Motion:
        return motion([np.asarray(translate(3, 2))] * len(keys), size, like)


def test_soft_targets_move_with_the_image() -> None:
    """A teacher of single pixels says of the moved image what it said of the original, moved: an oracle of the target.

    The shift is by whole pixels, so nothing is interpolated.
    """
    temperature = 0.4
    config = pseudo_labels(target={"name": "soft", "temperature": temperature}).model_copy(update={"augment": Shift()})
    teacher, batch = Pointwise(seed=1), photographs()
    logits = teacher(batch.image / 255)["segmentation"].detach()
    images, (target,) = config.views_of(predicted(config, batch, logits, None)[0], batch.keys)
    shown = target.label != IGNORE
    assert shown[:, :7, :11].all()
    assert not shown[:, 7:].any()
    assert not shown[:, :, 11:].any()
    assert torch.allclose(images[:, :, :7, :11], batch.image[:, :, 2:, 3:] / 255, atol=1e-5)
    answered = teacher(images)["segmentation"].detach()
    expected = (answered / temperature).softmax(1)
    assert target.probabilities is not None
    torch.testing.assert_close(target.probabilities[:, :, :7, :11], expected[:, :, :7, :11], rtol=1e-3, atol=1e-4)
    assert torch.equal(target.label[shown], answered.argmax(1)[shown])
    assert torch.equal(target.weight, shown.float())


def test_soft_targets_are_mixed_with_their_pixels() -> None:
    """Every pixel of the mixed image has the probabilities that the teacher gives its colour; of the partner's, whose
    classes are known, all of it to one."""
    config, teacher, batch = pseudo_labels(target={"name": "soft"}), Pointwise(seed=1), photographs()
    config = config.model_copy(update={"mixing": CutMix(probability=1)})
    pixels, _ = predicted(config, batch, teacher(batch.image / 255)["segmentation"].detach())
    images, (lesson,) = config.views_of(pixels, batch.keys)
    assert not torch.equal(images, batch.image / 255)
    expected = (teacher(images)["segmentation"].detach() / config.target.temperature).softmax(1)
    torch.testing.assert_close(lesson.probabilities, expected, rtol=1e-3, atol=1e-4)
    label = torch.ones_like(pixels.label)
    other = Pixels(torch.zeros_like(pixels.image), label, label.float(), torch.ones_like(label, dtype=torch.bool))
    images, (lesson,) = config.views_of(pixels, batch.keys, other)
    pasted = (images == 0).all(dim=1)
    assert 0 < pasted.float().mean() < 1
    assert lesson.probabilities is not None
    assert (lesson.probabilities[:, 1][pasted] == 1).all()
    assert (lesson.probabilities.sum(1) - 1).abs().max() < 1e-5


def test_only_soft_adjusted_targets_leave_a_teacher_of_weighted_classes_as_it_is() -> None:
    """Class 1 has P = 0.3 and counts four times: the scored network says 1. Taught hard without the weights it would
    unlearn that; the probabilities, weighed, have its own prediction as their optimum."""
    weights = torch.tensor([1.0, 4.0])
    logits = (torch.tensor([0.7, 0.3]) * weights).log().view(1, 2, 1, 1).expand(4, 2, 9, 14).contiguous()
    found = {}
    for name, target in (("hard", {}), ("soft", {"temperature": 1.0})):
        config = pseudo_labels(target={"name": name, **target}, logit_adjusted=True)
        pixels, _ = predicted(config, photographs(), logits, classes=weights)
        _, lessons = config.views_of(pixels, KEYS)
        student = logits.clone().requires_grad_()
        config.loss(student, lessons, weights).sum.backward()
        found[name] = student.grad.abs().max().item()
    assert found["soft"] < 1e-6
    assert found["hard"] > 0.5


def test_a_finished_teacher_is_taken_at_its_word_but_not_on_labelled_images() -> None:
    """Three images: with a label; with the teacher's, one pixel of which nobody knows; one that it has not seen."""
    label = torch.tensor([[[0, 1, 1]], [[1, 1, 1]], [[1, 1, 1]]], dtype=torch.uint8)
    theirs = torch.tensor([[[255, 255, 255]], [[1, 0, 255]], [[255, 255, 255]]], dtype=torch.uint8)
    sure = torch.tensor([[[0.0, 0.0, 0.0]], [[0.9, 0.6, 0.8]], [[0.0, 0.0, 0.0]]])
    batch = row(3, 3, label=label, distilled_label=theirs, distilled_label_confidence=sure)
    batch = replace(batch, present={**batch.present, "label": torch.tensor([True, False, False])})
    config = pseudo_labels(teacher="finished", weighting={"name": "threshold", "threshold": 0.7})
    pixels, target = config.pseudo_labelled(batch, to_unit(batch.image), None, None)
    assert target.label.tolist() == [[[0, 1, 1]], [[1, 0, 255]], [[255, 255, 255]]]
    torch.testing.assert_close(target.confidence, torch.tensor([[[1.0, 1, 1]], [[0.9, 0.6, 0]], [[0.0, 0, 0]]]))
    assert pixels.weight.tolist() == [[[1, 1, 1]], [[1, 0, 0]], [[0, 0, 0]]]


def test_nothing_predicted_carries_a_gradient() -> None:
    teacher, batch = Pointwise(), photographs()
    config = pseudo_labels(target={"name": "soft"}, augment={"name": "randaugment"})
    pixels, _target = predicted(config, batch, teacher(batch.image / 255)["segmentation"], None)
    images, (wanted,) = config.views_of(pixels, batch.keys)
    assert wanted.probabilities is not None
    for tensor in (images, wanted.weight, wanted.probabilities, pixels.weight):
        assert not tensor.requires_grad


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"complementary_dropout": True}, "between two views: give views=2"),
        ({"views": 3}, "views"),
        ({"teacher": "finished", "target": {"name": "soft"}}, "leave target and alignment out"),
        ({"teacher": "finished", "alignment": {}}, "leave target and alignment out"),
    ],
)
def test_settings_that_do_not_agree(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(PseudoLabels, {**BARE, **settings})


def test_a_target_is_what_mixing_and_motion_made_of_it() -> None:
    """ClassMix: every pixel of the view has the image and the label of one of its two sources, never of both."""
    config = pseudo_labels(mixing={"name": "classmix"})
    teacher, batch = Pointwise(seed=1), photographs()
    logits = teacher(batch.image / 255)["segmentation"].detach()
    images, (target,) = config.views_of(predicted(config, batch, logits, None)[0], batch.keys)
    assert isinstance(target, Lesson)
    assert torch.equal(target.label.long(), teacher(images)["segmentation"].argmax(1))
    own = (images == batch.image / 255).all(1)
    assert 0 < own.float().mean() < 1
