"""Same-padding must be timm's to the last bit, since the pretrained weights know no other."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fathomseg.models.compat import SameConv2d, load_timm, replace_same_padding


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    kernel=st.sampled_from([1, 2, 3, 5, 7]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 4]),
    bias=st.booleans(),
)
def test_equals_timm(size: tuple[int, int], kernel: int, stride: int, dilation: int, groups: int, bias: bool) -> None:
    theirs = load_timm().layers.Conv2dSame(4, 8, kernel, stride, dilation=dilation, groups=groups, bias=bias)
    x = torch.randn(2, 4, *size)
    expected = theirs(x)
    net = replace_same_padding(nn.Sequential(theirs))
    assert type(net[0]) is SameConv2d
    assert net[0].weight is theirs.weight
    assert expected.shape[2:] == tuple(-(-length // stride) for length in size)
    assert torch.equal(net(x), expected)


@pytest.mark.parametrize(("length", "row"), [(4, [3.0, 5.0]), (5, [1.0, 6.0, 7.0])])
def test_by_hand(length: int, row: list[float]) -> None:
    """Three ones, stride 2, over 0 1 2 3 (4): an even length is padded on the right alone, an odd one on both sides."""
    layer = SameConv2d(1, 1, (1, 3), (1, 2), bias=False)
    nn.init.ones_(layer.weight)
    x = torch.arange(float(length)).view(1, 1, 1, length)
    assert layer(x).flatten().tolist() == row


@pytest.mark.parametrize("kernel", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_exported_with_free_sizes_it_pads_every_length_right(kernel: int) -> None:
    """Two in a row: the second meets lengths of either parity whatever the first is given."""
    net = nn.Sequential(SameConv2d(1, 2, kernel, 2), SameConv2d(2, 1, kernel, 2)).eval()
    free = torch.export.Dim.DYNAMIC
    program = torch.export.export(net, (torch.randn(2, 1, 16, 24),), dynamic_shapes=({0: free, 2: free, 3: free},))
    for height in range(12, 16):
        x = torch.randn(1, 1, height, height + 5)
        torch.testing.assert_close(program.module()(x), net(x))
