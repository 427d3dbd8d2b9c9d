"""Real and distilled targets in one batch: two averages, two weights, and hand-computed values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fathomseg.engine.step import Step
from fathomseg.losses.segmentation import cross_entropy, soft_cross_entropy, upsample
from fathomseg.losses.targets import Lesson, consistency
from fathomseg.objectives import Supervised
from fathomseg.objectives.supervised import SupervisedObjective
from fathomseg.tasks.distilled import Distilled
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import IGNORE, Batch
from tests.objectives.steps import CLASSES, ENCODER, PLAIN, SIZE, UNET, make_batch, make_step

METRIC = {"encoder": ENCODER, "tasks": {"depth": {"decoder": UNET, "output": "metric"}}}


def step_of(network: dict[str, Any], task: str, how: dict[str, Any], **loss: Any) -> Step:
    """A step that learns from both kinds, whatever its streams say they have."""
    step = make_step(network, {"supervised": {"losses": {task: loss}}}).eval()
    objective = step.objectives["supervised"]
    assert isinstance(objective, SupervisedObjective)
    config = Supervised(losses={task: loss}, distilled={task: how})  # type: ignore[dict-item]
    objective.config = config
    return step


def mixed(kind: str) -> Batch:
    """Samples 0 and 2 have the truth; a teacher answers for 1 and 3."""
    real, other = make_batch(1, kind, count=4, rows={kind: [0, 2]}), make_batch(1, kind, count=4, rows={kind: [1, 3]})
    rng = torch.Generator().manual_seed(5)
    sure = torch.rand(4, *SIZE, generator=rng)
    given = {f"distilled_{kind}": other.targets[kind], f"distilled_{kind}_confidence": sure}
    if kind == "label":
        p = torch.rand(4, CLASSES, *SIZE, generator=rng).softmax(1)
        top = p.topk(3, dim=1)
        given |= {"distilled_label_classes": top.indices.byte(), "distilled_label_probabilities": top.values}
    present = torch.tensor([False, True, False, True])
    return replace(real, targets={**real.targets, **given}, present={**real.present, **dict.fromkeys(given, present)})


@pytest.mark.parametrize(
    "how", [{}, {"min_confidence": 0.5}, {"weigh": True}, {"weigh": True, "min_confidence": 0.3, "weight": 0.25}]
)
def test_classes(how: dict[str, Any]) -> None:
    step, batch = step_of(PLAIN, "segmentation", how, weight=3.0), mixed("label")
    terms = step({"labelled": batch}).terms
    assert list(terms) == ["supervised.segmentation", "supervised.segmentation_distilled"]
    logits = upsample(step.network(batch.image / 255)["segmentation"], SIZE).double()
    total, count = 0.0, 0
    for row, name in ((0, "label"), (2, "label")):
        total += F.cross_entropy(logits[[row]], batch.targets[name][[row]].long(), reduction="sum").item()
        count += SIZE[0] * SIZE[1]
    term = terms["supervised.segmentation"]
    assert (term.sum.item(), term.count.item(), term.weight) == (pytest.approx(total, rel=1e-5), count, 3.0)
    total, count = 0.0, 0
    sure = batch.targets["distilled_label_confidence"].double()
    for row in (1, 3):
        each = F.cross_entropy(logits[[row]], batch.targets["distilled_label"][[row]].long(), reduction="none")[0]
        kept = sure[row] >= how.get("min_confidence", 0)
        total += (each * (sure[row] if how.get("weigh") else 1))[kept].sum().item()
        count += int(kept.sum())
    term = terms["supervised.segmentation_distilled"]
    assert (term.sum.item(), term.count.item()) == (pytest.approx(total, rel=1e-5), count)
    assert term.weight == 3.0 * how.get("weight", 1.0)
    assert step.counts({"labelled": batch}) == {name: term.count for name, term in terms.items()}


def test_probabilities() -> None:
    step, batch = step_of(PLAIN, "segmentation", {"soft": True, "weigh": True}, balance=0.5), mixed("label")
    logits = upsample(step.network(batch.image / 255)["segmentation"], SIZE).double()
    q = torch.zeros(4, CLASSES, *SIZE, dtype=torch.double)
    p = batch.targets["distilled_label_probabilities"].double()
    q += (1 - p.sum(1, keepdim=True)) / (CLASSES - 3)
    q.scatter_(1, batch.targets["distilled_label_classes"].long(), p)
    torch.testing.assert_close(q.sum(1), torch.ones(4, *SIZE, dtype=torch.double))
    each = -(q * logits.log_softmax(1)).sum(1) * batch.targets["distilled_label_confidence"]
    term = step({"labelled": batch}).terms["supervised.segmentation_distilled"]
    assert term.sum.item() == pytest.approx(each[[1, 3]].sum().item(), rel=1e-5)
    assert term.count == 2 * SIZE[0] * SIZE[1]


def test_all_classes_of_a_teacher_leave_nothing_to_spread() -> None:
    logits = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    p = torch.rand(1, 3, 2, 2).softmax(1)
    classes = torch.arange(3, dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 2, 2).contiguous()
    label = torch.tensor([[[0, 1], [2, IGNORE]]], dtype=torch.uint8)
    total, count = soft_cross_entropy(logits, label, classes, p)
    each = -(p * logits.log_softmax(1)).sum(1)
    assert (total.item(), count) == (pytest.approx(each.flatten()[:3].sum().item(), rel=1e-5), 3)


@pytest.mark.parametrize("error", ["l1", "berhu"])
def test_metres(error: str) -> None:
    how = {"weigh": True, "min_confidence": 0.4, "weight": 0.5}
    step, batch = step_of(METRIC, "depth", how, error=error), mixed("depth")
    terms = step({"labelled": batch}).terms
    predicted = upsample(step.network(batch.image / 255)["depth"][0], SIZE).double().relu()[:, 0]
    for name, key, rows in (("depth", "depth", [0, 2]), ("depth_distilled", "distilled_depth", [1, 3])):
        wanted = batch.targets[key].double()[rows, 0]
        sure = batch.targets["distilled_depth_confidence"].double()[rows]
        weight = sure if "distilled" in name else torch.ones_like(sure)
        known = (sure >= 0.4) if "distilled" in name else torch.ones_like(sure, dtype=torch.bool)
        e = torch.where(known, (predicted[rows] - wanted).abs(), 0.0)
        if error == "berhu":
            c = e.max() / 5
            e = torch.where(e <= c, e, (e**2 + c**2) / (2 * c))
        term = terms[f"supervised.{name}"]
        assert term.sum.item() == pytest.approx((e * weight)[known].sum().item(), rel=1e-4)
        assert term.count == known.sum()


def test_soft_targets_of_weighted_classes_are_learned_as_labels_drawn_from_them() -> None:
    random = torch.Generator().manual_seed(0)
    logits, q = torch.randn(1, 3, 1, 1, generator=random), torch.tensor([0.5, 0.3, 0.2]).view(1, 3, 1, 1)
    weight, classes = torch.tensor([0.5, 1.0, 4.0]), torch.arange(3, dtype=torch.uint8).view(1, 3, 1, 1)
    label = torch.zeros(1, 1, 1, dtype=torch.uint8)
    labels = [cross_entropy(logits, torch.full_like(label, c), weight)[0] for c in range(3)]
    expected = sum(p * loss for p, loss in zip((0.5, 0.3, 0.2), labels, strict=True))
    torch.testing.assert_close(soft_cross_entropy(logits, label, classes, q, weight)[0], expected)
    top = soft_cross_entropy(logits, label, classes[:, :1], q[:, :1], weight)[0]  # 0.25 for each of the others
    torch.testing.assert_close(top, 0.5 * labels[0] + 0.25 * (labels[1] + labels[2]))
    target = Lesson(label, torch.ones(1, 1, 1), q)
    theirs, ours = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    consistency(theirs, target, classes=weight)[0].backward()
    soft_cross_entropy(ours, label, classes, q, weight)[0].backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("soft", [False, True])
def test_a_batch_without_a_teachers_answers_has_the_same_terms_and_no_gradient(soft: bool) -> None:
    step = step_of(PLAIN, "segmentation", {"weigh": True, "soft": soft})
    terms = step({"labelled": make_batch(1, "label")}).terms
    assert list(terms) == ["supervised.segmentation", "supervised.segmentation_distilled"]
    empty = terms["supervised.segmentation_distilled"]
    assert (empty.sum, empty.count) == (0, 0)
    empty.sum.backward()
    assert all((p.grad == 0).all() for p in step.network.parameters() if p.grad is not None)
    assert step.counts({"labelled": make_batch(1, "label")})["supervised.segmentation_distilled"] == 0


def test_it_reads_no_more_than_it_needs() -> None:
    network = NetworkConfig.model_validate(PLAIN)
    assert Supervised(distilled={"segmentation": Distilled()}).uses(network) == {"distilled_label"}
    assert Distilled(weigh=True).uses("depth") == {"distilled_depth", "distilled_depth_confidence"}
    assert Supervised().uses(network) == frozenset()
