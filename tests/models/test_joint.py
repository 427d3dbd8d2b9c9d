"""The joint network: its exchange by hand, what it computes and what not, where it may start from, how it is saved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fathomseg.inference.depth_predictor import DepthPredictor, load_depth
from fathomseg.models.depth_network import DepthNetwork, DepthNetworkConfig
from fathomseg.models.joint import EXCHANGE, FROM_DEPTH, JointNetwork, JointNetworkConfig, Only, only
from fathomseg.models.pad import GatedMessage
from torch import Tensor, nn

from fathomseg.config import validate
from fathomseg.errors import ConfigError, FathomError
from fathomseg.inference.card import ModelCard, load_depth_model, load_model, save_model
from fathomseg.inference.predictor import Predictor, load
from fathomseg.models.decoders import DeepLabV3, DepthUNet, Fpn
from fathomseg.models.encoders import Encoder
from fathomseg.models.init_from import transfer
from fathomseg.models.network import Network, NetworkConfig
from tests.typecheck import unchecked

CLASSES = 5
NARROW = (4, 6, 8, 10, 12)
TINY = Encoder(model="test_efficientnet", pretrained="none")
ALL = ("segmentation", "intermediate", "disparity")
CONFIGS = {
    "full": JointNetworkConfig(encoder=TINY, decoder=DepthUNet(channels=NARROW)),
    "half, no exchange": JointNetworkConfig(
        encoder=TINY, decoder=DepthUNet(channels=NARROW, stride=2), distillation=False
    ),
    "quarter, lite0": JointNetworkConfig(
        encoder=Encoder(pretrained="none"), decoder=DepthUNet(channels=NARROW, stride=4), norm="group"
    ),
    "resnet18, ASPP, OS 16": JointNetworkConfig(
        encoder=Encoder(model="resnet18", output_stride=16, pretrained="none"),
        decoder=DepthUNet(channels=NARROW, aspp=(6, 12, 18), norms=True),
        scales=1,
    ),
    "fpn for classes": JointNetworkConfig(
        encoder=TINY, decoder=DepthUNet(channels=NARROW, stride=2), segmentation=Fpn(channels=8)
    ),
}
DISTILLED = [config for config in CONFIGS.values() if config.distillation]


def build(config: JointNetworkConfig, seed: int = 0) -> JointNetwork:
    """With heads that tell images apart, which start near zero."""
    torch.manual_seed(seed)
    network = config.build(CLASSES)
    for module in network.heads.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.1)
    for message in network.messages.values():
        nn.init.normal_(message.gate.weight, std=0.1)
    return network


def images(batch: int, height: int, width: int, seed: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def flat(outputs: dict[str, Tensor | list[Tensor]]) -> dict[str, Tensor]:
    return {
        name if index is None else f"{name}{index}": tensor
        for name, value in outputs.items()
        for index, tensor in (enumerate(value) if isinstance(value, list) else [(None, value)])
    }


def assert_equal(a: dict[str, Tensor | list[Tensor]], b: dict[str, Tensor | list[Tensor]]) -> None:
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a), [n for n in a if not torch.equal(a[n], b[n])]


@contextmanager
def running(network: nn.Module) -> Iterator[set[str]]:
    """The names of the modules that run."""
    ran: set[str] = set()
    handles = [
        module.register_forward_hook(lambda *_, name=name: ran.add(name)) for name, module in network.named_modules()
    ]
    yield ran
    for handle in handles:
        handle.remove()


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def config(request: pytest.FixtureRequest) -> JointNetworkConfig:
    return request.param


class TestContract:
    @pytest.mark.parametrize("size", [(64, 96), (65, 47)])
    def test_shape_and_range(self, config: JointNetworkConfig, size: tuple[int, int]) -> None:
        network = build(config).eval()
        found = network(images(2, *size), ALL)

        def shape(channels: int, stride: int) -> tuple[int, ...]:
            return 2, channels, math.ceil(size[0] / stride), math.ceil(size[1] / stride)

        assert found["segmentation"].shape == shape(CLASSES, network.stride)
        assert found["intermediate"].shape == shape(CLASSES, 4)
        levels = config.depth.levels
        assert levels[0] == math.log2(config.decoder.stride)
        assert [d.shape for d in found["disparity"]] == [shape(1, 2**level) for level in levels]
        assert all(((d > 0) & (d < 1)).all() for d in found["disparity"])

    def test_one_image_trains_and_reaches_every_parameter(self, config: JointNetworkConfig) -> None:
        network = build(config).train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):  # ResNets start with scales of 0, which stop gradients for one step
                nn.init.ones_(module.weight)
        found = flat(network(images(1, 64, 96)))
        sum((x * torch.randn_like(x)).sum() for x in found.values()).backward()
        reached = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert reached == {name for name, _ in network.named_parameters()}
        assert all(p.grad.isfinite().all() for p in network.parameters())

    def test_an_image_does_not_depend_on_its_batch(self, config: JointNetworkConfig) -> None:
        network, batch = build(config).eval(), images(3, 64, 64)
        with torch.no_grad():
            together = flat(network(batch, ALL))
            alone = [flat(network(image[None], ALL)) for image in batch]
        for name, maps in together.items():
            torch.testing.assert_close(torch.cat([one[name] for one in alone]), maps, rtol=1e-4, atol=1e-5)
            assert (maps[0] - maps[1]).abs().max() > 1e-3 * maps.abs().max(), "different images, different answers"

    def test_parts_of_the_answer_equal_the_whole(self, config: JointNetworkConfig) -> None:
        network, image = build(config).eval(), images(2, 48, 64)
        with torch.no_grad():
            whole = network(image, ALL)
            for name in ALL:
                assert_equal(network(image, (name,)), {name: whole[name]})
            assert_equal(network(image), {name: whole[name] for name in ("segmentation", "disparity")})

    def test_defaults_in_training(self, config: JointNetworkConfig) -> None:
        network = build(config).train()
        assert network(images(1, 48, 64)).keys() == set(ALL)
        plain = build(config.model_copy(update={"intermediate": False})).train()
        assert plain(images(1, 48, 64)).keys() == {"segmentation", "disparity"}


class TestExchange:
    def test_a_message_by_hand(self) -> None:
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

    @pytest.mark.parametrize("config", DISTILLED)
    def test_equals_the_formula(self, config: JointNetworkConfig) -> None:
        """F_s' = F_s + conv_a(F_d) sigmoid(conv_b(F_d)), and the same the other way with F_s as it was."""
        network, image = build(config).eval(), images(2, 64, 96)
        weights = dict(network.named_parameters())

        def message(sender: str, x: Tensor) -> Tensor:
            a, b = (F.conv2d(x, weights[f"messages.{sender}.{name}.weight"], padding=1) for name in ("conv", "gate"))
            return a / (1 + torch.exp(-b))

        with torch.no_grad():
            maps = network.encoder(image)
            halves = {"depth": network.decoders["depth"].levels(maps, EXCHANGE)}
            if config.segmentation is None:
                halves["segmentation"] = network.decoders["segmentation"].levels(maps, EXCHANGE)
            else:
                halves["segmentation"] = {EXCHANGE: network.decoders["segmentation"](maps)}
            f_s, f_d = halves["segmentation"][EXCHANGE], halves["depth"][EXCHANGE]
            s = {EXCHANGE: f_s + message("depth", f_d)}
            d = {**halves["depth"], EXCHANGE: f_d + message("segmentation", f_s)}
            if config.segmentation is None:
                s |= network.decoders["segmentation"].levels_from(s[EXCHANGE], EXCHANGE, maps)
            d |= network.decoders["depth"].levels_from(d[EXCHANGE], EXCHANGE, maps)
            finest = min(s)
            if min(d) < EXCHANGE:
                d[EXCHANGE] = f_d  # the map that is read at 1/4, unless the decoder ends there
            found = network(image, ALL)
            torch.testing.assert_close(found["segmentation"], network.heads["segmentation"](s[finest]))
            torch.testing.assert_close(found["intermediate"], network.heads["intermediate"](f_s))
            for level, disparity in zip(config.depth.levels, found["disparity"], strict=True):
                head = network.heads["disparity"].scales[str(level)]
                torch.testing.assert_close(disparity, head(d[level]))

    @pytest.mark.parametrize("stride", [1, 2, 4])
    def test_the_finest_disparity_hears_of_the_classes_and_coarse_ones_do_not(self, stride: int) -> None:
        network = build(JointNetworkConfig(encoder=TINY, decoder=DepthUNet(channels=NARROW, stride=stride))).eval()
        image = images(1, 48, 64)
        with torch.no_grad():
            before = network(image)["disparity"]
            nn.init.normal_(network.decoders["segmentation"].blocks["4"].join[0].bias)
            after = network(image)["disparity"]
        changed = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert changed == {1: [True, True, False, False], 2: [True, False, False], 4: [True, False]}[stride]

    def test_without_messages_it_is_two_networks_on_one_encoder(self) -> None:
        config = CONFIGS["full"]
        depth: DepthNetwork = config.depth.build()
        segmentation: Network = NetworkConfig(encoder=TINY, decoder=config.decoder).build(CLASSES)
        for silent in (False, True):
            joint = build(config.model_copy(update={"distillation": not silent}))
            joint.encoder.load_state_dict(depth.encoder.state_dict())
            segmentation.encoder.load_state_dict(depth.encoder.state_dict())
            joint.decoders["depth"].load_state_dict(depth.decoder.state_dict())
            joint.decoders["segmentation"].load_state_dict(segmentation.decoder.state_dict())
            joint.heads["disparity"].load_state_dict(depth.heads["disparity"].state_dict())
            joint.heads["segmentation"].load_state_dict(segmentation.heads["segmentation"].state_dict())
            for message in joint.messages.values():
                nn.init.zeros_(message.conv.weight)
            image = images(1, 48, 64)
            with torch.no_grad():
                found = joint.eval()(image)
                assert_equal(found, {**segmentation.eval()(image), **depth.eval()(image)})

    @pytest.mark.parametrize("distillation", [True, False])
    def test_gradients_cross_only_with_distillation(self, distillation: bool) -> None:
        network = build(CONFIGS["full"].model_copy(update={"distillation": distillation})).train()
        network(images(1, 48, 64))["segmentation"].square().sum().backward()
        reached = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        coarse = {
            n for n, _ in network.named_parameters() if n.startswith(tuple(f"decoders.depth.blocks.{i}" for i in "432"))
        }
        assert coarse
        assert {n for n in reached if n.startswith("decoders.depth")} == (coarse if distillation else set())
        assert any(n.startswith("messages.depth") for n in reached) == distillation
        assert not any(
            n.startswith(("heads.disparity", "heads.intermediate", "messages.segmentation")) for n in reached
        )


class TestNothingInVain:
    def ran(self, network: JointNetwork, *outputs: str) -> set[str]:
        """The blocks, messages and heads that run for these outputs."""
        with running(network) as names, torch.no_grad():
            network(images(1, 48, 64), outputs)
        shown = {".".join(name.split(".")[: 4 if name.startswith("decoders") else 2]) for name in names}
        return {n for n in shown if n.count(".") == (3 if n.startswith("decoders") else 1)} - {"encoder.net"}

    def blocks(self, task: str, levels: str) -> set[str]:
        return {f"decoders.{task}.blocks.{level}" for level in levels}

    def test_with_exchange(self) -> None:
        network, s, d = build(CONFIGS["full"]).eval(), "segmentation", "depth"
        assert self.ran(network, s) == (
            self.blocks(s, "43210") | self.blocks(d, "432") | {"messages.depth", "heads.segmentation"}
        )
        assert self.ran(network, "disparity") == (
            self.blocks(d, "43210") | self.blocks(s, "432") | {"messages.segmentation", "heads.disparity"}
        )
        assert self.ran(network, "intermediate") == self.blocks(s, "432") | {"heads.intermediate"}

    def test_without_exchange(self) -> None:
        network = build(CONFIGS["half, no exchange"]).eval()
        assert self.ran(network, "segmentation") == self.blocks("segmentation", "4321") | {"heads.segmentation"}
        assert self.ran(network, "disparity") == self.blocks("depth", "4321") | {"heads.disparity"}

    def test_the_encoder_runs_once(self) -> None:
        network, count = build(CONFIGS["full"]).eval(), []
        network.encoder.register_forward_hook(lambda *_: count.append(1))
        network(images(1, 48, 64), ALL)
        assert len(count) == 1

    def test_predictors_compute_their_own_output(self) -> None:
        network = build(CONFIGS["full"]).eval()
        card = card_of(CONFIGS["full"])
        image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
        with running(network) as ran:
            Predictor(network, card.class_list, (48, 64)).predict(image)
        assert "heads.segmentation" in ran
        assert not ran & {"heads.disparity", "decoders.depth.blocks.1", "messages.segmentation", "heads.intermediate"}
        with running(network) as ran:
            DepthPredictor(network, (48, 64), (0.1, 100.0)).predict(image)
        assert "heads.disparity" in ran
        assert not ran & {"heads.segmentation", "decoders.segmentation.blocks.1", "messages.depth"}

    def test_only_leaves_other_networks_as_they_are(self) -> None:
        network = nn.Conv2d(3, 1, 1)
        assert only(network, "disparity") is network
        joint = build(CONFIGS["full"])
        assert isinstance(only(joint, "disparity"), Only)
        joint.eval(), only(joint, "disparity").train()
        assert joint.training


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_norms_in_training(norm: str) -> None:
    decoder = DepthUNet(channels=NARROW, aspp=(6, 12, 18), norms=True, stride=4)
    network = build(JointNetworkConfig(encoder=TINY, decoder=decoder, norm=norm)).train()
    before = {n: b.clone() for n, b in network.named_buffers() if "running" in n}
    network(images(2, 64, 64))
    moved = any(not torch.equal(before[n], b) for n, b in network.named_buffers() if n in before)
    assert moved == (norm == "batch")
    kinds = {type(m) for m in network.decoders.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)}
    assert kinds == ({nn.GroupNorm} if norm == "group" else {nn.BatchNorm2d})


def test_first_loss_is_that_of_chance() -> None:
    torch.manual_seed(0)
    network = CONFIGS["full"].build(CLASSES).eval()
    found = network(images(2, 48, 64), ALL)
    for name in ("segmentation", "intermediate"):
        assert found[name].softmax(1).max() < 1.5 / CLASSES
    assert all((d - 0.2).abs().max() < 0.15 for d in found["disparity"])


def test_same_seed_same_network() -> None:
    first, again, other = (build(CONFIGS["full"], seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    name = "decoders.segmentation.blocks.0.join.0.weight"
    assert not torch.equal(first[name], other[name])
    assert not torch.equal(first[name], first[name.replace("segmentation", "depth")])


def test_encoder_parameters() -> None:
    network = build(CONFIGS["full"])
    names = {id(p): n for n, p in network.named_parameters()}
    encoder = {names[id(p)] for p in network.encoder_parameters()}
    assert encoder == {n for n in names.values() if n.startswith("encoder.")}


def test_wrong_settings_are_told() -> None:
    settings = {"decoder": {"stride": 4}, "scales": 4}
    with pytest.raises(ConfigError, match=r"4 scales from decoder.stride=4 on would end at 1/32") as caught:
        validate(JointNetworkConfig, settings)
    assert "DepthNetworkConfig" not in str(caught.value)
    with pytest.raises(ConfigError, match="did you mean 'distillation'"):
        validate(JointNetworkConfig, {"distilation": True})
    with pytest.raises(FathomError, match=r"meet at 1/4 of .* network.segmentation answers at 1/32.* \(fpn, "):
        JointNetworkConfig(encoder=TINY, segmentation=DeepLabV3(channels=8)).build(CLASSES)


@pytest.mark.slow
def test_size_of_the_published_network() -> None:
    """ResNet-101 at output stride 16: 42.5 M in the encoder, 44.7 M beside it (19 classes)."""
    config = JointNetworkConfig(
        encoder=Encoder(model="resnet101", output_stride=16, pretrained="none"),
        decoder=DepthUNet(channels=(64, 128, 128, 256, 256), aspp=(6, 12, 18)),
        dropout=0.0,
    )
    with torch.device("meta"):
        network = config.build(19)
    encoder = sum(p.numel() for p in network.encoder_parameters())
    rest = sum(p.numel() for p in network.parameters()) - encoder
    assert (round(encoder / 1e6, 1), round(rest / 1e6, 1)) == (42.5, 44.7)
    assert sum(p.numel() for p in network.decoders["depth"].parameters()) == pytest.approx(22.1e6, rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("output", ["segmentation", "disparity"])
def test_exports(output: str) -> None:
    """As a function of the image alone, at every batch and size (of whole cells of the encoder's deepest map)."""
    network = only(build(CONFIGS["full"]).eval(), output)
    height, width = (32 * torch.export.Dim(name, min=2, max=64) for name in ("rows", "columns"))
    free = {0: torch.export.Dim("batch"), 2: height, 3: width}
    with unchecked():  # symbolic sizes are no ints
        program = torch.export.export(network, (images(2, 64, 96),), dynamic_shapes=(free,)).module()
    for shape in ((2, 64, 96), (3, 96, 64)):
        with torch.no_grad():
            found, expected = program(images(*shape, seed=2)), network(images(*shape, seed=2))
        torch.testing.assert_close(flat(found), flat(expected), rtol=1e-5, atol=1e-5)


def test_learns_both_tasks_from_one_image() -> None:
    """Classes in columns and disparity that falls from top to bottom, on an image of noise."""
    torch.manual_seed(0)
    network = JointNetworkConfig(encoder=TINY, decoder=DepthUNet(stride=4), dropout=0, norm="frozen").build(4).train()
    image = images(1, 64, 64)
    label = (torch.arange(16) // 4).expand(1, 16, 16)
    wanted = torch.linspace(0.8, 0.2, 16).view(1, 1, 16, 1).expand(1, 1, 16, 16)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(30):
        found = network(image)
        error = (found["disparity"][0] - wanted).abs().mean()
        loss = sum(F.cross_entropy(found[name], label) for name in ("segmentation", "intermediate")) + 5 * error
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert error.item() < 0.05, "a constant 0.5 has 0.16"
    assert (found["segmentation"].argmax(1) == label).float().mean() > 0.95
    assert (found["intermediate"].argmax(1) == label).float().mean() > 0.95


class TestTransfer:
    def depth(self, **settings: object) -> DepthNetwork:
        torch.manual_seed(3)
        return DepthNetworkConfig(encoder=TINY, decoder=DepthUNet(channels=NARROW, **settings)).build()

    def test_one_decoder_starts_both(self) -> None:
        depth, joint = self.depth(), build(CONFIGS["full"])
        head = joint.heads["segmentation"][1].weight.clone()
        report = transfer(depth.state_dict(), joint, FROM_DEPTH)
        assert report.missing == report.unexpected == report.mismatched == ()
        untouched = ("heads.segmentation", "heads.intermediate", "messages")
        assert set(report.loaded) == {n for n in joint.state_dict() if not n.startswith(untouched)}
        for task in ("depth", "segmentation"):
            state = joint.decoders[task].state_dict()
            assert all(torch.equal(tensor, state[name]) for name, tensor in depth.decoder.state_dict().items())
        assert torch.equal(joint.heads["segmentation"][1].weight, head)

    def test_it_predicts_the_same_disparity_until_the_exchange(self) -> None:
        depth, joint, image = self.depth().eval(), build(CONFIGS["full"]).eval(), images(1, 48, 64)
        transfer(depth.state_dict(), joint, FROM_DEPTH)
        with torch.no_grad():
            ours, theirs = joint(image)["disparity"], depth(image)["disparity"]
        assert [torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)] == [False, False, True, True]

    def test_some_parts_only(self) -> None:
        depth, joint = self.depth(), build(CONFIGS["full"])
        before = {n: t.clone() for n, t in joint.state_dict().items()}
        parts = {"encoder": "encoder", "decoders.segmentation": "decoder"}
        transfer(depth.state_dict(), joint, parts)
        changed = {n for n, t in joint.state_dict().items() if not torch.equal(before[n], t)}
        assert changed
        assert all(n.startswith(("encoder.", "decoders.segmentation.")) for n in changed)

    def test_a_decoder_of_another_kind_is_left_out(self) -> None:
        depth, joint = self.depth(), build(CONFIGS["fpn for classes"])
        before = {n: t.clone() for n, t in joint.state_dict().items()}
        assert joint.from_depth == {k: v for k, v in FROM_DEPTH.items() if k != "decoders.segmentation"}
        transfer(depth.state_dict(), joint, joint.from_depth)
        changed = {n for n, t in joint.state_dict().items() if not torch.equal(before[n], t)}
        assert {n.split(".")[0] for n in changed} == {"encoder", "decoders", "heads"}
        assert not any(n.startswith(("decoders.segmentation", "heads.segmentation")) for n in changed)
        assert build(CONFIGS["full"]).from_depth == FROM_DEPTH

    def test_levels_one_side_lacks_are_listed(self) -> None:
        quarter = build(JointNetworkConfig(encoder=TINY, decoder=DepthUNet(channels=NARROW, stride=4)))
        report = transfer(self.depth().state_dict(), quarter, FROM_DEPTH)
        fine = [n for n in report.unexpected if n.startswith("decoders.")]
        assert len(fine) == 16, "2 decoders, 2 levels, 2 convolutions, weight and bias"
        assert "decoders.segmentation.blocks.1.join.0.weight" in fine
        assert set(report.unexpected) - set(fine) == {
            f"heads.disparity.scales.{i}.conv.{what}" for i in (0, 1) for what in ("weight", "bias")
        }
        report = transfer(self.depth(stride=4).state_dict(), build(CONFIGS["full"]), FROM_DEPTH)
        assert len(report.missing) == 20
        assert report.unexpected == ()

    def test_another_shape_is_refused_and_nothing_is_copied(self) -> None:
        joint = build(JointNetworkConfig(encoder=TINY, decoder=DepthUNet(channels=(4, 6, 8, 10, 13))))
        before = {n: t.clone() for n, t in joint.state_dict().items()}
        with pytest.raises(FathomError, match=r"decoders.segmentation.blocks.4.reduce.0.weight is \[12, .*\[13, "):
            transfer(self.depth().state_dict(), joint, FROM_DEPTH)
        assert all(torch.equal(before[n], t) for n, t in joint.state_dict().items())

    def test_a_source_without_the_part_is_refused(self) -> None:
        segmentation = NetworkConfig(encoder=TINY, decoder=DepthUNet(channels=NARROW)).build(CLASSES)
        with pytest.raises(FathomError, match=r"Nothing of the heads.disparity .*heads.disparity.\* is in both"):
            transfer(segmentation.state_dict(), build(CONFIGS["full"]), FROM_DEPTH)
        with pytest.raises(FathomError, match=r"decoders.depth.\* there and decoder.\* here"):
            transfer(build(CONFIGS["full"]).state_dict(), build(CONFIGS["full"]), {"decoders.depth": "decoder"})

    def test_back_to_a_single_network(self) -> None:
        joint = build(CONFIGS["full"])
        depth = self.depth()
        parts = {"encoder": "encoder", "decoder": "decoders.depth", "heads.disparity": "heads.disparity"}
        report = transfer(joint.state_dict(), depth, parts)
        assert set(report.loaded) == set(depth.state_dict())


def card_of(config: JointNetworkConfig, **settings: object) -> ModelCard:
    names = tuple("abcde")
    given = {"classes": names, "colours": tuple((i, i, i) for i in range(5)), "depth_range": (0.1, 100.0), **settings}
    return ModelCard(network=config, size=(48, 64), **given)


class TestSaved:
    def test_a_saved_network_gives_classes_and_depth(self, tmp_path: Path) -> None:
        network, card = build(CONFIGS["full"]).eval(), card_of(CONFIGS["full"])
        save_model(tmp_path, card, network.state_dict())
        image = images(1, 48, 64)
        for loader in (load_model, load_depth_model):
            read, loaded = loader(tmp_path)
            assert read == card
            assert isinstance(loaded, JointNetwork)
            assert not loaded.training
            with torch.no_grad():
                assert_equal(loaded(image, ALL), network(image, ALL))
        picture = (image[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        prediction, depth = (
            load(tmp_path, device="cpu").predict(picture),
            load_depth(tmp_path, device="cpu").predict(picture),
        )
        with torch.no_grad():
            expected = network(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255)
        confidence, label = expected["segmentation"].softmax(1).max(1)
        assert (prediction.label == label[0].numpy()).mean() > 0.999
        np.testing.assert_allclose(prediction.confidence, confidence[0], atol=1e-4)
        np.testing.assert_allclose(depth.disparity, expected["disparity"][0][0, 0], atol=1e-4)

    def test_a_card_says_all_or_is_refused(self) -> None:
        config = CONFIGS["full"]
        assert card_of(config).segments
        with pytest.raises(ValueError, match="needs its depth_range"):
            card_of(config, depth_range=None)
        with pytest.raises(ValueError, match="class"):
            card_of(config, classes=(), colours=())

    def test_other_networks_are_still_told_apart(self, tmp_path: Path) -> None:
        depth = DepthNetworkConfig(encoder=TINY, decoder=DepthUNet(channels=NARROW))
        save_model(tmp_path, ModelCard(network=depth, size=(48, 64), depth_range=(1, 2)), depth.build().state_dict())
        with pytest.raises(FathomError, match="knows no classes"):
            load_model(tmp_path)
