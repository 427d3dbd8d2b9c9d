"""The U-Net of diffusion models: its size as published, attention by slow loops, any image size, a batch of one."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fathomseg.errors import ConfigError, FathomError
from fathomseg.models.ddpm import Attention, Blocks, LinearAttention
from fathomseg.models.decoders.ddpm_unet import DdpmUNet
from fathomseg.models.encoders import Pyramid
from fathomseg.models.encoders.ddpm import DdpmEncoder
from tests.models.networks import CLASSES, build, config, flat, images, reached

SMALL = {"name": "ddpm", "channels": 8, "mults": [1, 2, 3], "blocks": {"heads": 2, "head_width": 4}}
DECODER = {"name": "ddpm_unet", "blocks": {"heads": 2, "head_width": 4}}


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def conv(inputs: int, outputs: int, kernel: int, bias: bool = True) -> int:
    return outputs * inputs * kernel**2 + (outputs if bias else 0)


def block(inputs: int, outputs: int) -> int:
    """Depthwise 7x7, norm, 3x3 to twice the width, norm, 3x3 back, and 1x1 beside it if widths differ."""
    inside = 50 * inputs + 2 * inputs + conv(inputs, 2 * outputs, 3) + 4 * outputs + conv(2 * outputs, outputs, 3)
    return inside + (conv(inputs, outputs, 1) if inputs != outputs else 0)


def attention(width: int, norms: int) -> int:
    """128 hidden channels."""
    return 2 * norms * width + conv(width, 384, 1, bias=False) + conv(128, width, 1)


def test_the_published_network_has_56_million_parameters() -> None:
    """Counted layer by layer from the description; the last convolution, to 3 channels, is the head's."""
    with torch.device("meta"):
        encoder = DdpmEncoder().build()
        published, ours = (DdpmUNet(finest_skip=skip).build(encoder.pyramid, "batch") for skip in (False, True))
    widths = (42, 64, 128, 256, 512)
    down = conv(3, 42, 7) + 2 * block(512, 512) + attention(512, norms=1)
    for below, width in itertools.pairwise(widths):
        down += block(below, width) + block(width, width) + attention(width, norms=2)
        down += conv(width, width, 4) if width < 512 else 0
    up = block(64, 64)
    for width, below in itertools.pairwise(widths[1:]):
        up += block(2 * below, width) + block(width, width) + attention(width, norms=2) + conv(width, width, 4)
    assert parameters(encoder) == down
    assert parameters(published) == up
    assert down + up + conv(64, 3, 1) == 56_352_851
    assert parameters(ours) - parameters(published) == block(128, 64) - block(64, 64)
    assert encoder.pyramid.channels == (3, 64, 128, 256, 512, 512)
    assert encoder.pyramid.strides == (1, 1, 2, 4, 8, 8)


def by_position(module: Attention | LinearAttention, x: Tensor) -> Tensor:
    """In float64, every head and position on its own; what comes before the last layers."""
    heads, hidden = module.heads, module.qkv.weight.shape[0] // 3
    width = hidden // heads
    q, k, v = torch.einsum("oc,chw->ohw", module.qkv.weight[:, :, 0, 0], x).flatten(1).split(hidden)
    answer = torch.zeros_like(v)
    for head in range(heads):
        rows = slice(head * width, (head + 1) * width)
        for n in range(v.shape[1]):
            if isinstance(module, Attention):
                scores = torch.stack([q[rows, n] @ k[rows, m] for m in range(v.shape[1])]) / math.sqrt(width)
                weights = scores.exp() / scores.exp().sum()
            else:
                mine = q[rows, n].exp() / q[rows, n].exp().sum() / math.sqrt(width)
                theirs = k[rows].exp() / k[rows].exp().sum(dim=1, keepdim=True)
                weights = mine @ theirs
            answer[rows, n] = v[rows] @ weights
    return answer.view(hidden, *x.shape[1:])


@pytest.mark.parametrize("kind", [Attention, LinearAttention])
def test_attention_by_slow_loops(kind: type[Attention] | type[LinearAttention]) -> None:
    torch.manual_seed(0)
    module, x = kind(6, heads=2, width=4).double(), torch.randn(2, 6, 3, 5).double()
    with torch.no_grad():
        expected = module.out(torch.stack([by_position(module, one) for one in x]))
        torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize("kind", ["convnext", "resnet"])
@pytest.mark.parametrize("size", [(32, 48), (29, 43), (1, 1)])
def test_any_size(kind: str, size: tuple[int, int]) -> None:
    settings: dict[str, Any] = {"kind": kind, "groups": 4, "heads": 2, "head_width": 4}
    tasks = {"segmentation": {"decoder": {"name": "ddpm_unet", "blocks": settings}}}
    network = build(config(tasks, encoder={**SMALL, "mults": [1, 2, 4], "blocks": settings})).eval()
    maps = network.encoders["shared"](images(1, *size))
    assert [tuple(m.shape[2:]) for m in maps] == [
        tuple(math.ceil(side / stride) for side in size) for stride in (1, 1, 2, 4, 4)
    ]
    found = network(images(1, *size))["segmentation"]
    assert found.shape == (1, CLASSES, *size)
    assert found.isfinite().all()


def test_a_synchronised_pair_from_scratch_trains_on_one_image() -> None:
    """Every parameter of both networks and of all links, at full resolution too; the bottleneck has no link."""
    branch = {"encoder": "own", "decoder": DECODER}
    tasks = {"segmentation": branch, "depth": branch}
    network = build(config(tasks, encoder=SMALL, links={"name": "zero_conv"})).train()
    assert list(network.links.places["depth"]) == [1, 2, 3]
    assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    found = flat(network(images(1, 16, 24)))
    sum((x * torch.randn_like(x)).sum() for x in found.values()).backward()
    assert reached(network) == {name for name, _ in network.named_parameters()}


def test_the_finest_map_is_read_unless_told_otherwise() -> None:
    encoder = DdpmEncoder(channels=4, mults=(1, 1)).build()
    for skip in (True, False):
        decoder = DdpmUNet(finest_skip=skip).build(encoder.pyramid, "batch")
        maps = [m.detach().requires_grad_() for m in encoder(images(1, 8, 8))]
        decoder(maps).square().sum().backward()
        assert (maps[1].grad is not None) == skip


def test_what_does_not_fit() -> None:
    with pytest.raises(FathomError, match=r"gives strides 14, 14, 14, 14\. Choose network.*decoder\.name=dpt"):
        DdpmUNet().build(Pyramid("vit", (3, 8, 8, 8, 8), (1, 14, 14, 14, 14)), "batch")
    with pytest.raises(FathomError, match=r"blocks.groups=8 does not divide the 12 channels"):
        DdpmEncoder(channels=12, blocks=Blocks(kind="resnet")).build()
    with pytest.raises(ConfigError, match="ddpm"):
        config({"segmentation": {}}, encoder={"name": "dpdm"})
