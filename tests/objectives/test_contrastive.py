"""A scene model learns from labels and depths alone: what counts, what moves, and the temperature."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fathomseg.engine.step import Step
from fathomseg.losses.contrastive import info_nce
from fathomseg.models.scene.inputs import inverse_of, painted_label
from fathomseg.objectives.base import Base, Nets
from fathomseg.objectives.contrastive import LARGEST, ContrastiveObjective, found_first
from fathomseg.types import Batch
from tests.objectives.scenes import ENCODER, KNOWN, NO_NETWORK, at, frame
from tests.objectives.steps import PLAIN, copied, make_batch, make_step, moved, train, weighed

FAR = [frame(clip, 0) for clip in range(4)]


def step(network: dict[str, Any] = NO_NETWORK, more: dict[str, Any] | None = None, **settings: Any) -> Step:
    return make_step(network, {"contrastive": {"encoder": ENCODER, "apart": 3, **settings}, **(more or {})}, **KNOWN)


def objective(step: Step) -> ContrastiveObjective:
    found = step.objectives["contrastive"]
    assert isinstance(found, ContrastiveObjective)
    return found


def batch(*kinds: str, ids: list[str] = FAR, **rows: list[int]) -> dict[str, Batch]:
    return {"labelled": at(make_batch(1, *(kinds or ("label", "depth")), count=len(ids), rows=rows), ids)}


def by_hand(made: Step, batch: Batch, pairs: torch.Tensor) -> torch.Tensor:
    """The mean over the terms, from the loss that is tested by itself."""
    found = objective(made)
    both = found.scene(inverse_of(batch.targets["depth"]), painted_label(batch.targets["label"], found.colours))
    total, count = info_nce(*both, torch.tensor(1 / 0.07), pairs)
    return total / count


def test_it_is_the_loss_of_what_the_scene_model_says() -> None:
    made, given = step().eval(), batch()
    result = made(given)
    assert set(result.terms) == {"contrastive"}
    expected = by_hand(made, given["labelled"], torch.ones(4, 4, dtype=torch.bool))
    assert weighed(result).item() == pytest.approx(expected.item(), rel=1e-5)
    assert result.terms["contrastive"].count.item() == 8
    assert result.logs["contrastive.scale"].item() == pytest.approx(1 / 0.07)
    assert 0 <= result.logs["contrastive.top1"].item() <= 1


def test_near_frames_are_no_wrong_pairs() -> None:
    made, given = step().eval(), batch(ids=[frame(0, 0), frame(0, 2), frame(0, 3), frame(1, 0)])
    pairs = torch.tensor([[1, 0, 1, 1], [0, 1, 0, 1], [1, 0, 1, 1], [1, 1, 1, 1]]).bool()
    expected = by_hand(made, given["labelled"], pairs)
    assert weighed(made(given)).item() == pytest.approx(expected.item(), rel=1e-5)
    assert expected < by_hand(made, given["labelled"], torch.ones(4, 4, dtype=torch.bool))


def test_samples_without_label_or_depth_count_nowhere() -> None:
    made, given = step().eval(), batch(label=[0, 2, 3], depth=[0, 1, 2])
    result = made(given)
    assert result.terms["contrastive"].count.item() == 4
    whole = batch()["labelled"].take([0, 2])
    assert weighed(result).item() == pytest.approx(by_hand(made, whole, torch.ones(2, 2).bool()).item(), rel=1e-5)


@pytest.mark.parametrize("kinds", [("label",), ("depth",), ("normals",)])
def test_a_batch_with_nothing_to_learn_gives_the_same_terms_and_a_zero_gradient(kinds: tuple[str, ...]) -> None:
    made = step().train()
    result = made(batch(*kinds))
    assert (result.terms["contrastive"].sum.item(), result.terms["contrastive"].count.item()) == (0, 0)
    weighed(result).backward()
    gradients = [p.grad for p in made.parameters() if p.requires_grad]
    assert all(g is not None and (g == 0).all() for g in gradients)


@pytest.mark.parametrize("towers", ["shared", "two"])
def test_everything_it_brings_learns_and_nothing_else_is_there(towers: str) -> None:
    made = step(encoder={**ENCODER, "towers": towers}).train()
    assert {name.split(".")[0] for name, _ in made.named_parameters()} == {"objectives"}
    before = copied(made)
    train(made, batch(), lr=0.1)
    unmoved = {name for name in before if name not in moved(made, before)}
    assert all(name.endswith((".mean", ".std")) for name in unmoved), unmoved


def test_beside_a_network_the_network_is_left_alone() -> None:
    made = step(PLAIN, {"supervised": {}}).train()
    terms = made(batch()).terms
    assert set(terms) == {"contrastive", "supervised.segmentation"}
    terms["contrastive"].sum.backward()
    assert all(p.grad is None for p in made.network.parameters())


def test_it_learns_four_pairs_by_heart() -> None:
    """Four walls, each near on another side and of another class."""
    made, given = step().train(), batch()
    targets = given["labelled"].targets
    targets["depth"].fill_(40.0)
    for number, side in enumerate(((slice(16),), (slice(16, None),), (..., slice(24)), (..., slice(24, None)))):
        targets["label"][number] = number
        targets["depth"][number, 0][side] = 4.0
    optimiser = torch.optim.Adam(made.parameters(), lr=1e-2)
    first = weighed(made(given)).item()
    for number in range(60):
        optimiser.zero_grad()
        weighed(made(given)).backward()
        optimiser.step()
        made.after_step(number)
    result = made(given)
    assert weighed(result).item() < 0.25 * first
    assert result.logs["contrastive.top1"].item() >= 0.75


def test_the_temperature_stays_in_its_bounds_and_can_come_back() -> None:
    made = step().train()
    assert objective(made).log_scale.exp().item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        objective(made).log_scale.fill_(math.log(500))
    assert made(batch()).logs["contrastive.scale"].item() == pytest.approx(100)
    made.after_step(0)
    assert objective(made).log_scale.item() == pytest.approx(LARGEST)
    weighed(made(batch())).backward()
    assert objective(made).log_scale.grad is not None
    assert objective(made).log_scale.grad != 0


def test_the_temperature_is_learned_without_weight_decay_and_saved() -> None:
    made = step()
    groups = made.parameter_groups(1.0, {})
    (group,) = [g for g in groups if any(p is objective(made).log_scale for p in g["params"])]
    assert not group["decays"]
    assert "objectives.contrastive.log_scale" in made.state_dict()


def test_what_is_found_first_is_the_same_in_mixed_precision() -> None:
    """Unit vectors a hundredth apart: in bfloat16 all are equally similar, and nothing is found."""
    angle = torch.arange(5) / 100
    first = torch.stack([angle.cos(), angle.sin()], dim=1)
    everyone = torch.ones(5, 5, dtype=torch.bool)
    four = everyone.clone()
    four[4] = four[:, 4] = False
    with torch.autocast("cpu", torch.bfloat16):
        assert found_first(first, first, everyone).item() == found_first(first, first, four).item() == 1
        assert found_first(first, first.roll(1, 0), everyone).item() == 0


def test_the_page_shows_the_pairs_it_learns_from() -> None:
    made, given = step(), batch(label=[0, 2, 3], depth=[0, 1, 2])["labelled"]
    found = objective(made).shown(given, Base.of(given, None), Nets(made.network, made.ema.network))
    assert [(one.kind, one.ids) for one in found] == [(kind, (FAR[0], FAR[2])) for kind in ("image", "depth", "label")]
    for one, maps in zip(found, (given.image / 255, given.targets["depth"], given.targets["label"]), strict=True):
        torch.testing.assert_close(one.maps, maps[[0, 2]])
    lonely = batch("label")["labelled"]
    assert objective(made).shown(lonely, Base.of(lonely, None), Nets(made.network, made.ema.network)) == []
