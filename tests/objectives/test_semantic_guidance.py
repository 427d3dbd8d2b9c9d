"""Guidance by classes in a step: which classes it goes by, whom its gradient reaches, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from fathomseg.engine.step import Step
from fathomseg.errors import FathomError
from fathomseg.objectives.semantic_guidance import SemanticGuidanceObjective
from fathomseg.types import IGNORE, Batch, ClassList
from tests.objectives.steps import DEPTH, JOINT, POSE, SIZE, make_batch, make_step, train, weighed

LIST = ClassList(("road", "building", "sky", "car"), ((0, 0, 0),) * 4)
ALL: dict[str, Any] = {name: {} for name in ("ranking", "smoothness", "triplet", "sky", "contact")}
VIDEO: dict[str, Any] = {"photometric": {"pose": POSE}}


def made(network: dict[str, Any], **settings: Any) -> Step:
    return make_step(network, {**VIDEO, "semantic_guidance": settings}, classes=LIST)


def joint(**settings: Any) -> Step:
    objectives = {**VIDEO, "supervised": {}, "semantic_guidance": settings}
    return make_step(JOINT, objectives, classes=LIST)


def blocks(batch: Batch) -> torch.Tensor:
    """Sky over buildings over a car on the road."""
    label = torch.zeros(len(batch), *SIZE, dtype=torch.uint8)
    label[:, :8], label[:, 8:18], label[:, 14:24, 10:24] = 2, 1, 3
    return label


def clips(**targets: torch.Tensor) -> Batch:
    batch = make_batch(3, "frames")
    found = {**batch.targets, **targets}
    present = {name: torch.ones(len(batch), dtype=torch.bool) for name in found}
    return replace(batch, targets=found, present=present)


def test_all_terms_beside_the_photometric_loss() -> None:
    step = made(DEPTH, losses=ALL, weight=0.5)
    batch = clips(label=blocks(make_batch(3)))
    terms = step({"clips": batch}).terms
    own = {name: term for name, term in terms.items() if name.startswith("semantic_guidance")}
    names = ("ranking", "smoothness", "triplet3", "triplet2", "triplet1", "sky", "contact")
    assert set(own) == {f"semantic_guidance.{name}" for name in names}
    assert all(term.count > 0 for name, term in own.items() if "triplet" not in name)
    assert own["semantic_guidance.triplet2"].weight == 0.5 * 0.1 / 4
    assert set(step({"clips": make_batch(3, "frames")}).terms) == set(terms), "without labels too"
    train(step, {"clips": batch})


def test_the_gradient_reaches_depth_alone() -> None:
    step = joint(losses=ALL, stream="clips")
    result = step({"clips": clips(label=blocks(make_batch(3))), "labelled": make_batch(1, "label")})
    sum(t.sum for name, t in result.terms.items() if name.startswith("semantic_guidance")).backward()  # type: ignore[union-attr]
    reached = {name for name, p in step.network.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith("decoders.depth") for name in reached)
    assert any(name.startswith("heads.depth") for name in reached)
    assert any(name.startswith("encoders") for name in reached)
    assert not any(name.startswith(("heads.segmentation", "early_heads")) for name in reached)


def test_the_triplet_reaches_the_decoder_and_not_the_head() -> None:
    step = made(DEPTH, losses={"triplet": {}})
    result = step({"clips": clips(label=blocks(make_batch(3)))})
    term = result.terms["semantic_guidance.triplet1"]
    assert term.count > 0
    term.sum.backward()
    reached = {name for name, p in step.network.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith("decoders.depth") for name in reached)
    assert not any(name.startswith("heads") for name in reached)


class TestWhichClasses:
    def of(self, batch: Batch, outputs: dict[str, Any] | None = None, **settings: Any) -> tuple[Any, Any]:
        step = (joint if settings.get("predicted") else lambda **s: made(DEPTH, **s))(**settings)
        objective = step.objectives["semantic_guidance"]
        assert isinstance(objective, SemanticGuidanceObjective)
        return objective._classes(batch, outputs or {})

    def test_labels_come_before_a_teachers_and_those_before_predicted_ones(self) -> None:
        label, other = torch.full((2, *SIZE), IGNORE, dtype=torch.uint8), torch.full((2, *SIZE), 1, dtype=torch.uint8)
        label[:, 0] = 0
        other[:, 2:] = IGNORE
        batch = clips(label=label, distilled_label=other)
        found, sure = self.of(
            batch, {"segmentation": 9 * torch.eye(4)[3].view(1, 4, 1, 1).repeat(2, 1, 4, 6)}, predicted=True
        )
        assert found[0, :, 0].tolist() == [0, 1, *[3] * 30]
        assert (sure == 1).all()

    def test_what_a_teacher_is_not_sure_of_says_nothing(self) -> None:
        confidence = torch.full((2, *SIZE), 0.8)
        confidence[:, 5:] = 0.3
        batch = clips(distilled_label=torch.ones(2, *SIZE, dtype=torch.uint8), distilled_label_confidence=confidence)
        found, sure = self.of(batch, weigh=True)
        assert found[0, :, 0].tolist() == [1] * 5 + [IGNORE] * 27
        assert sure[0, 0, 0] == pytest.approx(0.8)
        assert (self.of(batch, min_confidence=0.2)[0] == 1).all()

    def test_padding_has_no_class(self) -> None:
        valid = torch.ones(2, *SIZE, dtype=torch.bool)
        valid[:, :3] = False
        batch = replace(clips(label=blocks(make_batch(3))), valid=valid)
        assert torch.equal(self.of(batch)[0] == IGNORE, ~valid)


def test_warm_up_and_resume() -> None:
    step = made(DEPTH, losses={"sky": {}}, warmup_steps=10)
    objective = step.objectives["semantic_guidance"]
    assert isinstance(objective, SemanticGuidanceObjective)
    assert objective.warmed(10) == 0
    step.after_step(4)
    assert objective.warmed(10) == 0.5
    other = made(DEPTH, losses={"sky": {}}, warmup_steps=10)
    other.load_state_dict(step.state_dict())
    batches = {"clips": clips(label=blocks(make_batch(3)))}
    whole = made(DEPTH, losses={"sky": {}})(batches).terms["semantic_guidance.sky"]
    assert other(batches).terms["semantic_guidance.sky"].weight == 0.5 * whole.weight


def test_sky_gets_farther() -> None:
    step = make_step(DEPTH, {**VIDEO, "semantic_guidance": {"losses": {"sky": {"weight": 5.0}}}}, classes=LIST).train()
    batch = clips(label=blocks(make_batch(3)))
    before = step({"clips": batch}).terms["semantic_guidance.sky"].sum.item()
    for _ in range(5):
        train(step, {"clips": batch}, lr=1e-2)
    assert step({"clips": batch}).terms["semantic_guidance.sky"].sum.item() < before
    assert weighed(step({"clips": batch})).isfinite()


def test_classes_without_a_sky_and_decoders_without_maps() -> None:
    with pytest.raises(FathomError, match=r"name yours in losses\.sky\.classes"):
        make_step(DEPTH, {**VIDEO, "semantic_guidance": {}}, classes=ClassList(("a", "b"), ((0, 0, 0),) * 2))
    coarse = {**DEPTH, "tasks": {"depth": {"decoder": {"name": "deeplabv3", "channels": 8}}}}
    with pytest.raises(FathomError, match=r"losses\.triplet looks at the maps"):
        made(coarse, losses={"triplet": {}})
