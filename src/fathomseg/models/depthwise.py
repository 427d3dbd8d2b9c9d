"""Depthwise convolutions whose weights learn several times as fast on a CPU: the same numbers, by other kernels.

oneDNN has a fast kernel for the weight gradient of 3x3 depthwise convolutions alone. For 5x5 and more it takes the one
for grouped convolutions, which keeps 16 x 16 numbers for every weight: 29 MB for the 28,800 weights of one layer of
EfficientNet-Lite0, filled and emptied in every step. At the small maps where such layers stand that is most of their
time.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_PAYS_BELOW: Final = 160
"""Cells of the output, in all images of a batch, per weight of a channel, below which 3x3 pieces are faster (measured
by `benchmarks/depthwise.py`; above, copying the pieces takes longer than oneDNN's detour)."""


class _InPieces(torch.autograd.Function):
    """conv2d(x, weight, groups=channels), the gradient of the weight put together from 3x3 pieces."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        to_x = to_weight = None
        if ctx.needs_input_grad[0]:
            to_x, _, _ = _backward(gradient, x, weight, ctx.stride, ctx.padding, [True, False, False])
        if ctx.needs_input_grad[1]:
            to_weight = weight_gradient(gradient, x, weight, ctx.stride, ctx.padding)
        return to_x, to_weight, None, None


def weight_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """The gradient of the weight (channels x 1 x k x k, k odd) of a depthwise convolution, as that of 3x3 ones.

    A piece of the kernel sees what the whole kernel sees, shifted: dw[i, j] of the piece at (r, c) is dw[r + i, c + j].
    Pieces begin at every second row and column, so neighbours share one and write the same there.
    """
    height, width = (step * (length - 1) + 3 for step, length in zip(stride, gradient.shape[2:], strict=True))
    padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    found, piece = torch.empty_like(weight), weight[:, :, :3, :3]
    for row in range(0, weight.shape[2] - 2, 2):
        for column in range(0, weight.shape[3] - 2, 2):
            seen = padded[:, :, row : row + height, column : column + width]
            _, part, _ = _backward(gradient, seen, piece, stride, (0, 0), [False, True, False])
            assert part is not None
            found[:, :, row : row + 3, column : column + 3] = part
    return found


def _backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    wanted: list[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """PyTorch's own gradients of a depthwise convolution to x, weight and bias; None for those not `wanted`."""
    plain = ([1, 1], False, [0, 0])
    found: tuple[Tensor | None, Tensor | None, Tensor | None] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, list(stride), list(padding), *plain, len(weight), wanted
    )
    return found


class DepthwiseConv2d(nn.Conv2d):
    """nn.Conv2d for depthwise kernels of 5x5 and more without bias; weights, names and results are the same."""

    def forward(self, x: Tensor) -> Tensor:
        """b x c x h x w -> b x c x h' x w', as nn.Conv2d."""
        if not self._pays(x):
            return super().forward(x)
        y: Tensor = _InPieces.apply(x, self.weight, self.stride, self.padding)  # type: ignore[no-untyped-call]
        return y

    def _pays(self, x: Tensor) -> bool:
        """Whether there is a gradient to be had faster: in training in float32 on a CPU, on a small enough map."""
        if x.device.type != "cpu" or x.dtype != torch.float32 or torch.compiler.is_compiling():
            return False
        if not (torch.is_grad_enabled() and self.weight.requires_grad) or torch.is_autocast_enabled("cpu"):
            return False
        cells = len(x) * x.shape[2] * x.shape[3] / (self.stride[0] * self.stride[1])
        return cells < _PAYS_BELOW * self.weight[0].numel()


def quicken(net: nn.Module) -> nn.Module:
    """Make every layer of `net` that can be a `DepthwiseConv2d` one, in place; weights and their names stay."""
    for module in net.modules():
        if type(module) is nn.Conv2d and _can(module):
            module.__class__ = DepthwiseConv2d
    return net


def _can(layer: nn.Conv2d) -> bool:
    """Whether it is depthwise, of an odd kernel beyond 3x3, and plain in all else."""
    depthwise = layer.groups == layer.in_channels == layer.out_channels > 1
    odd = all(size > 3 and size % 2 == 1 for size in layer.kernel_size)
    plain = layer.bias is None and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    return depthwise and odd and plain and not isinstance(layer.padding, str)
