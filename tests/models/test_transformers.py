"""Plain transformers as encoders: whose tokens are read, where they lie, images of any size, weights from files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from fathomseg.errors import FathomError
from fathomseg.models.compat import load_timm
from fathomseg.models.encoders import Encoder, FeatureEncoder
from fathomseg.models.transformers import is_plain, quarters

timm = load_timm()


def build(model: str = "test_vit", seed: int = 0, **more: object) -> FeatureEncoder:
    torch.manual_seed(seed)
    return Encoder(model=model, pretrained="none", **more).build().eval()


@pytest.mark.parametrize(
    ("model", "channels", "patch"),
    [
        ("vit_small_patch14_dinov2", 384, 14),
        ("vit_small_patch14_reg4_dinov2", 384, 14),
        ("vit_base_patch16_224", 768, 16),
        ("vit_small_patch16_dinov3", 384, 16),
        ("eva02_tiny_patch14_224", 192, 14),
        ("deit3_small_patch16_224", 384, 16),
    ],
)
def test_the_published_models_give_four_maps(model: str, channels: int, patch: int) -> None:
    with torch.device("meta"):
        encoder = Encoder(model=model, pretrained="none").build()
        maps = encoder(torch.rand(2, 3, 2 * patch, 3 * patch - 1))
    assert encoder.pyramid.channels == (3, *(channels,) * 4)
    assert encoder.pyramid.strides == (1, *(patch,) * 4)
    assert [tuple(m.shape) for m in maps[1:]] == [(2, channels, 2, 3)] * 4


@pytest.mark.parametrize(
    ("model", "plain"),
    [("vit_base_patch14_dinov2.lvd142m", True), ("resnet18", False), ("swin_tiny_patch4_window7_224", False)],
)
def test_which_models_are_plain(model: str, plain: bool) -> None:
    assert is_plain(model) == plain


@pytest.mark.parametrize(("depth", "wanted"), [(12, (3, 6, 9, 12)), (24, (6, 12, 18, 24)), (6, (1, 3, 4, 6))])
def test_quarters(depth: int, wanted: tuple[int, ...]) -> None:
    assert quarters(depth) == wanted


def test_maps_are_the_tokens_of_the_blocks_asked_for() -> None:
    """Against a forward pass by hand at the model's own size, where neither positions nor images are changed."""
    encoder = build(blocks=(1, 2, 4, 5))
    torch.manual_seed(0)
    whole = timm.create_model("test_vit", dynamic_img_size=False).eval()
    size = whole.patch_embed.img_size
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    rows, columns = whole.patch_embed.grid_size
    x = whole.patch_embed((image - encoder.mean) / encoder.std)
    x = torch.cat([whole.cls_token.expand(2, -1, -1), x], dim=1) + whole.pos_embed
    wanted = {}
    for number, block in enumerate(whole.blocks, start=1):
        x = block(x)
        wanted[number] = whole.norm(x)[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))
    encoder.net.net.load_state_dict(whole.state_dict(), strict=False)
    for number, found in zip((1, 2, 4, 5), encoder(image)[1:], strict=True):
        torch.testing.assert_close(found, wanted[number], rtol=1e-5, atol=1e-5)
    assert len(encoder.net.net.blocks) == 5, "what lies behind the last block wanted is not built"


@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_any_size(height: int, width: int) -> None:
    encoder = build("test_vit2")
    shapes = [tuple(m.shape) for m in encoder(torch.rand(1, 3, height, width))]
    cells = (1, 64, math.ceil(height / 16), math.ceil(width / 16))
    assert shapes == [(1, 3, height, width), *[cells] * 4]


def test_an_image_is_continued_by_its_mean_colour() -> None:
    encoder = build()
    image = torch.rand(1, 3, 40, 33)
    canvas = encoder.mean.expand(1, 3, 48, 48).clone()
    canvas[:, :, :40, :33] = image
    for found, wanted in zip(encoder(image)[1:], encoder(canvas)[1:], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_positions_are_interpolated_not_cut() -> None:
    """One ramp of positions from left to right: an image of half the width sees all of it, in twice as large steps."""
    encoder = build(blocks=(1, 2, 3, 4))
    net = encoder.net.net
    for block in net.blocks:  # each block is the identity, so that tokens are patches plus positions
        for layer in (block.attn.proj, block.mlp.fc2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    net.norm = nn.Identity()
    nn.init.zeros_(net.patch_embed.proj.weight)
    nn.init.zeros_(net.patch_embed.proj.bias)
    rows, columns = net.patch_embed.grid_size
    with torch.no_grad():
        net.pos_embed[:, 1:] = torch.linspace(0, 1, columns).repeat(rows)[None, :, None]
    ramp = encoder(torch.rand(1, 3, 16 * rows, 16 * columns))[1][0, 0, 0]
    torch.testing.assert_close(ramp, torch.linspace(0, 1, columns))
    half = encoder(torch.rand(1, 3, 16 * rows, 8 * columns))[1][0, 0, 0]
    assert len(half) == columns // 2
    pairs = ramp[: columns // 2 * 2].unflatten(0, (-1, 2)).mean(1)
    torch.testing.assert_close(half[1:-1], pairs[1:-1], rtol=0, atol=1e-2)


def test_drop_path_reaches_the_blocks() -> None:
    encoder = build(drop_path_rate=0.5).train()
    image = torch.rand(1, 3, 32, 32)
    torch.manual_seed(0)
    deepest = [encoder(image)[-1] for _ in range(4)]
    assert any(not torch.equal(deepest[0], other) for other in deepest[1:])


@pytest.mark.parametrize("extra", [{}, {"mask_token": torch.zeros(1, 64)}], ids=["timm", "meta"])
def test_weights_from_a_file(tmp_path: Path, extra: dict[str, Tensor]) -> None:
    """Meta's files of DINOv2 have timm's names, and the token it masked patches with."""
    torch.manual_seed(3)
    state = timm.create_model("test_vit", num_classes=7).state_dict()
    save_file(state | extra, tmp_path / "w.safetensors")
    encoder = Encoder(model="test_vit", pretrained=tmp_path / "w.safetensors").build()
    loaded = encoder.net.net.state_dict()
    assert set(loaded) == {name for name in state if not name.startswith("head.")}
    assert all(torch.equal(loaded[name], state[name]) for name in loaded)


@pytest.mark.parametrize(
    ("settings_given", "message"),
    [
        ({"model": "test_vit", "blocks": (1, 2, 3, 7)}, r"asks for block 7, but 'test_vit' has 6 .*\(1, 3, 4, 6\)"),
        ({"model": "resnet18", "blocks": (1, 2, 3, 4)}, "blocks is for plain transformers; 'resnet18' has stages"),
        ({"model": "test_vit", "output_stride": 8}, "cannot run at output stride 8: a plain transformer"),
    ],
)
def test_what_cannot_be_is_explained(settings_given: dict[str, object], message: str) -> None:
    with pytest.raises(FathomError, match=message):
        Encoder(pretrained="none", **settings_given).build()


@pytest.mark.parametrize("blocks", [(3, 3, 6, 9), (9, 6, 3, 1)])
def test_blocks_must_ascend(blocks: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="blocks must ascend"):
        Encoder(model="test_vit", blocks=blocks)
