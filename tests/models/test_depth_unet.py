"""The depth decoder: the paper's size and cost, its levels, reflection padding, and how it runs in two halves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fathomseg.errors import FathomError
from fathomseg.models.decoders.depth_unet import DepthUNet, DepthUNetDecoder, ReflectConv2d, enlarge
from fathomseg.models.encoders import Encoder, Pyramid
from fathomseg.models.network import Network
from fathomseg.tasks.network import NetworkConfig

CHANNELS = (4, 5, 6, 7, 8)
STRIDES = {32: (1, 2, 4, 8, 16, 32), 16: (1, 2, 4, 8, 16, 16), 8: (1, 2, 4, 8, 8, 8)}
HOYER = DepthUNet(channels=(64, 128, 128, 256, 256), aspp=(6, 12, 18))


def pyramid(output_stride: int = 32) -> Pyramid:
    return Pyramid("invented", (3, 10, 11, 12, 13, 14), STRIDES[output_stride])


def maps(of: Pyramid, height: int, width: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, c, math.ceil(height / s), math.ceil(width / s), generator=generator)
        for c, s in zip(of.channels, of.strides, strict=True)
    ]


def build(output_stride: int = 32, **settings: object) -> DepthUNetDecoder:
    torch.manual_seed(0)
    return DepthUNet(channels=CHANNELS, **settings).build(pyramid(output_stride), "batch").eval()


class TestHoyerSetting:
    """ResNet-101 at output stride 16 against what was measured on the authors' network, at 512 x 512, batch 2."""

    @pytest.fixture
    def network(self) -> Network:
        encoder = Encoder(model="resnet101", output_stride=16, pretrained="none")
        with torch.device("meta"):
            return NetworkConfig(encoder=encoder, tasks={"depth": {"decoder": HOYER}}).build().eval()

    def test_parameters(self, network: Network) -> None:
        count = sum(p.numel() for module in (network.decoders, network.heads) for p in module.parameters())
        assert count == pytest.approx(22.1e6, rel=0.01)

    def test_multiply_adds(self, network: Network) -> None:
        image = torch.empty(2, 3, 512, 512, device="meta")
        with torch.no_grad(), FlopCounterMode(display=False) as encoding:
            network.encoders["shared"](image)
        with torch.no_grad(), FlopCounterMode(display=False) as everything:
            network(image)
        assert encoding.get_total_flops() / 2e9 == pytest.approx(103.6, rel=0.03)
        assert (everything.get_total_flops() - encoding.get_total_flops()) / 2e9 == pytest.approx(132.7, rel=0.03)

    def test_half_the_cost_lies_above_a_quarter_of_the_size(self, network: Network) -> None:
        features = network.encoders["shared"](torch.empty(2, 3, 512, 512, device="meta"))
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.decoders["depth"].levels(features, down_to=2)
        assert counter.get_total_flops() / 2e9 == pytest.approx(69.4, rel=0.03)

    def test_channels_by_hand(self, network: Network) -> None:
        convolutions = {
            name: (m.in_channels, m.out_channels)
            for name, m in network.decoders["depth"].named_modules()
            if isinstance(m, ReflectConv2d)
        }
        assert convolutions == {
            "blocks.4.join.0": (1280, 256),
            "blocks.3.reduce.0": (256, 256),
            "blocks.3.join.0": (768, 256),
            "blocks.2.reduce.0": (256, 128),
            "blocks.2.join.0": (384, 128),
            "blocks.1.reduce.0": (128, 128),
            "blocks.1.join.0": (192, 128),
            "blocks.0.reduce.0": (128, 64),
            "blocks.0.join.0": (64, 64),
        }


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("size", [(64, 96), (65, 47), (1, 1), (2, 33)])
def test_size_and_width_of_every_level(output_stride: int, size: tuple[int, int]) -> None:
    decoder = build(output_stride)
    levels = decoder.levels(maps(pyramid(output_stride), *size))
    assert list(levels) == [4, 3, 2, 1, 0]
    for level, feature in levels.items():
        stride = min(2**level, output_stride)
        assert feature.shape == (2, CHANNELS[level], math.ceil(size[0] / stride), math.ceil(size[1] / stride))
    assert torch.equal(decoder(maps(pyramid(output_stride), *size)), levels[0])


def test_each_level_joins_its_own_map_and_all_coarser_ones() -> None:
    given = [m.requires_grad_() for m in maps(pyramid(), 64, 64)]
    for level, feature in build().levels(given).items():
        grads = torch.autograd.grad(feature.square().sum(), given, allow_unused=True, retain_graph=True)
        used = [i for i, g in enumerate(grads) if g is not None and g.abs().sum() > 0]
        assert used == [i for i in range(6) if i >= max(level, 1)], level


@pytest.mark.parametrize("settings", [{}, {"norms": True}, {"aspp": (1, 2, 3)}])
def test_a_coarser_answer_is_the_same_decoder_cut_short(settings: dict[str, object]) -> None:
    """What transfer and the joint network rely on: equal names, equal weights, equal maps."""
    full, short = build(**settings), build(stride=4, **settings)
    state = full.state_dict()
    assert set(short.state_dict()) == {n for n in state if not n.startswith(("blocks.1.", "blocks.0."))}
    short.load_state_dict({name: state[name] for name in short.state_dict()})
    given = maps(pyramid(), 50, 70)
    assert torch.equal(short(given), full.levels(given)[2])
    assert (short.channels, short.stride, full.channels, full.stride) == (6, 4, 4, 1)


@pytest.mark.parametrize("split", [4, 3, 2, 1, 0])
def test_two_halves_make_a_whole(split: int) -> None:
    decoder, given = build(16), maps(pyramid(16), 45, 64)
    first = decoder.levels(given, down_to=split)
    second = decoder.levels_from(first[split], split, given)
    whole = decoder.levels(given)
    assert list(first) + list(second) == list(whole)
    assert all(torch.equal((first | second)[level], feature) for level, feature in whole.items())


def test_what_happens_between_the_halves_reaches_the_answer() -> None:
    decoder, given = build(), maps(pyramid(), 64, 64)
    middle = decoder.levels(given, down_to=2)[2]
    changed = decoder.levels_from(middle + torch.randn_like(middle), 2, given)[0]
    assert (changed - decoder(given)).abs().max() > 1e-3


def test_level_by_hand() -> None:
    """2x2 to 4x4: every convolution passes its centre through, the join adds the encoder's map to the enlarged one."""
    decoder = DepthUNet(channels=(1, 1, 1, 1, 1)).build(Pyramid("ones", (3, 1, 1, 1, 1, 1), STRIDES[32]), "batch")
    level = decoder.blocks["3"]
    with torch.no_grad():
        for convolution in (level.reduce[0], level.join[0]):
            convolution.weight.zero_()[:, :, 1, 1] = 1.0
            convolution.bias.fill_(-1.0)
    coarse = torch.tensor([[[[2.0, 3.0], [4.0, 1.0]]]])
    fine = torch.arange(16.0).view(1, 1, 4, 4)
    reduced = torch.tensor([[1.0, 1, 2, 2], [1, 1, 2, 2], [3, 3, 0, 0], [3, 3, 0, 0]])
    torch.testing.assert_close(level(coarse, fine)[0, 0], nn.functional.elu(reduced + fine[0, 0] - 1))


@pytest.mark.parametrize("size", [(4, 6), (1, 5), (1, 1)])
def test_constant_maps_stay_constant_up_to_the_border(size: tuple[int, int]) -> None:
    convolution = ReflectConv2d(3, 2)
    answer = convolution(torch.randn(1, 3, 1, 1).expand(1, 3, *size))
    torch.testing.assert_close(answer, answer[..., :1, :1].expand_as(answer), rtol=0, atol=1e-6)
    assert answer.abs().min() > 1e-6


def test_decoder_of_a_constant_image_is_constant() -> None:
    given = [m[..., :1, :1].expand_as(m) for m in maps(pyramid(), 64, 96)]
    feature = build()(given)
    torch.testing.assert_close(feature, feature[..., :1, :1].expand_as(feature), rtol=0, atol=1e-4)
    assert feature[0].std(dim=0).min() > 1e-2, "channels differ: the map is not just zero"


def test_reflection_by_hand() -> None:
    convolution = ReflectConv2d(1, 1, bias=False)
    with torch.no_grad():
        convolution.weight.fill_(1.0)
    # Rows 0 1 2 continued to 1 0 1 2 1; all columns alike: three times 1+0+1, 0+1+2, 1+2+1.
    rows = torch.tensor([0.0, 1, 2]).view(1, 1, 3, 1).expand(1, 1, 3, 4)
    assert convolution(rows)[0, 0].tolist() == [[6.0] * 4, [9.0] * 4, [12.0] * 4]


@pytest.mark.parametrize(("small", "large"), [(3, 6), (3, 5), (17, 33), (1, 1), (64, 128), (3, 7)])
def test_enlarging_repeats_every_cell_twice(small: int, large: int) -> None:
    x = torch.arange(float(small)).view(1, 1, 1, -1)
    expected = [min(i // 2, small - 1) for i in range(large)]
    if (small, large) == (3, 7):  # an encoder that rounds down: spread evenly
        expected = [0, 0, 0, 1, 1, 2, 2]
    assert enlarge(x, (1, large))[0, 0, 0].tolist() == expected


def test_norms_replace_biases() -> None:
    plain, normed = build(), build(norms=True)
    for decoder, norms in ((plain, False), (normed, True)):
        convolutions = [m for m in decoder.modules() if isinstance(m, ReflectConv2d)]
        assert len(convolutions) == 10
        assert all((c.bias is None) == norms for c in convolutions)
        assert sum(isinstance(m, nn.BatchNorm2d) for m in decoder.modules()) == (10 if norms else 0)


def test_aspp_dropout_in_training_only() -> None:
    decoder, given = build(aspp=(6, 12, 18), aspp_dropout=0.5), maps(pyramid(), 64, 64)
    assert torch.equal(decoder(given), decoder(given))
    decoder.train()
    assert not torch.equal(decoder(given), decoder(given))
    dilations = [m.dilation[0] for m in decoder.modules() if isinstance(m, nn.Conv2d) and m.dilation != (1, 1)]
    assert dilations == [3, 6, 9], "halved at output stride 32"


def test_encoders_without_a_stride_2_map() -> None:
    """ConvNeXt, Swin: levels 1 and 0 are enlarged without a map to join."""
    four = Pyramid("four maps", (3, 11, 12, 13, 14), (1, 4, 8, 16, 32))
    decoder = DepthUNet(channels=CHANNELS).build(four, "batch")
    assert decoder.skips == {4: 3, 3: 2, 2: 1, 1: None, 0: None}
    sizes = {level: tuple(m.shape[2:]) for level, m in decoder.levels(maps(four, 65, 98)).items()}
    assert sizes == {4: (5, 7), 3: (9, 13), 2: (17, 25), 1: (33, 49), 0: (65, 98)}


def test_a_plain_vit_is_refused() -> None:
    vit = Pyramid("vit_small", (3, 384, 384, 384), (1, 14, 14, 14))
    with pytest.raises(FathomError, match=r"needs strides 4, 8, 16 and 32 .* 'vit_small' gives strides 14, 14, 14"):
        DepthUNet().build(vit, "batch")
