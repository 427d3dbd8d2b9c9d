"""Light-Weight RefineNet: by hand, its counts as published, and one decoder shared by all tasks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fathomseg.config import validate
from fathomseg.errors import ConfigError, FathomError
from fathomseg.models.decoders import LwRefineNet
from fathomseg.models.decoders.lw_refinenet import ChainedPooling
from fathomseg.models.encoders import Encoder, Pyramid
from fathomseg.models.network import Network
from fathomseg.tasks.network import NetworkConfig
from tests.models.networks import TINY, build, config, images, running, unet

FIRST_BLOCK = 32 * 32 + 2 * 32
"""The published code expands in the first block too, by a factor of 1: a 1x1 convolution of 32 channels with its norm,
which MobileNet-v2 as in its paper (torchvision, timm) does not have."""

SEGMENTATION = {"decoder": {"name": "lw_refinenet"}, "head": "separable", "dropout": 0.0}
HEAD = {"decoder": "shared", "head": "separable"}
TASKS = {"segmentation": SEGMENTATION, "depth": {**HEAD, "output": "metric"}, "normals": HEAD}


def realtime(classes: int, *tasks: str) -> Network:
    encoder = {"model": "mobilenetv2_100", "pretrained": "none", "taps": "stages"}
    chosen = {"encoder": encoder, "tasks": {name: TASKS[name] for name in tasks}}
    return validate(NetworkConfig, chosen).build(classes).eval()


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("classes", "tasks", "millions"),
    [
        (40, ("segmentation", "depth"), 3.070),
        (6, ("segmentation", "depth"), 2.992),
        (40, ("segmentation", "depth", "normals"), 3.077),
    ],
)
def test_parameters_as_published(classes: int, tasks: tuple[str, ...], millions: float) -> None:
    network = realtime(classes, *tasks)
    assert count(network) + FIRST_BLOCK == pytest.approx(millions * 1e6, abs=500)
    assert count(network.encoders) + FIRST_BLOCK == pytest.approx(1.813e6, abs=500)


@pytest.mark.slow
def test_the_work_as_published() -> None:
    network = realtime(40, "segmentation", "depth")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images(1, 480, 640))
    first_block = 32 * 32 * 240 * 320
    channel_weights = (4 + 2) * 256 * 120 * 160  # four of the last chain, one of each head: products are not counted
    assert counter.get_total_flops() / 2 + first_block + channel_weights == pytest.approx(5.94e9, rel=0.001)


@pytest.mark.parametrize(("task", "outputs"), [("segmentation", 40), ("depth", 1), ("normals", 3)])
def test_what_a_task_costs(task: str, outputs: int) -> None:
    cost = 256 + 9 * 256 * outputs + outputs
    assert count(realtime(40, *TASKS).heads[task]) == cost


def test_stages_are_those_of_the_table() -> None:
    pyramid = realtime(40, "segmentation").encoders["shared"].pyramid
    assert pyramid.channels == (3, 16, 24, 32, 64, 96, 160, 320)
    assert pyramid.strides == (1, 2, 4, 8, 16, 16, 32, 32)


@pytest.mark.parametrize("model", ["mobilenetv2_100", "tf_efficientnet_lite0", "mobilenetv3_small_100"])
def test_stages_hold_the_maps_of_the_strides(model: str) -> None:
    settings = {"model": model, "pretrained": "none"}
    by_stride, by_stage = (
        validate(Encoder, {**settings, "taps": taps}).build().eval() for taps in ("strides", "stages")
    )
    by_stage.load_state_dict(by_stride.state_dict())
    with torch.no_grad():
        some, every = by_stride(images(1, 70, 90)), by_stage(images(1, 70, 90))
    assert [x.shape[1:2] + x.shape[2:] for x in every[1:]]
    found = [any(x.shape == y.shape and torch.equal(x, y) for y in every) for x in some]
    assert sum(found) >= 5, "all but a stem that is no stage"


def test_stages_can_be_dilated() -> None:
    settings = {"model": "mobilenetv2_100", "pretrained": "none", "taps": "stages", "output_stride": 16}
    assert validate(Encoder, settings).build().pyramid.strides == (1, 2, 4, 8, 16, 16, 16, 16)


def test_stages_of_another_family_are_refused() -> None:
    with pytest.raises(
        FathomError, match=r"taps=stages is for timm's EfficientNets .*'resnet18' is none: give taps=str"
    ):
        Encoder(model="resnet18", pretrained="none", taps="stages").build()


def test_chained_pooling_by_hand() -> None:
    chain = ChainedPooling(1, 2, depthwise=False)
    with torch.no_grad():
        chain.convs[0].weight.fill_(2.0)
        chain.convs[1].weight.fill_(-1.0)
    x = torch.tensor([[[[1.0, 0.0, 0.0, 0.0, 0.0, 3.0]]]])
    first = 2 * torch.tensor([[[[1.0, 1.0, 1.0, 3.0, 3.0, 3.0]]]])
    second = -torch.tensor([[[[2.0, 6.0, 6.0, 6.0, 6.0, 6.0]]]])
    assert torch.equal(chain(x), x + first + second)


def test_the_decoder_by_its_formula() -> None:
    torch.manual_seed(0)
    pyramid = Pyramid("invented", (3, 4, 5, 6, 7, 8), (1, 2, 4, 8, 16, 16))
    decoder = LwRefineNet(channels=8, pools=1).build(pyramid, "batch")
    for weights in decoder.parameters():
        nn.init.normal_(weights)
    maps = [torch.randn(1, c, 32 // s, 48 // s) for c, s in zip(pyramid.channels, pyramid.strides, strict=True)]

    def conv(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, layer.weight, groups=x.shape[1] // layer.weight.shape[1])

    def pooled(level: int, x: torch.Tensor) -> torch.Tensor:
        return x + conv(decoder.stages[level].pool.convs[0], F.max_pool2d(x, 5, 1, 2))

    def up(x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear")

    reduce, adapt = [stage.reduce for stage in decoder.stages], [stage.adapt for stage in decoder.stages]
    x = pooled(0, (conv(reduce[0][0], maps[4]) + conv(reduce[0][1], maps[5])).clamp(0, 6))
    x = pooled(1, (conv(reduce[1][0], maps[3]) + up(conv(adapt[1], x))).clamp(0, 6))
    x = pooled(2, (conv(reduce[2][0], maps[2]) + up(conv(adapt[2], x))).clamp(0, 6))
    torch.testing.assert_close(decoder(maps), x)
    assert [stage.pool.convs[0].weight.shape[1] for stage in decoder.stages] == [8, 8, 1]


def test_weights_begin_as_published() -> None:
    decoder = LwRefineNet().build(Pyramid("invented", (3, 64, 64), (1, 4, 8)), "batch")
    assert all(0.009 < weights.std() < 0.011 for weights in decoder.parameters())
    assert all(layer.bias is None for layer in decoder.modules() if isinstance(layer, nn.Conv2d))


def test_norms_follow_every_convolution_that_is_summed() -> None:
    pyramid = Pyramid("invented", (3, 6, 7), (1, 4, 8))
    plain, normed = (LwRefineNet(channels=8, norms=norms).build(pyramid, "batch").eval() for norms in (False, True))
    assert sum(p.numel() for p in normed.parameters()) == sum(p.numel() for p in plain.parameters()) + 3 * 2 * 8
    weights = {
        name.replace("reduce.0.0", "reduce.0").replace("adapt.0", "adapt"): value
        for name, value in normed.state_dict().items()
    }
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    for layer in normed.modules():
        if isinstance(layer, nn.BatchNorm2d):  # that multiplies by 2 and adds 1
            nn.init.constant_(layer.weight, 2 * (1 + layer.eps) ** 0.5)
            nn.init.constant_(layer.bias, 1.0)
    maps = [torch.randn(1, c, 32 // s, 48 // s) for c, s in zip(pyramid.channels, pyramid.strides, strict=True)]
    for layer in [stage.reduce[0] for stage in plain.stages] + [plain.stages[1].adapt]:
        layer.register_forward_hook(lambda _, __, x: 2 * x + 1)
    torch.testing.assert_close(normed(maps), plain(maps))


class TestSharing:
    CONFIG = config(
        {"segmentation": {"decoder": unet(stride=4)}, **{t: {"decoder": "shared"} for t in ("depth", "normals")}}
    )

    def test_a_shared_decoder_runs_once(self) -> None:
        network = build(self.CONFIG).eval()
        assert list(network.decoders) == ["segmentation"]
        assert network.tasks == ("segmentation", "depth", "normals")
        with running(network) as ran:
            network(images(1, 48, 64))
        assert ran.count("decoders.segmentation.blocks.4") == ran.count("encoders.shared") == 1
        with running(network) as ran:
            network(images(1, 48, 64), ["normals"])
        assert ran.count("decoders.segmentation.blocks.4") == 1
        assert not any(name.startswith(("heads.segmentation", "heads.depth")) for name in ran)

    def test_its_parameters_are_those_of_its_first_task(self) -> None:
        network = build(self.CONFIG)
        ids = {task: {id(p) for p in network.task_parameters(task)} for task in network.tasks}
        assert ids["depth"] == {id(p) for p in network.heads["depth"].parameters()}
        assert {id(p) for p in network.decoders.parameters()} < ids["segmentation"]
        assert network.decoder_of("normals") in network.modules_for(["normals"])
        assert set(network.modules_for(["normals"])) == {
            network.encoders["shared"], network.decoder_of("depth"), network.heads["normals"]
        }  # fmt: skip

    def test_it_predicts_what_a_network_of_that_task_alone_does(self) -> None:
        network = build(self.CONFIG).eval()
        alone = build(config({"normals": {"decoder": unet(stride=4)}}), seed=1).eval()
        names = {"decoders.normals": "decoders.segmentation"}
        state = network.state_dict()
        alone.load_state_dict(
            {name: state[name.replace("decoders.normals", names["decoders.normals"])] for name in alone.state_dict()}
        )
        x = images(2, 48, 64)
        with torch.no_grad():
            assert torch.equal(network(x, ["normals"])["normals"], alone(x)["normals"])

    def test_it_has_the_encoder_of_its_decoder(self) -> None:
        shared = config({"depth": {"decoder": unet(stride=2), "encoder": "own"}, "normals": {"decoder": "shared"}})
        network = build(shared)
        assert list(network.encoders) == ["depth"]
        assert network.encoder_of("normals") == "depth"
        assert not shared.has_shared_encoder

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"tasks": {"depth": {"decoder": "shared"}}}, "all tasks have decoder=shared: give the first of them"),
            (
                {"tasks": {"segmentation": {}, "depth": {"decoder": "shared", "encoder": "own"}}},
                "tasks.depth shares the decoder of another task, and with it that task's encoder",
            ),
            (
                {"tasks": {"segmentation": {}, "depth": {"decoder": "shared"}}, "links": {"name": "padnet"}},
                "links.name=padnet joins decoders, and there is one: give another task a decoder of its own",
            ),
            ({"tasks": {"depth": {"decoder": "nope"}}}, r"tasks.depth.decoder: must be .*'shared'.*given: 'nope'"),
            ({"tasks": {"depth": {"decoder": {"name": "nope"}}}}, "tasks.depth.decoder: .*no such name 'nope'"),
            ({"tasks": {"depth": {"decoder": {"name": "fpn", "chanels": 4}}}}, "decoder.chanels: .*'channels'"),
        ],
    )
    def test_mistakes(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            validate(NetworkConfig, {"encoder": TINY, **settings})
