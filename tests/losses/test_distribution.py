"""Distribution alignment: predictions get the shares that the labels have, of a teacher that says too much or too
little of a class."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fathomseg.losses.distribution import DistributionAlignment, shares_of, together
from fathomseg.objectives import PseudoLabels
from fathomseg.objectives.base import Base, Nets
from fathomseg.objectives.pseudo_labels import PseudoLabelsObjective
from tests.objectives.pointwise import Pointwise
from tests.objectives.steps import CLASSES, SIZE, make_batch, make_step


def test_shares_of_pixels() -> None:
    assert shares_of(torch.tensor([6, 2, 0])).tolist() == pytest.approx([6 / 9, 2 / 9, 1 / 9])


def test_a_small_stream_has_as_much_to_say_as_a_large_one() -> None:
    """Of the objective, too: it aims at the shares of classes as they are drawn, not as they are stored."""
    large, small = torch.tensor([90, 10]) * 3_000_000, torch.tensor([10, 90]) * 20_000
    assert shares_of(together([large, small])).tolist() == pytest.approx([0.5, 0.5])
    pixels = {"source": torch.tensor([90, 10, 0, 0]) * 30_000, "labelled": torch.tensor([10, 90, 0, 0]) * 20}
    given = {"supervised": {"stream": ["source", "labelled"]}, "pseudo_labels": {"alignment": {}}}
    objective = make_step(Pointwise(CLASSES), given, label_pixels=pixels).objectives["pseudo_labels"]
    assert isinstance(objective, PseudoLabelsObjective)
    assert objective.shares is not None
    assert objective.shares[:2].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)


def test_a_class_predicted_everywhere_too_much_gets_its_share() -> None:
    """The teacher says 0.2, 0.8 of every pixel where the labels have 0.5, 0.5."""
    part, shares = DistributionAlignment(momentum=0.5), torch.tensor([0.5, 0.5])
    logits = torch.tensor([0.2, 0.8]).log().view(1, 2, 1, 1).expand(3, 2, 4, 5)
    predicted = shares.clone()
    part.observe(predicted, logits)
    assert predicted.tolist() == pytest.approx([0.35, 0.65])
    for _ in range(40):
        part.observe(predicted, logits)
    aligned = logits - part.correction(predicted, shares).view(1, 2, 1, 1)
    assert aligned.softmax(1)[0, :, 0, 0].tolist() == pytest.approx([0.5, 0.5], abs=1e-5)


def test_what_is_predicted_in_padding_has_no_share() -> None:
    """Three quarters of the images are padding, of which the teacher says another class."""
    part, begun = DistributionAlignment(momentum=0.5), torch.tensor([0.5, 0.3, 0.2])
    logits = torch.randn(2, 3, 4, 6)
    logits[:, 2, 2:] = logits[:, 2, :, 3:] = 20.0
    valid = torch.zeros(2, 16, 24, dtype=torch.bool)
    valid[:, :8, :12] = True
    found, expected = begun.clone(), begun.clone()
    part.observe(found, logits, valid)
    part.observe(expected, logits[:, :, :2, :3])
    torch.testing.assert_close(found, expected)
    before = found.clone()
    part.observe(found, logits, torch.zeros_like(valid))
    assert torch.equal(found, before)


@pytest.mark.parametrize(("sees", "counts"), [("view", True), ("whole", False)])
def test_padding_is_that_of_what_the_teacher_sees(sees: str, counts: bool) -> None:
    """Of views; whole images have none."""
    given = {"supervised": {}, "pseudo_labels": {"alignment": {"momentum": 0.0}, "teacher_sees": sees}}
    batch = make_batch(1)
    targets = {"whole": batch.image, "view": torch.eye(2, 3).repeat(2, 1, 1)}
    there = torch.ones(2, *SIZE, dtype=torch.bool)
    there[:, 8:] = False
    found = []
    for valid in (None, there):
        step = make_step(Pointwise(CLASSES), given)
        present = dict.fromkeys(targets, torch.ones(2, dtype=torch.bool))
        step({"unlabelled": replace(batch, targets=targets, present=present, valid=valid)})
        found.append(step.state_dict()["objectives.pseudo_labels.predicted"].clone())
    assert torch.equal(*found) != counts


def test_power_takes_a_part_of_it() -> None:
    predicted, shares = torch.tensor([0.2, 0.8]), torch.tensor([0.5, 0.5])
    whole = DistributionAlignment().correction(predicted, shares)
    torch.testing.assert_close(DistributionAlignment(power=0.5).correction(predicted, shares), whole / 2)
    assert whole.tolist() == pytest.approx([torch.tensor(0.4).log().item(), torch.tensor(1.6).log().item()])


def test_it_moves_with_training_alone_and_is_kept_with_it() -> None:
    """Looking at a batch for the page of a training changes nothing; a checkpoint holds the shares predicted."""
    given = {"alignment": {"momentum": 0.9}, "teacher_sees": "view"}
    step = make_step(Pointwise(CLASSES), {"supervised": {}, "pseudo_labels": given})
    objective = step.objectives["pseudo_labels"]
    assert isinstance(objective, PseudoLabelsObjective)
    assert objective.predicted is not None
    assert objective.shares is not None
    assert torch.equal(objective.predicted, objective.shares)
    batches = {"labelled": make_batch(0, "label"), "unlabelled": make_batch(1)}
    step(batches)
    moved = objective.predicted.clone()
    assert not torch.equal(moved, objective.shares)
    assert moved.sum().item() == pytest.approx(1, abs=1e-5)
    base = Base.of(batches["unlabelled"], None, batches)
    objective.shown(batches["unlabelled"], base, Nets(step.network, step.ema.network))
    assert torch.equal(objective.predicted, moved)
    assert any(name.endswith("pseudo_labels.predicted") for name in step.state_dict())


def test_without_it_nothing_is_kept() -> None:
    step = make_step(Pointwise(CLASSES), {"supervised": {}, "pseudo_labels": {}})
    assert not any(name.endswith("predicted") for name in step.state_dict())
    assert PseudoLabels().alignment is None
