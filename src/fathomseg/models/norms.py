"""How norms behave in training: with statistics that are fixed, or held for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fathomseg.models.blocks import Norm


class FixedNorms(nn.Module):
    """A network whose BatchNorms keep their statistics in training unless `norm` is "batch"."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.norm = norm

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; BatchNorms of fixed statistics stay in evaluation mode either way."""
        super().train(mode)
        if self.norm != "batch":
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


@contextmanager
def statistics_held(modules: Iterable[nn.Module]) -> Iterator[None]:
    """For a while the BatchNorms of these modules do not move the statistics that they keep for evaluation.

    In training they go by the batch as ever. For images of another kind than those that the network will be used on,
    which would otherwise be averaged in with them (Li et al. 2017, AdaBN; Xie et al. 2020, AdvProp).
    """
    norms = [norm for module in modules for norm in module.modules() if isinstance(norm, _BatchNorm)]
    tracking = [norm for norm in norms if norm.track_running_stats]
    for norm in tracking:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in tracking:
            norm.track_running_stats = True


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode for a while; afterwards every module is in the mode it was in, frozen norms included."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def in_own_precision(layer: nn.Conv2d | nn.Linear, x: Tensor) -> Tensor:
    """`layer(x)` in the precision of the layer's weights, under autocast too (bfloat16 has three digits)."""
    kind = x.device.type
    lowered = torch.amp.is_autocast_available(kind)  # not on "meta", where costs are counted
    with torch.autocast(kind, enabled=False) if lowered else nullcontext():
        answer: Tensor = layer(x.to(layer.weight.dtype))
    return answer
