"""The decoder of plain transformers: parameters and shapes by the paper, alignment, and how it begins."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fathomseg.errors import FathomError
from fathomseg.models.decoders import Dpt
from fathomseg.models.decoders.dpt import DptDecoder, Fusion, Residual, reassemble
from fathomseg.models.encoders import Encoder, Pyramid
from fathomseg.tasks.network import NetworkConfig


def vit(channels: int = 16, patch: int = 16) -> Pyramid:
    return Pyramid("invented_vit", (3, *(channels,) * 4), (1, *(patch,) * 4))


def build(part: Dpt, of: Pyramid, seed: int = 0) -> DptDecoder:
    torch.manual_seed(seed)
    return part.build(of, "batch").eval()


def maps(of: Pyramid, height: int, width: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(1, c, -(-height // s), -(-width // s), generator=generator)
        for c, s in zip(of.channels, of.strides, strict=True)
    ]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def by_the_paper(d: int, c: int, w: tuple[int, int, int, int]) -> int:
    """Parameters counted layer by layer: reassemble (equation 6), 3x3 to `c`, seven residual units, 1x1, last 3x3."""
    reassembled = sum(d * x + x for x in w)
    resampled = 16 * w[0] ** 2 + w[0] + 4 * w[1] ** 2 + w[1] + 9 * w[3] ** 2 + w[3]
    narrowed = 9 * c * sum(w)
    units = 7 * 2 * (9 * c * c + c)
    projected = 4 * (c * c + c)
    return reassembled + resampled + narrowed + units + projected + 9 * c * c + c


@pytest.mark.parametrize(
    ("d", "part", "widths"),
    [
        (384, Dpt(), (48, 96, 192, 384)),
        (768, Dpt(channels=128), (96, 192, 384, 768)),
        (1024, Dpt(channels=256, widths=(256, 512, 1024, 1024)), (256, 512, 1024, 1024)),
    ],
)
def test_parameters_are_those_of_the_formula(d: int, part: Dpt, widths: tuple[int, int, int, int]) -> None:
    with torch.device("meta"):
        decoder = part.build(vit(d, 14), "batch")
    assert parameters(decoder) == by_the_paper(d, part.channels, widths)


@pytest.mark.parametrize(
    ("model", "channels", "published"),
    [("vit_small_patch14_dinov2", 64, 24.8e6), ("vit_base_patch14_dinov2", 128, 97.5e6)],
)
def test_networks_are_as_large_as_published(model: str, channels: int, published: float) -> None:
    """UniMatch V2 counts 24.8 and 97.5 M, with a residual unit of the deepest fusion that has nothing to join."""
    with torch.device("meta"):
        encoder = Encoder(model=model, pretrained="none")
        network = NetworkConfig(encoder=encoder, tasks={"segmentation": {"decoder": Dpt(channels=channels)}}).build(19)
        unused = parameters(Residual(channels, None))
    assert parameters(network) + unused == pytest.approx(published, abs=0.05e6)


@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (5, 1), (7, 4)])
def test_reassembled_maps_have_the_sizes_of_the_paper(rows: int, columns: int) -> None:
    """Strides 4, 8, 16, 32 for patches of 16 pixels."""
    shapes = [tuple(reassemble(8, 5, level)(torch.rand(1, 8, rows, columns)).shape) for level in range(4)]
    half = (-(-rows // 2), -(-columns // 2))
    assert shapes == [
        (1, 5, 4 * rows, 4 * columns),
        (1, 5, 2 * rows, 2 * columns),
        (1, 5, rows, columns),
        (1, 5, *half),
    ]


@pytest.mark.parametrize("norm", [None, "batch"])
def test_a_residual_unit_by_an_oracle(norm: str | None) -> None:
    unit = Residual(3, norm).double().eval()
    first, second = (layer for layer in unit.branch if isinstance(layer, nn.Conv2d))
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    inner = nn.functional.conv2d(x.clamp(min=0), first.weight, first.bias, padding=1)
    scale = (1 + 1e-5) ** -0.5 if norm else 1.0  # fresh BatchNorm in evaluation
    inner = nn.functional.conv2d((inner * scale).clamp(min=0), second.weight, second.bias, padding=1)
    torch.testing.assert_close(unit(x), x + inner * scale)
    assert (first.bias is None) == (norm is not None)


def test_projecting_before_enlarging_is_the_same() -> None:
    """The order of the paper (figure 1, right): join, mix, enlarge, project."""
    torch.manual_seed(0)
    fusion = Fusion(4, None, joins=True).double()
    x, finer = torch.randn(2, 4, 3, 5, dtype=torch.float64), torch.randn(2, 4, 3, 5, dtype=torch.float64)
    mixed = fusion.mix(x + fusion.join(finer))
    wanted = fusion.project(nn.functional.interpolate(mixed, size=(6, 10), mode="bilinear", align_corners=False))
    torch.testing.assert_close(fusion(x, finer, (6, 10)), wanted)


@pytest.mark.parametrize("patch", [8, 14, 16])
def test_the_answer_lies_where_the_tokens_lie(patch: int) -> None:
    """One bright token in a network of averages: the middle of what it brightens is the middle of its patch."""
    part = Dpt(channels=1, widths=(1, 1, 1, 1))
    decoder = build(part, vit(1, patch))
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            parameter.fill_(0.0 if name.endswith("bias") or "branch" in name else 1.0)
    height, width = 6 * patch - 3, 8 * patch - 5
    for row, column in [(2, 2), (2, 4)]:
        given = [torch.zeros_like(m) for m in maps(vit(1, patch), height, width)]
        given[3][0, 0, row, column] = 1.0  # the level as fine as the tokens, which nothing shifts
        bright = decoder(given)[0, 0]
        assert bright.shape == (-(-height // 2), -(-width // 2))
        weight = bright / bright.sum()
        middle = [(weight.sum(1 - axis) * (2 * torch.arange(bright.shape[axis]) + 0.5)).sum().item() for axis in (0, 1)]
        assert middle == pytest.approx([(row + 0.5) * patch - 0.5, (column + 0.5) * patch - 0.5], abs=0.05 * patch)


def test_what_lies_beyond_the_image_is_cut_off() -> None:
    """The same tokens for an image that fills its last patches and for one that does not: the same answer, cut."""
    of = vit(patch=14)
    decoder = build(Dpt(channels=4), of)
    full = maps(of, 56, 70)
    image = torch.zeros(1, 3, 51, 59)
    assert torch.equal(decoder([image, *full[1:]]), decoder(full)[:, :, :26, :30])


@pytest.mark.parametrize("norms", [False, True])
def test_it_begins_with_features_of_the_size_of_the_tokens(norms: bool) -> None:
    """Tokens have unit variance behind their norm; and each of the four levels has a say."""
    of = vit(64)
    decoder = build(Dpt(channels=32, norms=norms), of).train()
    given = maps(of, 128, 128)
    feature = decoder(given)
    assert 0.3 < feature.square().mean().sqrt() < 4
    for level in range(1, 5):
        silent = [m if i != level else torch.zeros_like(m) for i, m in enumerate(given)]
        assert 0.2 < (decoder(silent) - feature).std() / feature.std() < 1.5, level


@pytest.mark.parametrize("strides", [(1, 2, 4, 8, 16, 32), (1, 2, 4, 8, 8, 8), (1, 14, 14, 14)])
def test_other_encoders_are_refused(strides: tuple[int, ...]) -> None:
    found = ", ".join(str(s) for s in strides[1:])
    with pytest.raises(
        FathomError, match=f"four maps of one stride, but encoder 'm' gives strides {found}. Choose .*vit_small"
    ):
        Dpt().build(Pyramid("m", (3, *(8,) * (len(strides) - 1)), strides), "batch")
