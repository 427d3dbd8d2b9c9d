"""The depth network's contract, and carrying its weights over to a segmentation network."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from fathomseg.models.depth_network import DepthNetwork, DepthNetworkConfig
from pydantic import ValidationError
from torch import Tensor, nn

from fathomseg.errors import FathomError
from fathomseg.models.decoders import DepthUNet, Fpn
from fathomseg.models.encoders import Encoder
from fathomseg.models.init_from import TransferReport, transfer
from fathomseg.models.network import Network, NetworkConfig

NARROW = (4, 6, 8, 10, 12)
LITE = Encoder(pretrained="none")
CONFIGS = {
    "lite0": DepthNetworkConfig(encoder=LITE),
    "lite0-quarter": DepthNetworkConfig(encoder=LITE, decoder=DepthUNet(stride=4)),
    "resnet18-aspp-os16": DepthNetworkConfig(
        encoder=Encoder(model="resnet18", output_stride=16, pretrained="none"),
        decoder=DepthUNet(channels=NARROW, aspp=(6, 12, 18), norms=True),
    ),
    "mobilenet-half": DepthNetworkConfig(
        encoder=Encoder(model="mobilenetv2_100", pretrained="none"), decoder=DepthUNet(channels=NARROW, stride=2)
    ),
}


def build(config: DepthNetworkConfig, seed: int = 0) -> DepthNetwork:
    torch.manual_seed(seed)
    return config.build()


def images(batch: int, height: int, width: int, seed: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def config(request: pytest.FixtureRequest) -> DepthNetworkConfig:
    return request.param


class TestContract:
    @pytest.mark.parametrize("size", [(64, 96), (65, 47)])
    def test_shape_and_range(self, config: DepthNetworkConfig, size: tuple[int, int]) -> None:
        network = build(config).eval()
        disparities = network(images(2, *size))["disparity"]
        strides = [2**level for level in config.levels]
        assert strides[0] == network.stride
        assert [tuple(d.shape) for d in disparities] == [
            (2, 1, math.ceil(size[0] / s), math.ceil(size[1] / s)) for s in strides
        ]
        assert all(((d > 0) & (d < 1)).all() for d in disparities)

    def test_one_image_trains_and_reaches_every_parameter(self, config: DepthNetworkConfig) -> None:
        network = build(config).train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):  # ResNets start with scales of 0, which stop gradients for one step
                nn.init.ones_(module.weight)
        disparities = network(images(1, 64, 96))["disparity"]
        sum((d * torch.randn_like(d)).sum() for d in disparities).backward()
        untouched = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert untouched == []
        assert all(p.grad.isfinite().all() for p in network.parameters())

    def test_an_image_does_not_depend_on_its_batch(self, config: DepthNetworkConfig) -> None:
        network = with_contrast(build(config)).eval()
        batch = images(3, 64, 64)
        with torch.no_grad():
            together = network(batch)["disparity"][0]
            alone = torch.cat([network(image[None])["disparity"][0] for image in batch])
        torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)
        assert (together[0] - together[1]).abs().max() > 1e-3, "different images, different answers"

    def test_weights_travel(self, config: DepthNetworkConfig) -> None:
        network, other, image = build(config).eval(), build(config, seed=1).eval(), images(1, 64, 64)
        with torch.no_grad():
            assert not torch.equal(other(image)["disparity"][0], network(image)["disparity"][0])
            other.load_state_dict(network.state_dict())
            pairs = zip(other(image)["disparity"], network(image)["disparity"], strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)


def with_contrast(network: DepthNetwork) -> DepthNetwork:
    """Disparity starts nearly flat; comparisons need maps that tell images apart."""
    for head in network.heads["disparity"].scales.values():
        nn.init.normal_(head.conv.weight, std=0.1)
    return network


def test_same_seed_same_network() -> None:
    config = CONFIGS["resnet18-aspp-os16"]
    first, again, other = build(config), build(config), build(config, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert not torch.equal(first.decoder.blocks["0"].join[0].weight, other.decoder.blocks["0"].join[0].weight)


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
def test_scales(stride: int, scales: int | None, levels: tuple[int, ...]) -> None:
    config = DepthNetworkConfig(decoder=DepthUNet(stride=stride), scales=scales)
    assert tuple(config.levels) == tuple(levels)


def test_too_many_scales_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"4 scales from decoder.stride=4 on would end at 1/32 .* at most 3"):
        DepthNetworkConfig(decoder=DepthUNet(stride=4), scales=4)


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_norms_in_training(norm: str) -> None:
    decoder = DepthUNet(channels=NARROW, aspp=(6, 12, 18), norms=True, stride=4)
    network = build(DepthNetworkConfig(encoder=LITE, decoder=decoder, norm=norm)).train()
    before = {n: b.clone() for n, b in network.named_buffers() if "running" in n}
    sum(d.square().sum() for d in network(images(2, 64, 64))["disparity"]).backward()
    moved = any(not torch.equal(before[n], b) for n, b in network.named_buffers() if n in before)
    assert moved == (norm == "batch")
    kinds = {type(m) for m in network.decoder.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)}
    assert kinds == ({nn.GroupNorm} if norm == "group" else {nn.BatchNorm2d})


def test_encoder_parameters() -> None:
    network = build(CONFIGS["lite0-quarter"])
    names = {id(p): n for n, p in network.named_parameters()}
    assert {names[id(p)] for p in network.encoder_parameters()} == {
        n for n in names.values() if n.startswith("encoder.")
    }


@pytest.mark.slow
def test_exports() -> None:
    network = with_contrast(build(CONFIGS["lite0"])).eval()
    program = torch.export.export(network, (images(1, 64, 96),)).module()
    other = images(1, 64, 96, seed=2)
    with torch.no_grad():
        torch.testing.assert_close(program(other)["disparity"], network(other)["disparity"], rtol=1e-5, atol=1e-5)


def test_learns_a_slope_from_one_image() -> None:
    """Disparity that grows from top to bottom, as a road's does, on an image of noise."""
    network = build(DepthNetworkConfig(encoder=LITE)).train()
    image = images(1, 64, 64)
    wanted = torch.linspace(0.2, 0.8, 64).view(1, 1, 64, 1).expand(1, 1, 64, 64)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(14):
        error = (network(image)["disparity"][0] - wanted).abs().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    assert error.item() < 0.05, "a constant 0.5 has 0.15"


class TestTransfer:
    def networks(self, stride: int = 1, **settings: object) -> tuple[DepthNetwork, Network]:
        depth = build(DepthNetworkConfig(encoder=LITE, decoder=DepthUNet(channels=NARROW)))
        return depth, self.segmentation(DepthUNet(channels=NARROW, stride=stride, **settings))

    def segmentation(self, decoder: DepthUNet | Fpn, encoder: Encoder = LITE, seed: int = 1) -> Network:
        torch.manual_seed(seed)
        return NetworkConfig(encoder=encoder, decoder=decoder).build(5)

    def test_encoder_and_decoder_arrive_whole(self) -> None:
        depth, segmentation = self.networks()
        head = segmentation.heads["segmentation"][1].weight.clone()
        report = transfer(depth.state_dict(), segmentation, ("encoder", "decoder"))
        assert report.missing == report.unexpected == report.mismatched == ()
        assert set(report.loaded) == {n for n in segmentation.state_dict() if not n.startswith("heads.")}
        depth.eval(), segmentation.eval()
        image = images(1, 64, 64)
        pairs = zip(depth.encoder(image), segmentation.encoder(image), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert torch.equal(depth.decoder(depth.encoder(image)), segmentation.decoder(segmentation.encoder(image)))
        assert torch.equal(segmentation.heads["segmentation"][1].weight, head)

    def test_encoder_alone(self) -> None:
        depth, segmentation = self.networks()
        decoder = {n: t.clone() for n, t in segmentation.decoder.state_dict().items()}
        report = transfer(depth.state_dict(), segmentation)
        assert all(name.startswith("encoder.") for name in report.loaded)
        assert all(torch.equal(t, decoder[n]) for n, t in segmentation.decoder.state_dict().items())
        assert torch.equal(depth.encoder.net.conv_stem.weight, segmentation.encoder.net.conv_stem.weight)

    @pytest.mark.parametrize(("source", "target"), list(itertools.permutations([1, 4], 2)))
    def test_levels_one_side_lacks_are_listed(self, source: int, target: int) -> None:
        depth = build(DepthNetworkConfig(encoder=LITE, decoder=DepthUNet(channels=NARROW, stride=source)))
        segmentation = self.segmentation(DepthUNet(channels=NARROW, stride=target))
        report = transfer(depth.state_dict(), segmentation, ("encoder", "decoder"))
        fine = {
            f"decoder.blocks.{i}.{where}.0.{what}"
            for i, where, what in itertools.product((0, 1), ("reduce", "join"), ("weight", "bias"))
        }
        assert set(report.missing) == (fine if target == 1 else set())
        assert set(report.unexpected) == (fine if target == 4 else set())
        assert torch.equal(depth.decoder.blocks["2"].join[0].weight, segmentation.decoder.blocks["2"].join[0].weight)

    def test_listing(self) -> None:
        report = TransferReport(loaded=("a", "b"), missing=("c", "d", "e", "f", "g", "h"), unexpected=())
        assert str(report).splitlines() == [
            "2 tensors loaded: a, b",
            "6 tensors not in the source, left as they were: c, d, e, f ... h",
        ]

    def test_another_shape_is_refused_and_nothing_is_copied(self) -> None:
        depth, _ = self.networks()
        segmentation = self.segmentation(DepthUNet(channels=(4, 6, 8, 10, 13)))
        before = {n: t.clone() for n, t in segmentation.state_dict().items()}
        with pytest.raises(
            FathomError, match=r"decoder.blocks.4.reduce.0.weight is \[12, 320, 3, 3\].*\[13, 320, 3, 3\]"
        ):
            transfer(depth.state_dict(), segmentation, ("encoder", "decoder"))
        assert all(torch.equal(before[n], t) for n, t in segmentation.state_dict().items())

    def test_another_decoder_is_refused(self) -> None:
        depth, _ = self.networks()
        with pytest.raises(FathomError, match="Nothing of the decoder can be taken over"):
            transfer(depth.state_dict(), self.segmentation(Fpn(channels=8)), ("encoder", "decoder"))

    def test_nothing_at_all_is_refused(self) -> None:
        with pytest.raises(FathomError, match="Nothing of the encoder"):
            transfer({"weight": torch.zeros(1)}, self.segmentation(Fpn(channels=8)))

    def test_an_encoder_that_fits_in_part_is_refused(self) -> None:
        """Every tensor of ResNet-18 has its like in ResNet-34, which has others besides."""
        depth = build(DepthNetworkConfig(encoder=Encoder(model="resnet18", pretrained="none")))
        deeper = self.segmentation(Fpn(channels=8), Encoder(model="resnet34", pretrained="none"))
        with pytest.raises(FathomError, match="encoders are different models"):
            transfer(depth.state_dict(), deeper)
