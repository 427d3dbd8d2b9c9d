"""What holds for every balancing: it trains a joint network, in micro-batches too, resumes to the bit, says its
weights."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fathomseg.config import validate
from fathomseg.engine.balancing import AnyBalancing
from fathomseg.engine.loop import Loop, Trainer, accelerator
from fathomseg.engine.optimiser import Optimiser
from fathomseg.engine.step import Batches
from fathomseg.errors import ConfigError
from fathomseg.models.network import SHARED
from fathomseg.training.recipe import Recipe
from tests.objectives.steps import JOINT, POSE, UNET, Counted, make_batch, make_step

PARTS = {part.model_fields["name"].default: part for part in typing.get_args(typing.get_args(AnyBalancing)[0])}
EVERY = pytest.mark.parametrize("name", PARTS)
WEIGHTS = pytest.mark.parametrize("name", [name for name in PARTS if name != "fixed"])
SETTINGS = {"dwa": {"window": 1}}
FROZEN = {
    **JOINT,
    "norm": "frozen",
    "tasks": {"segmentation": {"decoder": UNET, "dropout": 0}, "depth": {"decoder": UNET}},
}
BOTH = {"supervised": {"losses": {"segmentation": {}, "depth": {}}}}
GROUPS = ["supervised.segmentation", "supervised.depth"]


def trainer(
    folder: Path,
    name: str,
    network: Mapping[str, Any] = FROZEN,
    objectives: Mapping[str, Any] = BOTH,
    accumulate: int = 1,
    step: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Trainer:
    balancing = {"name": name, **SETTINGS.get(name, {}), **settings}
    made = make_step(network, objectives, balancing=balancing, **(step or {}))
    loop = Loop(steps=6, batch=4, device="cpu", threads=1, accumulate=accumulate)
    optimiser = Optimiser(name="sgd", lr=0.05, warmup=0)
    return Trainer(made, {}, loop, optimiser, folder, 3, accelerator(loop))


def batches(seed: int, rows: Mapping[str, Sequence[int]] | None = None) -> Batches:
    return {"labelled": make_batch(seed, "label", "depth", count=4, rows=rows)}


def train(trainer: Trainer, steps: range) -> None:
    for number in steps:
        trainer._step(number, [batches(number)])
        trainer.step_done = number + 1


def state(trainer: Trainer) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in trainer.module.state_dict().items() if isinstance(v, Tensor)}


@EVERY
def test_it_trains_all_of_a_joint_network_and_says_its_weights(name: str, tmp_path: Path) -> None:
    one = trainer(tmp_path, name)
    reached: set[str] = set()

    def note(*_: object) -> None:
        reached.update(k for k, p in one.module.named_parameters() if p.grad is not None and p.grad.any())

    one.optimiser.optimizer.register_step_pre_hook(note)
    train(one, range(2))
    assert all(torch.isfinite(value).all() for value in state(one).values())
    trained = {k for k, p in one.module.named_parameters() if p.requires_grad and k.startswith("network.")}
    assert any(k.startswith("network.encoders.") for k in trained)
    coarser = {k for k in trained if k.startswith("network.heads.depth.scales.3.")}  # learns from video alone
    assert trained - reached == coarser
    logged = one.meter.take()
    names = [f"balancing.{group}" for group in GROUPS]
    assert [key for key in logged if key.startswith("balancing.")] == ([] if name == "fixed" else names)
    assert all(logged[key] >= 0 for key in names if key in logged)


@EVERY
@pytest.mark.slow
def test_a_resumed_run_is_equal_to_the_bit(name: str, tmp_path: Path) -> None:
    whole, first = trainer(tmp_path / "whole", name), trainer(tmp_path / "parts", name)
    train(whole, range(5))
    train(first, range(3))
    first.folder.mkdir()
    first.save()
    second = trainer(tmp_path / "parts", name)
    second.resume()
    train(second, range(3, 5))
    expected, found = state(whole), state(second)
    assert expected.keys() == found.keys()
    assert [key for key in expected if not torch.equal(expected[key], found[key])] == []
    assert whole.meter.take() == second.meter.take()


@EVERY
def test_two_micro_batches_are_one_batch(name: str, tmp_path: Path) -> None:
    """Labels and depths are spread unevenly."""
    one, two = trainer(tmp_path, name), trainer(tmp_path, name, accumulate=2)
    for number in range(3):
        whole = batches(number, {"label": [0, 1, 2], "depth": [2]})
        one._step(number, [whole])
        two._step(number, [{"labelled": whole["labelled"].take(rows)} for rows in ([0, 1], [2, 3])])
    expected, found = state(one), state(two)
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-4, atol=1e-6, msg=lambda m, k=key: f"{k}: {m}")


@EVERY
def test_norms_of_a_stream_s_own_learn_as_those_they_stand_for(name: str, tmp_path: Path) -> None:
    """With all images in that stream the gradients are those of a network without them."""
    network = {**FROZEN, "norm": "batch"}
    both = {"supervised": {**BOTH["supervised"], "stream": ["source", "labelled"]}}
    outputs = ["segmentation", "depth"]
    own = {"held_for": {"source": outputs}, "own_norms": {"source": outputs}}
    apart, usual = trainer(tmp_path, name, network, both, step=own), trainer(tmp_path, name, network, both)
    for one in (apart, usual):
        one._step(0, [{"source": make_batch(2, "label", "depth", count=4)}])  # whose gradients conflict
    names = {id(parameter): name for name, parameter in apart.module.named_parameters()}
    expected, moved = dict(usual.module.named_parameters()), set()
    for found, original in apart.module._own_norms("source").originals(apart.module.network.modules_for(outputs)):
        where = names[id(original)]
        torch.testing.assert_close(found, expected[where], rtol=1e-4, atol=1e-6, msg=where)
        moved |= set() if torch.equal(found, original) else {where.split(".")[1]}
    assert moved == {"encoders"}


@WEIGHTS
def test_objectives_are_groups_and_a_regulariser_is_none(name: str, tmp_path: Path) -> None:
    """Photometric terms stay together; feature_distance keeps its weight; the pose network learns as well."""
    objectives = {
        "supervised": {},
        "pseudo_labels": {},
        "photometric": {"pose": POSE},
        "feature_distance": {"stream": "clips"},
    }
    one = trainer(tmp_path, name, JOINT, objectives)
    before = state(one)
    data = {"labelled": make_batch(1, "label"), "unlabelled": make_batch(2), "clips": make_batch(3, "frames")}
    for number in range(2):
        one._step(number, [data])
    logged = [key for key in one.meter.take() if key.startswith("balancing.")]
    assert logged == ["balancing.supervised.segmentation", "balancing.pseudo_labels", "balancing.photometric"]
    after = state(one)
    assert any(not torch.equal(before[k], after[k]) for k in after if k.startswith("objectives.photometric.pose."))
    assert all(torch.isfinite(value).all() for value in after.values())


@pytest.mark.parametrize(("name", "expected"), [("pcgrad", 2), ("mgda", 1), ("uncertainty", 1), ("gradnorm", 1)])
def test_how_often_an_encoder_is_gone_through_backwards(name: str, expected: int, tmp_path: Path) -> None:
    one = trainer(tmp_path, name)
    encoder = one.module.network.encoders[SHARED]
    calls: list[str] = []

    def count(module: object, given: object, maps: list[Tensor]) -> None:
        maps[1].register_hook(lambda gradient: calls.append(name))

    encoder.register_forward_hook(count, prepend=True)
    counted = Counted(encoder=encoder)
    train(one, range(1))
    assert len(counted.calls["encoder"]) == 1
    assert len(calls) == expected


@WEIGHTS
def test_the_others_of_terms_keep_their_weight(name: str, tmp_path: Path) -> None:
    losses = {"segmentation": {}, "depth": {}, "normals": {}}
    tasks = {**FROZEN["tasks"], "normals": {"decoder": "shared"}}
    network = {**FROZEN, "tasks": tasks, "links": {"name": "none"}}
    one = trainer(tmp_path, name, network, {"supervised": {"losses": losses}}, terms=GROUPS)
    one._step(0, [{"labelled": make_batch(1, "label", "depth", "normals")}])
    assert [k for k in one.meter.take() if k.startswith("balancing.")] == [f"balancing.{group}" for group in GROUPS]


class TestRecipe:
    def made(self, **sections: Any) -> Recipe:
        tree = {
            "data": {"name": "streets"},
            "size": [32, 64],
            "network": {"tasks": {"segmentation": {}, "depth": {}}},
            "objectives": BOTH,
        }
        return validate(Recipe, {**tree, **sections})

    @EVERY
    def test_any_is_a_setting(self, name: str) -> None:
        assert isinstance(self.made(balancing={"name": name}).balancing, PARTS[name])

    def test_one_group_cannot_be_balanced(self) -> None:
        alone = {"network": {"tasks": {"segmentation": {}}}, "objectives": {"supervised": {}}}
        with pytest.raises(ConfigError, match=r"'dwa' needs two groups of loss terms, of: supervised\.segmentation;"):
            self.made(balancing={"name": "dwa"}, **alone)

    def test_unknown_terms_are_told(self) -> None:
        with pytest.raises(ConfigError, match=r"'depth', which nothing trains; there is: supervised\.segm.*\.depth"):
            self.made(balancing={"name": "mgda", "terms": ["depth", "supervised.depth"]})

    @pytest.mark.parametrize("name", ["gradnorm", "pcgrad", "mgda"])
    def test_compiled_networks_are_refused(self, name: str) -> None:
        with pytest.raises(ConfigError, match=rf"'{name}' differentiates .* give train\.compile=false"):
            self.made(balancing={"name": name}, train={"compile": True})
