"""Links in a training step: absent until their step, not decayed, measured only when asked for, for any objective."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fathomseg.engine.optimiser import Optimiser
from fathomseg.engine.step import Step
from fathomseg.types import Batch
from tests.models.networks import scales_of_one
from tests.objectives.steps import ENCODER, POSE, UNET, copied, make_batch, make_step, moved, train, weighed

BRANCH = {"decoder": UNET, "encoder": "own"}


def network(tasks: tuple[str, ...] = ("segmentation", "depth"), **links: Any) -> dict[str, Any]:
    return {
        "encoder": ENCODER,
        "tasks": dict.fromkeys(tasks, BRANCH),
        "links": {"name": "zero_conv", **links},
    }


def supervised(**links: Any) -> Step:
    return make_step(network(**links), {"supervised": {"losses": {"segmentation": {}, "depth": {}}}}).train()


def batch(seed: int = 1, **rows: Any) -> dict[str, Batch]:
    return {"labelled": make_batch(seed, "label", "depth", rows=rows)}


def names_of_links(step: Step) -> set[str]:
    return {f"network.links.{name}" for name, _ in step.network.links.named_parameters()}


def test_no_decay_and_a_learning_rate_of_their_own() -> None:
    step = supervised()
    groups = step.parameter_groups(0.3, {"links": 5.0})
    links = {id(p) for p in step.network.links.parameters()}
    of_links = [group for group in groups if links & {id(p) for p in group["params"]}]
    assert [(group["lr_scale"], group["decays"]) for group in of_links] == [(5.0, False)]
    assert {id(p) for p in of_links[0]["params"]} == links


def test_links_move_first_and_then_what_they_carry() -> None:
    step = supervised()
    before = copied(step)
    step.begin_step(0)
    train(step, batch())
    assert names_of_links(step) <= moved(step, before)


def test_until_their_step_they_are_absent() -> None:
    """The losses are those of a network without links, and the optimiser does not know of them."""
    step, without = supervised(name="plain", start_step=1), supervised(name="none")
    without.network.load_state_dict(step.network.state_dict(), strict=False)
    optimiser = Optimiser().build(step.parameter_groups(1.0, {}))
    step.begin_step(0)
    torch.manual_seed(0)
    loss = weighed(step(batch()))
    torch.manual_seed(0)
    assert torch.equal(loss, weighed(without(batch())))
    loss.backward()
    step.drop_idle_gradients()
    optimiser.step()
    links = list(step.network.links.parameters())
    assert all(p.grad is None and p not in optimiser.state for p in links)
    step.begin_step(1)
    weighed(step(batch())).backward()
    step.drop_idle_gradients()
    assert all(p.grad is not None for p in links)
    assert step.ema.network.links.on


def test_idle_links_have_a_zero_gradient_where_processes_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    step = supervised(start_step=5)
    step.begin_step(0)
    weighed(step(batch())).backward()
    gradients = [p.grad for p in step.network.links.parameters()]
    assert all(g is not None and g.abs().sum() == 0 for g in gradients)
    step.drop_idle_gradients()
    assert all(p.grad is None for p in step.network.links.parameters())


def test_they_are_measured_in_steps_that_are_logged() -> None:
    step = supervised(name="plain")
    step.begin_step(0)
    assert not step(batch()).logs
    step.begin_step(1, measuring=True)
    logs = step(batch()).logs
    assert set(logs) == {f"links.{name}.{kind}" for name in step.network.links.names for kind in ("norm", "share")}
    assert all(value > 0 and not value.requires_grad for value in logs.values())


@pytest.mark.parametrize("links", ["zero_conv", "plain", "cross_stitch", "nddr"])
def test_partial_targets_and_depth_from_clips(links: str) -> None:
    """Images with a label or a depth but not both, and clips without either: two steps each, all of it learns."""
    clips = {"supervised": {"losses": {"segmentation": {}}}, "photometric": {"pose": POSE, "stream": "clips"}}
    partly = {"supervised": {"losses": {"segmentation": {}, "depth": {}}}}
    for objectives in (clips, partly):
        step = make_step(network(name=links), objectives).train()
        scales_of_one(step.network)
        before = copied(step)
        for number in range(2):
            step.begin_step(number)
            one = batch(number, label=[0], depth=[1])
            train(step, {**one, "clips": make_batch(number, "frames")} if objectives is clips else one)
        changed = moved(step, before)
        still = {n for n, _ in step.network.named_parameters() if f"network.{n}" not in changed}
        assert still <= {
            n for n, _ in step.network.named_parameters() if ".bn" in n or "downsample" in n or "scales.3" in n
        }
