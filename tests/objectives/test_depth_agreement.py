"""Pseudo-labels weighed by two depth heads: which depths are compared, what they weigh, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fathomseg.engine.step import Step
from fathomseg.geometry.camera import disparity_to_depth
from fathomseg.losses.depth_agreement import DepthAgreement
from fathomseg.losses.segmentation import upsample
from fathomseg.losses.targets import Lesson
from fathomseg.mixing import Pixels
from fathomseg.models.network import SHARED
from fathomseg.objectives.base import Base, Nets, to_unit
from fathomseg.objectives.pseudo_labels import PseudoLabelsObjective
from fathomseg.types import Batch
from tests.objectives.steps import ENCODER, FPN, SIZE, Counted, copied, make_batch, make_step, moved, train

HEADS = {"depth": {"decoder": "shared"}, "source_depth": {"decoder": "shared"}}
NETWORK = {"encoder": ENCODER, "tasks": {"segmentation": {"decoder": FPN}, **HEADS}}
BARE = {"mixing": {"name": "none"}, "augment": {"name": "none"}, "weighting": {"name": "none"}}


def two_depths(unit: str = "disparity", **settings: Any) -> Step:
    """A step as CorDA's: labels and depth of the source, depth of the target, pseudo-labels; with heads that differ."""
    loss = {"target": unit, "error": "berhu"}
    step = make_step(
        NETWORK,
        {
            "supervised": {"stream": "source"},
            "there": {"name": "supervised", "stream": "source", "losses": {"source_depth": loss}},
            "here": {"name": "supervised", "stream": "unlabelled", "losses": {"depth": loss}},
            "pseudo_labels": {**BARE, "depth_agreement": {"target": unit}, **settings},
        },
    )
    for network in (step.network, step.ema.network):
        torch.manual_seed(1)
        for task in HEADS:
            nn.init.normal_(network.heads[task].scales["2"].conv.weight, std=0.05)
        nn.init.normal_(network.heads["segmentation"][1].weight, std=0.5)
    return step


def streams(*given: str) -> dict[str, Batch]:
    return {"source": make_batch(1, "label", "disparity", "depth"), "unlabelled": make_batch(2, *given)}


def learned(step: Step, data: dict[str, Batch]) -> tuple[Pixels, Lesson]:
    """The images with pseudo-labels, and what the first view teaches."""
    objective, batch = step.objectives["pseudo_labels"], data["unlabelled"]
    assert isinstance(objective, PseudoLabelsObjective)
    nets = Nets(step.network, step.ema.network)
    pixels, _, _, lessons = objective._views(batch, Base.of(batch, None, data), nets)
    return pixels, lessons[0]


def predicted(step: Step, batch: Batch) -> tuple[Tensor, Tensor]:
    """The teacher's disparities at the size of the images, of source and target."""
    found = step.ema.network(to_unit(batch.image), ["source_depth", "depth"])
    return upsample(found["source_depth"][0], SIZE), upsample(found["depth"][0], SIZE)


EVERY = torch.ones(2, *SIZE, dtype=torch.bool)


@torch.no_grad()
def test_the_depth_of_the_batch_says_how_far_the_heads_are_apart() -> None:
    step, data = two_depths().eval(), streams("disparity")
    batch = data["unlabelled"]
    expected = DepthAgreement().weight(*predicted(step, batch), batch.targets["disparity"], EVERY)
    found = learned(step, data)[1].weight
    torch.testing.assert_close(found, expected)
    assert found.std() > 0.05


@torch.no_grad()
def test_what_a_finished_teacher_has_predicted_is_weighed_as_well() -> None:
    """Depths are those of the averaged network; only the labels are the finished teacher's."""
    step, data = two_depths(teacher="finished").eval(), streams("disparity")
    batch = data["unlabelled"]
    theirs = {"distilled_label": torch.zeros(2, *SIZE, dtype=torch.uint8)}
    theirs["distilled_label_confidence"] = torch.ones(2, *SIZE)
    expected = DepthAgreement().weight(*predicted(step, batch), batch.targets["disparity"], EVERY)
    data["unlabelled"] = replace(batch, targets={**batch.targets, **theirs})
    torch.testing.assert_close(learned(step, data)[1].weight, expected)


@torch.no_grad()
def test_without_it_that_of_the_head_of_the_target_does() -> None:
    step, data = two_depths().eval(), streams()
    source, own = predicted(step, data["unlabelled"])
    torch.testing.assert_close(learned(step, data)[1].weight, DepthAgreement().weight(source, own, own, EVERY))


@torch.no_grad()
def test_metres_are_compared_with_metres() -> None:
    step, data = two_depths("depth").eval(), streams("depth", "disparity")
    found = step.ema.network(to_unit(data["unlabelled"].image), ["source_depth", "depth"])
    source, own = (upsample(disparity_to_depth(found[t][0], 0.1, 100.0), SIZE) for t in ("source_depth", "depth"))
    truth = data["unlabelled"].targets["depth"]
    expected = DepthAgreement(target="depth").weight(source, own, truth, EVERY)
    torch.testing.assert_close(learned(step, data)[1].weight, expected)
    assert expected.std() > 0.01


@torch.no_grad()
def test_images_without_depth_keep_their_weight_and_others_multiply_it() -> None:
    step, data = two_depths(weighting={"name": "fraction", "threshold": 0.5}).eval(), streams()
    data["unlabelled"] = make_batch(2, "disparity", rows={"disparity": [1]})
    sure = step.ema.network(to_unit(data["unlabelled"].image), ["segmentation"])["segmentation"]
    share = (upsample(sure, SIZE).softmax(1).amax(1) >= 0.5).float().mean((1, 2))
    assert ((share > 0.01) & (share < 0.99)).all()
    weight = learned(step, data)[1].weight
    torch.testing.assert_close(weight[0], share[0].expand(SIZE))
    torch.testing.assert_close(weight[1].mean(), share[1])
    assert weight[1].std() > 0.01


@pytest.mark.parametrize("truth", [True, False])
def test_ground_truth_counts_as_ever(truth: bool) -> None:
    step, data = two_depths(truth=truth).eval(), streams("disparity")
    data["unlabelled"] = make_batch(2, "label", "disparity", rows={"label": [0]})
    weight = learned(step, data)[1].weight
    assert (weight[0] == 1).all() == truth
    assert weight[1].std() > 0.05


def test_padding_is_not_averaged() -> None:
    step, data = two_depths().eval(), streams("disparity")
    shown = EVERY.clone()
    shown[:, :, 20:] = False
    _, lesson = learned(step, {**data, "unlabelled": replace(data["unlabelled"], valid=shown)})
    whole = learned(step, data)[1].weight
    assert lesson.weight[shown].view(2, -1).mean(1).tolist() == pytest.approx([1, 1], rel=1e-4)
    factor = lesson.weight[0][shown[0]] / whole[0][shown[0]]
    torch.testing.assert_close(factor, factor[:1].expand_as(factor))


def test_a_pixel_takes_its_weight_along_and_the_source_has_1() -> None:
    step, data = two_depths(partner="source", mixing={"name": "classmix"}).eval(), streams("disparity")
    pixels, lesson = learned(step, data)
    seen = lesson.weight != 1
    torch.testing.assert_close(lesson.weight[seen], pixels.weight[seen])
    assert 0.1 < seen.float().mean() < 0.9


def test_one_pass_of_the_teacher_and_no_gradient_serves_it() -> None:
    step = two_depths(partner="source", mixing={"name": "depthmix"}).train()
    teacher = step.ema.network
    heads = {task: teacher.heads[task] for task in ("segmentation", *HEADS)}
    counted = Counted(encoder=teacher.encoders[SHARED], **heads)
    step(streams("disparity"))
    assert counted.calls == {name: [(False, False, 2)] for name in ("encoder", *heads)}


def test_without_it_the_second_head_is_not_asked() -> None:
    step = two_depths(depth_agreement=None).train()
    counted = Counted(**{task: step.ema.network.heads[task] for task in HEADS})
    step(streams("disparity"))
    assert counted.calls == {"depth": [], "source_depth": []}


def test_each_head_learns_in_its_own_domain() -> None:
    for domain, task in (("source", "source_depth"), ("unlabelled", "depth")):
        step = two_depths()
        before, data = copied(step), streams("disparity")
        silent = "unlabelled" if domain == "source" else "source"
        data[silent] = replace(data[silent], targets={}, present={})
        train(step, data)
        heads = {name.split(".")[2] for name in moved(step, before) if name.startswith("network.heads")}
        assert heads & set(HEADS) == {task}
