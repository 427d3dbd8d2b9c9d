"""Decoders on invented pyramids: sizes for any input, what each level contributes, norms, and mistakes explained."""

import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fathomseg.errors import FathomError
from fathomseg.models.blocks import PooledContext, he_init, norm_layer, resize_to
from fathomseg.models.ddpm import Blocks
from fathomseg.models.decoders import (
    AnyDecoder,
    DdpmUNet,
    DeepLabV3,
    DeepLabV3Plus,
    DepthUNet,
    Dpt,
    Fpn,
    LwRefineNet,
    MAnet,
    SegFormer,
    UNet,
    UPerNet,
)
from fathomseg.models.decoders.base import DecoderPart
from fathomseg.models.decoders.deeplab import scaled_rates
from fathomseg.models.encoders import Pyramid

STRIDES = {32: (1, 2, 4, 8, 16, 32), 16: (1, 2, 4, 8, 16, 16), 8: (1, 2, 4, 8, 8, 8)}
SMALL: list[DecoderPart] = [
    Fpn(channels=8),
    Fpn(channels=8, separable=False),
    DeepLabV3Plus(channels=8, low_level=4),
    DeepLabV3Plus(channels=8, separable=True),
    DeepLabV3(channels=8),
    UNet(channels=(4, 4, 6, 8, 10)),
    UNet(channels=(4, 4, 6, 8, 10), stride=1),
    UNet(channels=(4, 4, 6, 8, 10), stride=4),
    DepthUNet(channels=(4, 4, 6, 8, 10), norms=True, aspp=(6, 12, 18)),
    DepthUNet(channels=(4, 4, 6, 8, 10), stride=4, aspp=(6, 12, 18)),
    Dpt(channels=8, norms=True),
    Dpt(channels=8, norms=True, stride=1),
    Dpt(channels=8, norms=True, stride=4, widths=(3, 4, 5, 6)),
    LwRefineNet(channels=8),
    LwRefineNet(channels=8, pools=1),
    LwRefineNet(channels=8, pools=1, norms=True),
    DdpmUNet(blocks=Blocks(kind="resnet", groups=1, heads=1, head_width=4)),
    DdpmUNet(finest_skip=False, blocks=Blocks(expansion=1, heads=2, head_width=2)),
    SegFormer(channels=8),
    UPerNet(channels=8),
    MAnet(channels=(4, 4, 6, 8, 10)),
    MAnet(channels=(4, 4, 6, 8, 10), stride=1),
    MAnet(channels=(4, 4, 6, 8, 10), stride=4),
]
PYRAMIDS = [part for part in SMALL if not isinstance(part, Dpt)]


def pyramid(output_stride: int = 32) -> Pyramid:
    return Pyramid("invented", (3, 4, 5, 6, 7, 8), STRIDES[output_stride])


def tokens(patch: int = 14) -> Pyramid:
    return Pyramid("invented_vit", (3, 8, 8, 8, 8), (1, patch, patch, patch, patch))


def read_by(part: DecoderPart, output_stride: int = 32) -> Pyramid:
    """What an encoder gives that fits the decoder; patches of 8, 14 or 16 pixels for the one of plain transformers."""
    return tokens({32: 16, 16: 14, 8: 8}[output_stride]) if isinstance(part, Dpt) else pyramid(output_stride)


def maps(of: Pyramid, height: int, width: int, batch: int = 2) -> list[Tensor]:
    return [
        torch.randn(batch, c, math.ceil(height / s), math.ceil(width / s))
        for c, s in zip(of.channels, of.strides, strict=True)
    ]


def test_every_decoder_is_tried_here() -> None:
    union = get_args(AnyDecoder)[0]
    assert {type(part) for part in SMALL} == set(get_args(union))
    names = [kind.model_fields["name"].default for kind in get_args(union)]
    assert len(set(names)) == len(names)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 131),
    width=st.integers(1, 131),
    output_stride=st.sampled_from([8, 16, 32]),
    part=st.sampled_from(SMALL),
)
def test_any_size_gives_the_documented_size(height: int, width: int, output_stride: int, part: DecoderPart) -> None:
    given_by = read_by(part, output_stride)
    decoder = part.build(given_by, "batch").eval()
    feature = decoder(maps(given_by, height, width))
    expected = (2, decoder.channels, math.ceil(height / decoder.stride), math.ceil(width / decoder.stride))
    assert feature.shape == expected
    assert feature.isfinite().all()


@pytest.mark.parametrize("part", SMALL, ids=str)
def test_levels_are_of_the_promised_width_and_size_and_end_with_the_answer(part: DecoderPart) -> None:
    given_by = read_by(part, 16)
    decoder, shown = part.build(given_by, "batch").eval(), maps(given_by, 61, 90)
    levels = decoder.levels(shown)
    assert torch.equal(levels[decoder.finest], decoder(shown))
    assert list(levels) == sorted(levels, reverse=True)
    assert list(levels)[-1] == decoder.finest
    for level, feature in levels.items():
        assert feature.shape == (2, decoder.width_at(level), math.ceil(61 / 2**level), math.ceil(90 / 2**level))
    assert [level for level in range(8) if decoder.width_at(level) is not None] == sorted(levels)
    for level, feature in levels.items():
        finer = decoder.levels_from(feature, level, shown)
        assert list(finer) == [other for other in levels if other < level]
        assert all(torch.equal(finer[other], levels[other]) for other in finer)


@pytest.mark.parametrize(
    ("part", "output_stride", "stride", "channels"),
    [
        (Fpn(), 32, 4, 128),
        (Fpn(), 8, 4, 128),
        (DeepLabV3Plus(), 16, 4, 256),
        (DeepLabV3(), 16, 16, 256),
        (DeepLabV3(), 8, 8, 256),
        (UNet(), 32, 2, 32),
        (UNet(stride=1, channels=(11, 12, 13, 14, 15)), 16, 1, 11),
        (UNet(stride=4), 32, 4, 64),
        (LwRefineNet(), 8, 4, 256),
        (SegFormer(), 32, 4, 256),
        (UPerNet(), 16, 4, 256),
        (MAnet(), 32, 2, 32),
        (MAnet(stride=4), 8, 4, 64),
        (MAnet(stride=1), 16, 1, 16),
        (Dpt(), 16, 2, 64),
        (Dpt(stride=1, channels=7), 16, 1, 7),
    ],
)
def test_defaults(part: DecoderPart, output_stride: int, stride: int, channels: int) -> None:
    decoder = part.build(read_by(part, output_stride), "batch")
    assert (decoder.stride, decoder.channels) == (stride, channels)


@pytest.mark.parametrize(
    ("part", "used"),
    [
        (Fpn(channels=8), [2, 3, 4, 5]),
        (DeepLabV3Plus(channels=8), [2, 5]),
        (DeepLabV3(channels=8), [5]),
        (UNet(stride=1), [0, 1, 2, 3, 4, 5]),
        (UNet(), [1, 2, 3, 4, 5]),
        (UNet(stride=4), [2, 3, 4, 5]),
        (LwRefineNet(), [2, 3, 4, 5]),
        (SegFormer(), [2, 3, 4, 5]),
        (UPerNet(), [2, 3, 4, 5]),
        (MAnet(), [1, 2, 3, 4, 5]),
        (MAnet(stride=4), [2, 3, 4, 5]),
        (Dpt(), [1, 2, 3, 4]),
    ],
)
def test_which_maps_are_used(part: DecoderPart, used: list[int]) -> None:
    given_maps = [m.requires_grad_() for m in maps(read_by(part), 96, 64)]
    part.build(read_by(part), "batch")(given_maps).square().sum().backward()
    assert [i for i, m in enumerate(given_maps) if m.grad is not None and m.grad.abs().sum() > 0] == used


@pytest.mark.parametrize("output_stride", [32, 16, 8])
@pytest.mark.parametrize("part", SMALL, ids=str)
def test_every_decoder_says_which_maps_it_reads(part: DecoderPart, output_stride: int) -> None:
    of = read_by(part, output_stride)
    decoder, given_maps = part.build(of, "batch"), [m.requires_grad_() for m in maps(of, 96, 64)]
    decoder(given_maps).square().sum().backward()
    assert decoder.inputs == tuple(i for i, m in enumerate(given_maps) if m.grad is not None and m.grad.abs().sum() > 0)


def test_dilated_encoders_give_fpn_their_deepest_map_of_each_stride() -> None:
    decoder = Fpn(channels=8).build(pyramid(8), "batch")
    assert decoder.inputs == (2, 5)


@pytest.mark.parametrize(("output_stride", "rates"), [(8, (12, 24, 36)), (16, (6, 12, 18)), (32, (3, 6, 9))])
def test_dilations_follow_the_output_stride(output_stride: int, rates: tuple[int, ...]) -> None:
    assert scaled_rates((6, 12, 18), pyramid(output_stride)) == rates
    decoder = DeepLabV3(channels=8).build(pyramid(output_stride), "batch")
    dilations = [m.dilation[0] for m in decoder.modules() if isinstance(m, nn.Conv2d) and m.dilation != (1, 1)]
    assert tuple(dilations) == rates


@pytest.mark.parametrize(
    "part", [part for part in PYRAMIDS if not isinstance(part, UNet | LwRefineNet | DdpmUNet | SegFormer)]
)
def test_every_position_sees_the_whole_image(part: DecoderPart) -> None:
    """The pooled branch: a change in one far corner moves the opposite one."""
    torch.manual_seed(0)
    decoder = part.build(pyramid(), "batch").eval()
    there = maps(pyramid(), 1024, 1024, batch=1)
    before = decoder(there)[0, :, -1, -1]
    there[-1] = there[-1].clone()
    there[-1][:, 0, 0, 0] += 100.0  # one channel: LayerNorm takes away what all have
    assert (decoder(there)[0, :, -1, -1] - before).abs().max() > 1e-5


def test_pooled_context_by_hand() -> None:
    context = PooledContext(2, 2)
    with torch.no_grad():
        context.conv.weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, 0.0]]).view(2, 2, 1, 1))
        context.conv.bias.copy_(torch.tensor([0.5, 1.0]))
    x = torch.tensor([[[1.0, 2.0, 6.0]], [[-1.0, 0.0, -2.0]]])[None]  # means 3 and -1
    assert context(x).tolist() == [[[[2.5, 2.5, 2.5]], [[0.0, 0.0, 0.0]]]]


def test_resize_by_hand() -> None:
    x = torch.tensor([[[[0.0, 4.0]]]])
    assert resize_to(x, torch.empty(1, 9, 1, 4)).tolist() == [[[[0.0, 1.0, 3.0, 4.0]]]]
    assert resize_to(x, torch.empty(1, 9, 1, 2)) is x


@pytest.mark.parametrize("groups", [1, 64])
def test_he_init_keeps_the_second_moment(groups: int) -> None:
    """E[relu(conv(x))^2] = E[x^2], for full and for depthwise convolutions (He et al. 2015, equation 10)."""
    torch.manual_seed(0)
    net = nn.Conv2d(64, 64, 3, groups=groups)
    he_init(net)
    x = torch.randn(8, 64, 32, 32)
    ratio = net(x).relu().square().mean() / x.square().mean()
    assert ratio.item() == pytest.approx(1.0, abs=0.15)
    assert net.bias.abs().sum() == 0


@pytest.mark.parametrize("part", [part for part in SMALL if not isinstance(part, LwRefineNet | DdpmUNet)])
def test_separable_and_norm_options_are_obeyed(part: DecoderPart) -> None:
    decoder = part.build(read_by(part), "group")
    kinds = [type(m) for m in decoder.modules()]
    assert nn.GroupNorm in kinds
    assert nn.BatchNorm2d not in kinds
    depthwise = [m for m in decoder.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert bool(depthwise) == getattr(part, "separable", False)


@pytest.mark.parametrize(("channels", "groups"), [(128, 32), (48, 16), (30, 2), (7, 1)])
def test_groups_divide_the_channels(channels: int, groups: int) -> None:
    assert norm_layer(channels, "group").num_groups == groups


@pytest.mark.parametrize("part", [Fpn(), DeepLabV3Plus(), UNet(), LwRefineNet(), SegFormer(), UPerNet(), MAnet()])
def test_a_plain_transformer_is_refused_and_dpt_named(part: DecoderPart) -> None:
    wanted = (
        f"{part.name!r} needs a feature map of stride [24], but encoder 'invented_vit' gives strides 14, 14, 14, 14"
    )
    with pytest.raises(FathomError, match=rf"{wanted}\. Choose network\.tasks\.TASK\.decoder\.name=dpt"):
        part.build(tokens(), "batch")


def test_unet_asks_for_a_width_per_level() -> None:
    with pytest.raises(FathomError, match=r"widths for strides 1 to 4, .* stride 16 to be joined. Give 5 widths"):
        UNet(channels=(8, 8, 8)).build(pyramid(), "batch")
