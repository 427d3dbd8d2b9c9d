"""What several tasks share of a network, by where gradients really arrive."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fathomseg.models.network import SHARED, Network, early
from tests.models.networks import build, config, flat, images, joint, reached, scales_of_one, unet

OWN = {"segmentation": {"decoder": unet()}, "depth": {"decoder": unet(), "encoder": "own"}}
READ = {"segmentation": {"decoder": unet()}, "depth": {"decoder": "shared"}, "normals": {"decoder": "shared"}}
NETWORKS: dict[str, Any] = {
    "padnet": joint(unet(stride=4)),
    "no links": joint(unet(stride=4), links={"name": "none"}),
    "shared decoder": config(READ),
    "own encoders": config(OWN),
}
EVERY = pytest.mark.parametrize("name", NETWORKS)


def groups(network: Network) -> list[frozenset[str]]:
    return [frozenset({task, early(task)}) & network.outputs for task in network.tasks]


@EVERY
def test_shared_parameters_are_those_more_than_one_group_reaches(name: str) -> None:
    network = build(NETWORKS[name])
    scales_of_one(network)
    found = []
    for outputs in groups(network):
        network.zero_grad()
        sum(tensor.square().sum() for tensor in flat(network(images(2, 64, 96), outputs)).values()).backward()
        found.append(reached(network))
    names = {id(p): key for key, p in network.named_parameters()}
    shared = {names[id(p)] for p in network.shared_parameters(groups(network))}
    several = {key for key in names.values() if sum(key in own for own in found) > 1}
    assert several <= shared
    # A link is one module, though each message is read by one task.
    assert {key for key in shared - several if not key.startswith("links.")} == set()


@EVERY
def test_shared_encoders(name: str) -> None:
    network = build(NETWORKS[name])
    assert network.shared_encoders(groups(network)) == ([] if name == "own encoders" else [network.encoders[SHARED]])


@EVERY
def test_the_last_shared_weights(name: str) -> None:
    network = build(NETWORKS[name])
    names = {id(p): key for key, p in network.named_parameters()}
    found = [names[id(p)] for p in network.last_shared_weights(groups(network))]
    expected = {"shared decoder": "decoders.segmentation.", "own encoders": "none"}.get(name, "encoders.shared.")
    assert bool(found) == (name != "own encoders")
    assert all(key.startswith(expected) for key in found)


def test_two_groups_of_one_task_share_its_head() -> None:
    network = build(NETWORKS["no links"])
    outputs = [frozenset({"segmentation"})] * 2
    last = network.last_shared_weights(outputs)[-1]
    assert any(last is p for p in network.heads["segmentation"].parameters())
    assert torch.equal(network.shared_parameters(outputs)[-1], list(network.heads["segmentation"].parameters())[-1])


def test_a_frozen_sender_is_nothing_they_train() -> None:
    """It comes last among the encoders."""
    own: dict[str, Any] = {name: {"decoder": unet(), "encoder": "own"} for name in ("segmentation", "depth")}
    own["depth"]["frozen"] = True
    network = build(config(own, links={"name": "zero_conv", "direction": "depth_to_segmentation"}))
    last = network.last_shared_weights([frozenset({"segmentation"})] * 2)
    assert last
    assert all(any(p is one for one in network.encoders["segmentation"].parameters()) for p in last)
