"""TensorFlow's "SAME" padding in integers, so that networks with timm's `tf_` encoders can be exported for any size."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from fathomseg.models.compat import load_timm


class SameConv2d(nn.Conv2d):
    """TensorFlow's "SAME" padding, as the `tf_` models were trained with: what is odd goes to the right and bottom."""

    def forward(self, x: Tensor) -> Tensor:
        """b x c x h x w -> b x d x ceil(h / stride) x ceil(w / stride)."""
        top, bottom = self._margins(x.shape[2], 0)
        left, right = self._margins(x.shape[3], 1)
        return super().forward(F.pad(x, (left, right, top, bottom)))

    def _margins(self, length: Any, axis: int) -> tuple[Any, Any]:
        # Any: an int, or the symbol torch.export puts in its place for sizes left free.
        reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
        total = max(reach - (length % self.stride[axis] or self.stride[axis]), 0)
        return total // 2, total - total // 2


def replace_same_padding(net: nn.Module) -> nn.Module:
    """Swap timm's layer for ours in place, weights kept: its float rounding defeats torch.export with free sizes."""
    theirs = load_timm().layers.Conv2dSame
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d) and type(child) is theirs:
                setattr(module, name, _ours(child))
    return net


def _ours(theirs: nn.Conv2d) -> SameConv2d:
    ours = SameConv2d(
        theirs.in_channels,
        theirs.out_channels,
        theirs.kernel_size,  # type: ignore[arg-type]
        theirs.stride,  # type: ignore[arg-type]
        dilation=theirs.dilation,  # type: ignore[arg-type]
        groups=theirs.groups,
        bias=theirs.bias is not None,
        device="meta",
    )
    ours.weight, ours.bias = theirs.weight, theirs.bias
    return ours
