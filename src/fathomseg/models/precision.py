"""Layers whose answer needs more digits than autocast leaves."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn


def in_own_precision(layer: nn.Conv2d | nn.Linear, x: Tensor) -> Tensor:
    """`layer(x)` in the precision of the layer's weights, under autocast too (bfloat16 has three digits)."""
    kind = x.device.type
    lowered = torch.amp.is_autocast_available(kind)  # not on "meta", where costs are counted
    with torch.autocast(kind, enabled=False) if lowered else nullcontext():
        answer: Tensor = layer(x.to(layer.weight.dtype))
    return answer
