"""Links from encoders to decoders: two networks until they learn otherwise, then what the formula says, no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fathomseg.errors import ConfigError, FathomError
from fathomseg.models.links import AnyLinks
from fathomseg.models.links.cross_stitch import CrossStitch
from fathomseg.models.links.encoder_links import EncoderLinkPart, EncoderLinks
from fathomseg.models.links.nddr import Nddr
from fathomseg.models.links.one_by_one import PlainConv, ZeroConv
from fathomseg.models.network import SHARED, Network, linked
from fathomseg.tasks.network import NetworkConfig
from tests.models.networks import (
    CLASSES,
    TINY,
    assert_equal,
    build,
    config,
    flat,
    images,
    pair,
    seeing_depth,
    segmenting,
    unet,
)

KINDS: list[type[EncoderLinkPart]] = [ZeroConv, PlainConv, CrossStitch, Nddr]
NAMES = [kind.model_fields["name"].default for kind in KINDS]
TASKS = ("segmentation", "depth")
RESNET = {"model": "test_resnet", "pretrained": "none"}
WITHOUT = {"segmentation": segmenting(unet(stride=4)), "depth": seeing_depth(unet(stride=4))}


def test_every_link_to_a_decoder_is_tried_here() -> None:
    union = get_args(get_args(AnyLinks)[0])
    assert {kind for kind in union if issubclass(kind, EncoderLinkPart)} == set(KINDS)


def fresh(config: NetworkConfig) -> Network:
    """As a training builds it, heads included."""
    torch.manual_seed(0)
    return config.build(CLASSES)


def alone(network: Network, task: str, config: NetworkConfig) -> Network:
    """The network of one task with the weights that its branch has in the pair."""
    single = fresh(config)
    single.encoders[SHARED].load_state_dict(network.encoders[task].state_dict())
    single.decoders[task].load_state_dict(network.decoders[task].state_dict())
    single.heads[task].load_state_dict(network.heads[task].state_dict())
    return single


@pytest.mark.parametrize("encoders", [(TINY, TINY), (TINY, RESNET)], ids=["equal", "unlike"])
def test_at_zero_the_pair_is_two_networks_bit_for_bit(encoders: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
    """Outputs, gradients of all own parameters, and the gradient of the links is not zero."""
    branches = {task: {"decoder": unet(stride=4), "encoder": e} for task, e in zip(TASKS, encoders, strict=True)}
    both, image = fresh(config(branches, links={"name": "zero_conv"})), images(2, 64, 96)
    singles = {
        task: alone(both, task, WITHOUT[task].model_copy(update={"encoder": both_encoder(branches, task)}))
        for task in TASKS
    }
    with torch.no_grad():
        together = both.eval()(image)
        assert_equal(together, {task: single.eval()(image)[task] for task, single in singles.items()})
    for task, single in singles.items():
        outputs, found = gradients_of(both, image, task)
        expected_outputs, expected = gradients_of(single, image, task)
        assert_equal({task: outputs[task]}, {task: expected_outputs[task]})
        own = {name.replace(f"encoders.{task}.", "encoders.shared."): g for name, g in found.items()}
        assert all(torch.equal(own[name], g) for name, g in expected.items())
        others = {n: g for n, g in found.items() if n not in expected and not n.startswith(f"encoders.{task}.")}
        links = {n: g for n, g in others.items() if n.startswith(f"links.units.{task}.")}
        assert links
        assert all(g.abs().sum() > 0 for g in links.values())
        assert all(g.abs().sum() == 0 for n, g in others.items() if n not in links)


def both_encoder(branches: Mapping[str, Any], task: str) -> Any:
    return config({"segmentation": {"decoder": unet()}}, encoder=branches[task]["encoder"]).encoder


def gradients_of(network: Network, image: Tensor, task: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    network.zero_grad()
    network.train()
    torch.manual_seed(5)  # for dropout
    outputs = network(image, [task])
    rng = torch.Generator().manual_seed(3)
    losses = [(x * torch.randn(x.shape, generator=rng)).sum() for x in flat(outputs).values()]
    torch.stack(losses).sum().backward()
    return outputs, {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("detach", [False, True])
def test_once_open_the_gradient_reaches_the_sender_unless_detached(detach: bool) -> None:
    network = build(pair({"name": "zero_conv", "detach": detach}))
    _, found = gradients_of(network, images(2, 64, 96), "depth")
    reached = {name for name, g in found.items() if g.abs().sum() > 0}
    assert any(name.startswith("encoders.segmentation") for name in reached) != detach
    assert any(name.startswith("links.units.depth") for name in reached)
    assert not any(name.startswith(("decoders.segmentation", "links.units.segmentation")) for name in reached)


def expected(name: str, weights: Mapping[str, Tensor], place: str, own: Tensor, other: Tensor) -> Tensor:
    """What the papers say, in evaluation mode; `place` names a unit."""
    sender = next(n for n in TASKS if any(key.startswith(f"{place}.heard.{n}") for key in weights))
    heard = f"{place}.heard.{sender}"
    if name in ("zero_conv", "plain"):
        w, b = weights[f"{heard}.weight"][:, :, 0, 0], weights[f"{heard}.bias"]
        return own + torch.einsum("oc,bchw->bohw", w, other) + b[:, None, None]
    if name == "cross_stitch":
        alpha, beta = weights[f"{place}.own.factors"], weights[f"{heard}.factors"]
        return torch.einsum("c,bchw->bchw", alpha, own) + torch.einsum("c,bchw->bchw", beta, other)
    kernel = torch.cat([weights[f"{place}.own.weight"], weights[f"{heard}.weight"]], dim=1)
    mixed = F.conv2d(torch.cat([own, other], dim=1), kernel)
    norm = {key: weights[f"{place}.after.0.{key}"] for key in ("running_mean", "running_var", "weight", "bias")}
    return F.batch_norm(mixed, *norm.values()).relu()


@pytest.mark.parametrize("name", NAMES)
def test_the_maps_decoders_read_follow_the_formula(name: str) -> None:
    network, image = build(pair(name)).eval(), images(2, 64, 96)
    weights = network.state_dict()
    with torch.no_grad():
        maps = {task: network.encoders[task](image) for task in TASKS}
        for task, other in (TASKS, TASKS[::-1]):
            changed = list(maps[task])
            places = network.links.places[task]
            assert list(places) == [2, 3, 4], "what the decoder reads at 1/4, 1/8, 1/16; not the deepest, not the image"
            for i in places:
                changed[i] = expected(name, weights, f"links.units.{task}.{i}", maps[task][i], maps[other][i])
            levels = network.decoders[task].levels(changed)
            found, wanted = flat(network(image, [task])), flat({task: network.heads[task](levels)})
            for key, value in wanted.items():
                torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5)
            assert not torch.allclose(
                flat({task: network.heads[task](network.decoders[task].levels(maps[task]))})[next(iter(wanted))],
                next(iter(wanted.values())),
            ), "the links say something"


@pytest.mark.parametrize(("name", "start"), [("cross_stitch", 0.9), ("nddr", 0.9)])
def test_units_begin_near_the_identity(name: str, start: float) -> None:
    kind = {"cross_stitch": CrossStitch, "nddr": Nddr}[name]
    unit = kind().unit(3, {"depth": 3, "normals": 3}, "batch").eval()
    x, y, z = (torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(i)) for i in range(3))
    scale = (1 + 1e-5) ** -0.5 if name == "nddr" else 1.0
    torch.testing.assert_close(unit(x, {"depth": y, "normals": z}), scale * (start * x + 0.05 * y + 0.05 * z))


def test_nddr_respects_the_norm() -> None:
    names = [type(m).__name__ for m in build(pair("nddr", norm="group")).links.modules()]
    assert "GroupNorm" in names
    assert "BatchNorm2d" not in names


@pytest.mark.parametrize("name", NAMES)
def test_off_means_absent(name: str) -> None:
    """As two networks, whatever the weights of the links; and the other encoder does not run."""
    network, image = build(pair(name)).eval(), images(1, 48, 64)
    with torch.no_grad():
        on = network(image)
        with linked(network, False):
            off, parts = network(image), network.modules_for(["depth"])
        assert_equal(off, {task: alone(network, task, WITHOUT[task]).eval()(image)[task] for task in TASKS})
        assert not torch.equal(on["segmentation"], off["segmentation"])
        assert_equal(network(image), on)
    assert network.encoders["segmentation"] not in parts


def test_padnet_can_be_switched_off_too() -> None:
    tasks = {task: {"decoder": unet(stride=4)} for task in TASKS}
    network, image = build(config(tasks, links={"name": "padnet"})).eval(), images(1, 48, 64)
    with torch.no_grad():
        on = network(image, network.outputs)
        with linked(network, False):
            off = network(image, network.outputs)
            assert_equal(network(image, ["depth"]), {"depth": off["depth"]})
        for message in network.links.messages.values():
            torch.nn.init.zeros_(message.conv.weight)
        assert_equal(network(image, network.outputs), off)
    assert not torch.equal(on["segmentation"], off["segmentation"])


def test_start_step_and_what_is_measured() -> None:
    network, image = build(pair({"name": "plain", "start_step": 3})), images(1, 64, 96)
    links = network.links
    assert isinstance(links, EncoderLinks)
    assert links.on, "a saved network has its links"
    links.begin_step(2, measuring=True)
    network(image)
    assert not links.on
    assert all((v == 0) == name.endswith("share") for name, v in links.measured().items())
    links.begin_step(3, measuring=True)
    network(image)
    assert links.on
    found = links.measured()
    assert set(found) == {f"{name}.{kind}" for name in links.names for kind in ("norm", "share")}
    with torch.no_grad():
        maps = {task: network.encoders[task](image) for task in TASKS}
        conv = links.units["depth"]["3"].heard["segmentation"]
        share = conv(maps["segmentation"][3]).norm() / maps["depth"][3].norm()
    torch.testing.assert_close(found["segmentation_to_depth.3.share"], share)
    torch.testing.assert_close(
        found["segmentation_to_depth.3.norm"], (conv.weight.square().sum() + conv.bias.square().sum()).sqrt().detach()
    )
    links.begin_step(4)
    network(image)
    assert not links._shares, "nothing is computed where nobody looks"


@pytest.mark.parametrize(
    ("tasks", "links", "message"),
    [
        (
            {"segmentation": {}, "depth": {}},
            {"name": "zero_conv"},
            "reads the same encoder: give tasks.depth.encoder=own",
        ),
        (
            {"segmentation": {}, "depth": {"encoder": "own"}},
            {"name": "nddr", "direction": "depth_to_seg"},
            "links.direction is 'depth_to_seg', but there is: both, segmentation_to_depth, depth_to_segmentation",
        ),
        ({"segmentation": {}}, {"name": "plain"}, "joins decoders, and there is one"),
    ],
)
def test_settings_that_cannot_be(tasks: dict[str, Any], links: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(tasks, links=links)


@pytest.mark.parametrize(
    ("encoder", "decoder", "links", "message"),
    [
        (RESNET, unet(stride=4), {"name": "cross_stitch"}, r"it has \d+ channels and that of 'segmentation' \d+"),
        (TINY, {"name": "deeplabv3", "channels": 8}, {"name": "zero_conv"}, "links.deepest=true if all it reads"),
    ],
)
def test_pairs_that_cannot_be(encoder: Any, decoder: Any, links: dict[str, Any], message: str) -> None:
    branches = {
        "segmentation": {"decoder": unet(stride=4)},
        "depth": {"decoder": decoder, "encoder": encoder},
    }
    with pytest.raises(FathomError, match=message):
        config(branches, links=links).build(CLASSES)


def test_three_branches_hear_each_other() -> None:
    branch = {"decoder": unet(stride=4), "encoder": "own"}
    network = build(config({**dict.fromkeys((*TASKS, "normals"), branch)}, links={"name": "nddr"}))
    assert len(network.links.names) == 6 * 3
    assert network.links.encoder_senders(["normals"]) == {"segmentation", "depth"}
