"""Depthwise layers that learn faster must compute what PyTorch's do: values, gradients, under every size and stride."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fathomseg.models.depthwise import DepthwiseConv2d, _InPieces, quicken, weight_gradient
from fathomseg.models.encoders import Encoder


def by_hand(gradient: Tensor, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """dw[c, i, j] = sum over images and cells (y, x) of gradient[y, x] * padded[stride * y + i, stride * x + j]."""
    padded = F.pad(x, (padding,) * 4)
    found = torch.zeros(x.shape[1], 1, kernel, kernel, dtype=x.dtype)
    for i in range(kernel):
        for j in range(kernel):
            for y in range(gradient.shape[2]):
                for z in range(gradient.shape[3]):
                    seen = padded[:, :, stride * y + i, stride * z + j]
                    found[:, 0, i, j] += (gradient[:, :, y, z] * seen).sum(0)
    return found


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    kernel=st.sampled_from([5, 7]),
    stride=st.integers(1, 2),
    padding=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_weight_gradient_is_the_sum_it_stands_for(
    size: tuple[int, int], kernel: int, stride: int, padding: int, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, *size, dtype=torch.float64, generator=rng)
    weight = torch.randn(3, 1, kernel, kernel, dtype=torch.float64, generator=rng)
    y = F.conv2d(x, weight, None, stride, padding, groups=3)
    gradient = torch.randn(y.shape, dtype=torch.float64, generator=rng)
    found = weight_gradient(gradient, x, weight, (stride, stride), (padding, padding))
    torch.testing.assert_close(found, by_hand(gradient, x, kernel, stride, padding), rtol=1e-12, atol=1e-12)


def test_gradcheck() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 6, 5, dtype=torch.float64, generator=rng, requires_grad=True)
    weight = torch.randn(2, 1, 5, 5, dtype=torch.float64, generator=rng, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: _InPieces.apply(x, w, (1, 1), (2, 2)), (x, weight))


def lite() -> nn.Module:
    torch.manual_seed(0)
    return Encoder(pretrained="none").build()


def test_the_default_encoder_has_them_and_learns_the_same() -> None:
    ours = lite().eval()  # statistics as they are: rounding does not grow
    layers = [m for m in ours.modules() if isinstance(m, DepthwiseConv2d)]
    assert len(layers) == 7  # 5x5 with stride 1: EfficientNet-B0 has nine 5x5 layers, two of them with stride 2
    plain = copy.deepcopy(ours)
    for layer in plain.modules():
        if isinstance(layer, DepthwiseConv2d):
            layer.__class__ = nn.Conv2d
    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    gradients = []
    for encoder in (ours, plain):
        maps = encoder(image)[1:]
        sum(m.square().mean() for m in maps).backward()
        gradients.append((maps, {name: p.grad for name, p in encoder.named_parameters()}))
    (maps, mine), (expected_maps, expected) = gradients
    assert all(torch.equal(a, b) for a, b in zip(maps, expected_maps, strict=True))
    for name, gradient in mine.items():
        assert gradient is not None
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))


def test_which_layers() -> None:
    def layer(kernel: int = 5, **options: object) -> nn.Conv2d:
        return nn.Conv2d(4, 4, kernel, **({"groups": 4, "bias": False, "padding": 2} | options))  # type: ignore[arg-type]

    yes = [layer(), layer(7), layer(stride=2)]
    no = [layer(3), layer(4), layer(groups=2), layer(bias=True), layer(dilation=2), layer(padding="same")]
    net = quicken(nn.Sequential(*yes, *no, layer(padding_mode="reflect")))
    assert [type(m) is DepthwiseConv2d for m in net] == [True] * len(yes) + [False] * (len(no) + 1)


@pytest.mark.parametrize(
    ("case", "taken"),
    [("training", True), ("no gradient", False), ("frozen", False), ("large", False), ("half", False)],
)
def test_when(case: str, taken: bool) -> None:
    layer = quicken(nn.Sequential(nn.Conv2d(2, 2, 5, padding=2, groups=2, bias=False)))
    x = torch.randn(1, 2, 80 if case == "large" else 8, 80 if case == "large" else 8)
    if case == "frozen":
        layer.requires_grad_(False)
    with torch.set_grad_enabled(case != "no gradient"), torch.autocast("cpu", torch.bfloat16, enabled=case == "half"):
        y = layer(x)
    name = "" if y.grad_fn is None else type(y.grad_fn).__name__
    assert (name == "_InPiecesBackward") is taken
