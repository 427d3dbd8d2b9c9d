"""Links between branches: PAD-Net's exchange by hand, by its formula, and what it lets through."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fathomseg.models.decoders import DepthUNet
from fathomseg.models.encoders import Encoder
from fathomseg.models.links.base import LinkModule
from fathomseg.models.links.padnet import GatedMessage
from fathomseg.models.network import Network, early
from fathomseg.tasks.depth_heads import DepthHeads, DisparityHead
from fathomseg.tasks.network import NetworkConfig
from tests.models.networks import (
    CLASSES,
    LITE,
    PADNET,
    assert_equal,
    build,
    config,
    images,
    joint,
    reached,
    seeing_depth,
    segmenting,
    unet,
)

LEVEL = 2
FULL = joint(unet())
LINKED: dict[str, NetworkConfig] = {
    "full": FULL,
    "quarter": joint(unet(stride=4)),
    "ASPP, OS 16": joint(
        unet(aspp=(6, 12, 18), norms=True), encoder={**LITE, "model": "resnet18", "output_stride": 16}
    ),
    "fpn for classes": config(
        {"segmentation": {"decoder": {"name": "fpn", "channels": 8}}, "depth": {"decoder": unet(stride=2)}},
        links=PADNET,
    ),
    "own encoders": config(
        {name: {"decoder": unet(stride=2), "encoder": "own"} for name in ("segmentation", "depth")}, links=PADNET
    ),
}


def test_a_message_by_hand() -> None:
    """Two channels, one cell: only the middles of the 3x3 weights meet it."""
    message = GatedMessage(2, 2)
    assert (message.gate.weight == 0).all()
    assert message.conv.bias is None
    assert message.gate.bias is None
    with torch.no_grad():
        message.conv.weight[:, :, 1, 1] = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    x = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(message(x).flatten(), torch.tensor([5.5, -2.0]))  # half of (11, -4)
    with torch.no_grad():
        message.gate.weight[0, 0, 1, 1], message.gate.weight[1, 1, 1, 1] = 1.0, -0.5
    gate = [1 / (1 + math.exp(-3)), 1 / (1 + math.exp(2))]
    torch.testing.assert_close(message(x).flatten(), torch.tensor([11 * gate[0], -4 * gate[1]]))


def halves(network: Network, image: Tensor) -> tuple[dict[str, list[Tensor]], dict[str, dict[int, Tensor]]]:
    """The pyramid of every task, and its decoder's maps down to where the branches meet."""
    shared = "shared" in network.encoders
    maps = {task: list(network.encoders["shared" if shared else task](image)) for task in network.tasks}
    return maps, {task: network.decoders[task].levels(maps[task], LEVEL) for task in network.tasks}


@pytest.mark.parametrize("name", LINKED)
def test_the_exchange_equals_the_formula(name: str) -> None:
    """F_s' = F_s + conv(F_d) sigmoid(gate(F_d)), and the same the other way with F_s as it was."""
    network, image = build(LINKED[name]).eval(), images(2, 64, 96)
    weights = dict(network.named_parameters())

    def message(way: str, x: Tensor) -> Tensor:
        a, b = (F.conv2d(x, weights[f"links.messages.{way}.{conv}.weight"], padding=1) for conv in ("conv", "gate"))
        return a / (1 + torch.exp(-b))

    with torch.no_grad():
        maps, levels = halves(network, image)
        f_s, f_d = levels["segmentation"][LEVEL], levels["depth"][LEVEL]
        changed = {
            "segmentation": f_s + message("depth_to_segmentation", f_d),
            "depth": f_d + message("segmentation_to_depth", f_s),
        }
        for task, x in changed.items():
            finer = network.decoders[task].levels_from(x, LEVEL, maps[task])
            # What is read at the meeting place itself is from before the exchange, unless the decoder ends there.
            levels[task] |= finer if finer else {LEVEL: x}
        found = network(image, network.outputs)
        finest = min(levels["segmentation"])
        logits = network.heads["segmentation"][1](levels["segmentation"][finest])
        torch.testing.assert_close(found["segmentation"], logits)
        torch.testing.assert_close(found[early("segmentation")], network.early_heads["segmentation"][1](f_s))
        scales = network.heads["depth"].scales
        for (level, head), disparity in zip(scales.items(), found["depth"], strict=True):
            torch.testing.assert_close(disparity, head(levels["depth"][int(level)]))


@pytest.mark.parametrize(
    ("stride", "hears"), [(1, [True, True, False, False]), (2, [True, False, False]), (4, [True, False])]
)
def test_the_finest_disparity_hears_of_the_classes_and_coarse_ones_do_not(stride: int, hears: list[bool]) -> None:
    network, image = build(joint(unet(stride=stride))).eval(), images(1, 48, 64)
    with torch.no_grad():
        before = network(image)["depth"]
        nn.init.normal_(network.decoders["segmentation"].blocks["4"].join[0].bias)
        after = network(image)["depth"]
    assert [not torch.equal(a, b) for a, b in zip(before, after, strict=True)] == hears


def test_early_outputs_are_before_the_exchange() -> None:
    """Whatever the other branch says, they stay; what follows the exchange does not."""
    network = build(joint(unet(), links={**PADNET, "early": ["segmentation", "depth"]})).eval()
    image, names = images(1, 48, 64), [early("segmentation"), early("depth"), "segmentation", "depth"]
    with torch.no_grad():
        before = network(image, names)
        for message in network.links.messages.values():
            nn.init.normal_(message.conv.weight)
        after = network(image, names)
    assert torch.equal(before[early("segmentation")], after[early("segmentation")])
    assert torch.equal(before[early("depth")][0], after[early("depth")][0])
    assert not torch.equal(before["segmentation"], after["segmentation"])
    assert not torch.equal(before["depth"][0], after["depth"][0])


@pytest.mark.parametrize("silent", [True, False])
def test_without_messages_it_is_two_networks_on_one_encoder(silent: bool) -> None:
    depth, segmentation = build(seeing_depth(unet())), build(segmenting(unet()))
    both = build(FULL if silent else joint(unet(), links={"name": "none"}))
    for network in (both, segmentation):
        network.encoders.load_state_dict(depth.encoders.state_dict())
    for task, single in (("depth", depth), ("segmentation", segmentation)):
        both.decoders[task].load_state_dict(single.decoders[task].state_dict())
        both.heads[task].load_state_dict(single.heads[task].state_dict())
    for message in both.links.messages.values() if silent else ():
        nn.init.zeros_(message.conv.weight)
    image = images(1, 48, 64)
    with torch.no_grad():
        assert_equal(both.eval()(image), {**segmentation.eval()(image), **depth.eval()(image)})


@pytest.mark.parametrize("links", [PADNET, {"name": "none"}], ids=lambda links: links["name"])
def test_gradients_cross_only_with_a_link(links: dict[str, Any]) -> None:
    network = build(joint(unet(), links=links)).train()
    network(images(1, 48, 64))["segmentation"].square().sum().backward()
    linked, trained = links["name"] == "padnet", reached(network)
    coarse = {
        n for n, _ in network.named_parameters() if n.startswith(tuple(f"decoders.depth.blocks.{i}" for i in "432"))
    }
    assert coarse
    assert {n for n in trained if n.startswith("decoders.depth")} == (coarse if linked else set())
    assert any(n.startswith("links.messages.depth_to_segmentation") for n in trained) == linked
    assert not any(n.startswith(("heads.depth", "early_heads", "links.messages.segmentation")) for n in trained)


@pytest.mark.parametrize("level", [1, 3, 4])
def test_branches_may_meet_elsewhere(level: int) -> None:
    """Two levels finer or coarser, the message has that level's width, and finer levels follow from what it changed."""
    network, image = build(joint(unet(), links={**PADNET, "level": level})).eval(), images(1, 64, 96)
    assert network.links.messages["depth_to_segmentation"].conv.weight.shape[0] == unet()["channels"][level]
    with torch.no_grad():
        found = network(image, network.outputs)
        assert found[early("segmentation")].shape == (1, CLASSES, 64 >> level, 96 >> level)
        nn.init.normal_(network.decoders["segmentation"].blocks["4"].join[0].bias)
        after = network(image, ["depth"])["depth"]
    changed = [not torch.equal(a, b) for a, b in zip(found["depth"], after, strict=True)]
    assert changed == [place < level for place in range(4)]


class Averaging(LinkModule):
    """At several levels every branch goes on from the mean of its own map and the next one's."""

    def __init__(self, levels: tuple[int, ...], tasks: tuple[str, ...]) -> None:
        super().__init__()
        self.levels, self.tasks = levels, tasks

    def senders(self, receivers: Collection[str]) -> frozenset[str]:
        return frozenset(self.next(task) for task in receivers)

    def forward(self, level: int, maps: Mapping[str, Tensor], receivers: Collection[str]) -> dict[str, Tensor]:
        return {task: (maps[task] + maps[self.next(task)]) / 2 for task in receivers}

    def next(self, task: str) -> str:
        return self.tasks[(self.tasks.index(task) + 1) % len(self.tasks)]


@pytest.mark.parametrize("early_level", [4, 3, 2])
def test_branches_may_meet_more_than_once(early_level: int) -> None:
    """What a branch is told at a fine level depends on what its sender was told before, and so on around three of
    them."""
    torch.manual_seed(0)
    tasks, part = ("a", "b", "c"), DepthUNet(channels=(4, 4, 4, 4, 4), stride=2)
    encoder = Encoder(model="test_efficientnet", pretrained="none").build()
    decoders = {task: part.build(encoder.pyramid, "batch") for task in tasks}
    heads, early_heads = (
        {task: DepthHeads({1: DisparityHead(4)}) for task in tasks},
        {task: DisparityHead(4) for task in tasks},
    )
    network = Network(
        {"shared": encoder}, decoders, heads, Averaging((4, 3, 2), tasks), early_heads, early_level=early_level
    ).eval()
    image = images(1, 64, 96)
    with torch.no_grad():
        whole = network(image, network.outputs)
        for output in network.outputs:
            assert_equal(network(image, [output]), {output: whole[output]})
        maps = encoder(image)
        now = {task: decoders[task].levels(maps, 4)[4] for task in tasks}
        for level in (4, 3, 2):
            if level < 4:
                now = {task: decoders[task].levels_from(now[task], level + 1, maps, level)[level] for task in tasks}
            if level == early_level:
                assert all(torch.equal(whole[early(task)], early_heads[task](now[task])) for task in tasks)
            now = {task: (now[task] + now[tasks[(i + 1) % 3]]) / 2 for i, task in enumerate(tasks)}
        for task in tasks:
            finest = decoders[task].levels_from(now[task], 2, maps)[1]
            assert torch.equal(whole[task][0], heads[task]({1: finest})[0])
