"""Gradients of the shared parameters by group, kept until a step is whole: what PCGrad and MGDA-UB are made from.

`torch.autograd.grad` tells a data-parallel wrapper nothing, so what is kept is averaged over the ranks here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fathomseg.engine.balancing.base import Balancer, TermLoss

if TYPE_CHECKING:
    import accelerate


class ByGroup(Balancer):
    """The gradient of the shared parameters is the sum of w_i g_i, the w_i by the inner products of the g_i. All other
    parameters, and terms that are in no group, have their usual gradient."""

    def __init__(self, groups: Collection[str], shared: Iterable[nn.Parameter]) -> None:
        """`shared`: what more than one group reaches."""
        super().__init__(groups)
        self._shared_ids = {id(parameter) for parameter in shared}

    def stand_in(self, pairs: Iterable[tuple[nn.Parameter, nn.Parameter]]) -> None:
        """They are shared as what they stand for."""
        self._shared_ids |= {id(own) for own, original in pairs if id(original) in self._shared_ids}

    def prepare(self, accelerate: accelerate.Accelerator, parameters: Sequence[nn.Parameter]) -> None:
        """Sorts the parameters."""
        super().prepare(accelerate, parameters)
        self._shared = [p for p in parameters if id(p) in self._shared_ids]
        self._own = [p for p in parameters if id(p) not in self._shared_ids]

    def begin(self, step: int, seed: int) -> None:
        """No micro-batch yet. The last row is that of terms in no group."""
        device = self.accelerate.device
        self._rows = torch.zeros(len(self.groups) + 1, size_of(self._shared), device=device)
        self._sum = torch.zeros(size_of(self._own), device=device)

    def backward(self, losses: Sequence[TermLoss], last: bool) -> None:
        """One backward pass for each group."""
        own, rest = self.split(losses)
        for row, loss in enumerate([*own, *([] if rest is None else [rest])]):
            self.add(row, loss)

    def add(self, row: int, loss: Float[Tensor, ""], maps: Sequence[Tensor] = ()) -> Sequence[Tensor | None]:
        """Add a loss's gradient to a row, and to the sum for what is not shared; returns that of the `maps`."""
        inputs = [*self._shared, *self._own, *maps]
        found = torch.autograd.grad(self.scaled(loss), inputs, retain_graph=True, allow_unused=True)
        shared, both = len(self._shared), len(self._shared) + len(self._own)
        accumulate(self._rows[row], self._shared, found[:shared])
        accumulate(self._sum, self._own, found[shared:both])
        return found[both:]

    @torch.no_grad()
    def finish(self) -> dict[str, Float[Tensor, ""]]:
        """Mixes the gradients of all micro-batches and ranks."""
        rows = self.accelerate.reduce(self._rows, "mean")
        own = rows[:-1]
        weights = self.mixing(own @ own.T)
        put(self._shared, weights @ own + rows[-1])
        put(self._own, self.accelerate.reduce(self._sum, "mean"))
        return self.logged(weights)

    @abstractmethod
    def mixing(self, gram: Float[Tensor, "g g"]) -> Float[Tensor, " g"]:
        """The weights of the groups from the inner products of their gradients."""


def size_of(parameters: Iterable[Tensor]) -> int:
    """How many numbers they hold."""
    return sum(parameter.numel() for parameter in parameters)


def accumulate(vector: Float[Tensor, " n"], parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Add the gradients of the parameters to one vector; None adds nothing."""
    parts = vector.split([parameter.numel() for parameter in parameters])
    for part, gradient in zip(parts, gradients, strict=True) if parameters else ():
        if gradient is not None:
            part += gradient.flatten()


def put(parameters: Sequence[nn.Parameter], gradient: Float[Tensor, " n"]) -> None:
    """Make a vector the gradient of the parameters, in their memory layout, as optimisers want it."""
    parts = gradient.split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True) if parameters else ():
        parameter.grad = torch.empty_like(parameter).copy_(part.view_as(parameter))
