"""Distribution alignment: predictions get the shares that the labels have, of a teacher that says too much or too
little of a class."""

from __future__ import annotations

import pytest
import torch

from fathomseg.losses.distribution import DistributionAlignment, shares_of, together
from fathomseg.objectives import PseudoLabels
from fathomseg.objectives.base import Base, Nets
from fathomseg.objectives.pseudo_labels import PseudoLabelsObjective
from tests.objectives.pointwise import Pointwise
from tests.objectives.steps import CLASSES, make_batch, make_step


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
