"""Exponential moving average of a network's weights: the network that is evaluated, saved and, later, the teacher."""

from __future__ import annotations

import copy
import math
from typing import Final, Generic, TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)


_WARMUP: Final = 9.0


def effective_decay(decay: float, step: int) -> float:
    """The decay in optimiser step number `step` (0 = the first): min(step / (step + 9), decay)."""
    return min(step / (step + _WARMUP), decay)


def reached_at(decay: float) -> int:
    """The first optimiser step in which `decay` is in effect, and no less."""
    return math.ceil(_WARMUP * decay / (1 - decay) - 1e-6)


class Ema(nn.Module, Generic[N]):
    """A slowly moving copy of a network: float weights and buffers are averaged, integer buffers are copied.

    The decay grows from 0 as min(step / (step + 9), decay), so that early averages do not remember the random start and
    later ones look back over a tenth of the training so far at most. A plain mean over all steps, with which Tarvainen
    and Valpola (2017) begin, is a copy of long ago in short trainings. The copy takes no gradient and stays in eval
    mode whatever `train()` says.
    """

    def __init__(self, network: N, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.network: N = copy.deepcopy(network).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Ema[N]:
        """Keep the copy in eval mode; a teacher with live BatchNorm or dropout gives noisy labels."""
        return super().train(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards `network` after optimiser step number `step` (0 = the first), in a few large kernels."""
        decay = effective_decay(self.decay, step)
        mine, theirs = _tensors(self.network), _tensors(network)
        averaged = [(m, t) for m, t in zip(mine, theirs, strict=True) if m.is_floating_point()]
        copied = [(m, t) for m, t in zip(mine, theirs, strict=True) if not m.is_floating_point()]
        if averaged:
            torch._foreach_lerp_([m for m, _ in averaged], [t.to(m.dtype) for m, t in averaged], 1.0 - decay)
        for m, t in copied:
            m.copy_(t)


def _tensors(network: nn.Module) -> list[Tensor]:
    """Those of a network in shards (FSDP) are the parts that are here."""
    own = (p.to_local() if hasattr(p, "to_local") else p.detach() for p in network.parameters())
    return [*own, *network.buffers()]
