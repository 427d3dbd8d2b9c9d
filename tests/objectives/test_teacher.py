"""The teacher of pseudo-labels: what it may and may not do, and what the student makes of its predictions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fathomseg.engine.step import Step
from fathomseg.models.network import SHARED, Network
from fathomseg.objectives.base import Base, Nets, to_unit
from fathomseg.objectives.pseudo_labels import PseudoLabelsObjective
from fathomseg.types import Batch
from tests.objectives.pointwise import Pointwise
from tests.objectives.steps import (
    CLASSES,
    JOINT,
    PLAIN,
    POSE,
    Counted,
    make_batch,
    make_step,
    weighed,
)

BARE = {"mixing": {"name": "none"}, "augment": {"name": "none"}, "weighting": {"name": "none"}}


def plain(network: dict[str, Any] | Network = PLAIN, ema_decay: float = 0.99, **settings: Any) -> Step:
    return make_step(network, {"supervised": {}, "pseudo_labels": settings}, ema_decay=ema_decay)


def joint(**settings: Any) -> Step:
    return make_step(JOINT, {"supervised": {}, "pseudo_labels": settings, "photometric": {"pose": POSE}})


def streams() -> dict[str, Batch]:
    return {"labelled": make_batch(1, "label"), "unlabelled": make_batch(2)}


def teacher_of(step: Step, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Logits and disparity of its teacher on a batch."""
    objective = step.objectives["pseudo_labels"]
    assert isinstance(objective, PseudoLabelsObjective)
    return objective.teacher.predictions(batch, Base.of(batch, None), Nets(step.network, step.ema.network))[:2]


def test_a_finished_one_takes_no_pass_but_for_depth_that_mixing_compares() -> None:
    batch = make_batch(2, "label")
    theirs = {"distilled_label": batch.targets["label"]}
    batch = replace(batch, targets=theirs, present=dict.fromkeys(theirs, batch.present["label"]))
    for mixing, passes in (("classmix", 0), ("depthmix", 1)):
        step = joint(teacher="finished", mixing={"name": mixing}).train()
        network = step.ema.network
        counted = Counted(depth=network.heads["depth"], classes=network.heads["segmentation"])
        logits, disparity = teacher_of(step, batch)
        assert logits is None
        assert (disparity is not None) == (passes == 1)
        assert [len(counted.calls.get(name, ())) for name in ("depth", "classes")] == [passes, 0]


@pytest.mark.parametrize(("first", "second"), [("finished", "ema"), ("ema", "finished"), ("ema", "ema")])
def test_objectives_of_one_network_share_its_pass(first: str, second: str) -> None:
    """Whichever is asked first, and whatever each wants of it."""
    mean, depth = {"name": "pseudo_labels", "mixing": {"name": "classmix"}}, {"mixing": {"name": "depthmix"}}
    own = {"first": {**mean, "teacher": first}, "second": {**mean, "teacher": second}}
    deep = "first" if first == "finished" else "second"
    own[deep] |= depth
    step = make_step(JOINT, {"supervised": {}, **own, "photometric": {"pose": POSE}}).train()
    network = step.ema.network
    counted = Counted(encoder=network.encoders[SHARED], depth=network.heads["depth"])
    batch = make_batch(2, "label")
    theirs = {"distilled_label": batch.targets["label"]}
    step({"unlabelled": replace(batch, targets=theirs, present=dict.fromkeys(theirs, batch.present["label"]))})
    assert [len(counted.calls[name]) for name in ("encoder", "depth")] == [1, 1]


@pytest.mark.parametrize("teacher", ["ema", "self"])
def test_it_is_in_eval_mode_takes_no_gradient_and_moves_no_statistics(teacher: str) -> None:
    step = plain(teacher=teacher).train()
    network = step.ema.network if teacher == "ema" else step.network
    buffers = {name: tensor.clone() for name, tensor in network.named_buffers()}
    counted = Counted(encoder=network.encoders[SHARED], head=network.heads["segmentation"])
    teacher_of(step, make_batch(2))
    assert counted.calls == {"encoder": [(False, False, 2)], "head": [(False, False, 2)]}
    assert all(torch.equal(tensor, buffers[name]) for name, tensor in network.named_buffers())
    assert all(module.training for module in step.network.modules()), "the student trains on"


def test_no_gradient_reaches_it() -> None:
    step = plain().train()
    weighed(step(streams())).backward()
    for name, parameter in step.named_parameters():
        assert (parameter.grad is None) == name.startswith("ema."), name


def test_a_network_that_teaches_itself_learns_from_its_answer_to_the_strong_view_alone() -> None:
    """Where teacher and student see the same picture in the same mode, the gradient of a soft target is 0."""
    step = plain(Pointwise(CLASSES), teacher="self", target={"name": "soft", "temperature": 1.0}, **BARE)
    term = step(streams()).terms["pseudo_labels"]
    (term.sum / term.count).backward()
    assert term.sum.item() == pytest.approx(0, abs=1e-3)
    assert all(p.grad is not None and p.grad.abs().max() < 1e-6 for p in step.network.parameters())


def test_frozen_norms_stay_as_they_are_after_its_pass() -> None:
    step = plain({**PLAIN, "norm": "frozen"}, teacher="self").train()
    modes = [module.training for module in step.network.modules()]
    assert len(set(modes)) == 2
    teacher_of(step, make_batch(2))
    assert [module.training for module in step.network.modules()] == modes


def test_it_begins_as_the_network_and_follows_it() -> None:
    step = plain(ema_decay=0.9).train()
    own, averaged = step.network.state_dict(), step.ema.network.state_dict()
    assert all(torch.equal(own[name], averaged[name]) for name in own)
    with torch.no_grad():
        step.network.heads["segmentation"][1].bias += 1.0
    before = step.ema.network.heads["segmentation"][1].bias.clone()
    step.after_step(999)
    torch.testing.assert_close(step.ema.network.heads["segmentation"][1].bias, before + 0.1)


def test_its_predictions_are_of_the_clean_images() -> None:
    step, seen = plain(), []
    step.ema.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    step.train()(streams())
    (image,) = seen
    assert torch.equal(image, make_batch(2).image / 255)


@pytest.mark.parametrize(
    ("mixing", "given", "asked"), [("classmix", False, False), ("depthmix", False, True), ("depthmix", True, False)]
)
def test_its_disparity_is_asked_for_only_where_depthmix_needs_it(mixing: str, given: bool, asked: bool) -> None:
    batch = make_batch(2, *(["disparity"] if given else []))
    logits, found = teacher_of(joint(mixing={"name": mixing}), batch)
    assert (found is not None) == asked
    assert logits.shape[:2] == (2, CLASSES)


def test_complementary_dropout_is_between_the_encoder_and_the_decoder() -> None:
    """The decoder sees, of a pair of views, channels of one or the other; together twice what the encoder gave."""
    step = plain(views=2, complementary_dropout=True).train()
    given, seen = [], []
    step.network.encoders[SHARED].register_forward_hook(lambda *call: given.append(call[2]))
    step.network.decoders["segmentation"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    step(streams())
    (labelled, whole), (seen_labelled, halved) = given, seen
    assert all(torch.equal(a, b) for a, b in zip(labelled, seen_labelled, strict=True)), "labelled ones are left alone"
    for before, after in zip(whole[1:], halved[1:], strict=True):
        factor = (after / before).nan_to_num(0.0).amax((2, 3))
        assert set(factor.round(decimals=3).unique().tolist()) <= {0.0, 1.0, 2.0}
    assert torch.equal(whole[0], halved[0])
    assert not torch.equal(whole[-1], halved[-1])


def test_decoders_keep_the_statistics_of_maps_that_lose_no_channels() -> None:
    """Dropping half and doubling the rest inflates variance, in training alone. The encoder's maps are as ever."""
    dropped, alone = plain(views=2, complementary_dropout=True), make_step(PLAIN, {"supervised": {}})
    dropped.train()(streams())
    alone.train()({"labelled": streams()["labelled"]})
    behind, expected = (
        {name: buffer for part in step.network.after_encoders() for name, buffer in part.named_buffers()}
        for step in (dropped, alone)
    )
    assert any(name.endswith("running_var") for name in behind)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in behind.items())
    encoder, before = dropped.network.encoders.state_dict(), alone.network.encoders.state_dict()
    assert not all(torch.equal(tensor, before[name]) for name, tensor in encoder.items())


def test_confidence_is_logged() -> None:
    logs = plain()(streams()).logs
    assert 1 / CLASSES <= logs["pseudo_labels.confidence"] <= 1


class TestLogitAdjustment:
    PIXELS: ClassVar = (9000, 900, 90, 10)

    @pytest.mark.parametrize("adjusted", [True, False])
    @pytest.mark.parametrize("order", [("supervised", "pseudo_labels"), ("pseudo_labels", "supervised")])
    def test_pseudo_labels_are_freed_of_the_weights_and_learned_with_them(
        self, adjusted: bool, order: tuple[str, str]
    ) -> None:
        """Whichever of the two objectives the recipe names first."""
        parts: dict[str, Any] = {
            "supervised": {"losses": {"segmentation": {"balance": 0.5}}},
            "pseudo_labels": {**BARE, "teacher": "self", "logit_adjusted": adjusted},
        }
        step = make_step(Pointwise(CLASSES), {name: parts[name] for name in order}, pixels=self.PIXELS)
        data = streams()
        share = torch.tensor(self.PIXELS, dtype=torch.float64) / 10000
        weight = (share**-0.5 / (share**0.5).sum()).float() if adjusted else torch.ones(CLASSES)
        term = step(data).terms["pseudo_labels"]
        with torch.no_grad():
            logits = step.network(to_unit(data["unlabelled"].image))["segmentation"]
            answer = (logits.softmax(1) / weight.view(1, -1, 1, 1)).argmax(1)
            losses = F.cross_entropy(logits, answer, reduction="none") * weight[answer]
        assert len(answer.unique()) > 1
        assert term.sum.item() == pytest.approx(losses.sum().item(), rel=1e-4)


def test_disparity_that_is_given_goes_before_that_of_the_teacher() -> None:
    step = joint(mixing={"name": "depthmix"}, weighting={"name": "none"}).eval()
    known = make_batch(2, "disparity")
    losses = []
    for batch in (known, replace(known, targets={}, present={})):
        data = {**streams(), "unlabelled": batch, "clips": make_batch(3, "frames")}
        losses.append(step(data).terms["pseudo_labels"].sum.item())
    assert losses[0] != losses[1]
