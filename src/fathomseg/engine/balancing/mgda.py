"""`mgda`, MGDA-UB: the shared parameters go where no group's loss grows (Sener & Koltun 2018, algorithm 2, eq. 3).

The gradients that are compared are those at the feature maps of the shared encoders, so that an encoder is gone through
backwards once and not for each group. Parameters that are shared above these maps (decoders several tasks read, links)
are compared beside them: the bound of the paper holds for the two together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fathomseg.engine.balancing.base import Groups, OfTerms, TermLoss
from fathomseg.engine.balancing.by_group import ByGroup, accumulate, put, size_of
from fathomseg.models.network import Network

if TYPE_CHECKING:
    import accelerate

_ITERATIONS: Final = 40


class Mgda(OfTerms):
    """The shorter a gradient, the more it counts: the combination of least norm, with weights that sum up to 1. What
    only one group reaches has its own gradient, unweighted."""

    name: Literal["mgda"] = "mgda"

    splits_backward: ClassVar[bool] = True

    def build(self, groups: Groups, network: Network) -> MgdaBalancer:
        """At the maps of encoders that more than one group reaches."""
        chosen = self.chosen(groups)
        outputs = list(chosen.values())
        return MgdaBalancer(chosen, network.shared_parameters(outputs), network.shared_encoders(outputs))


class MgdaBalancer(ByGroup):
    """Keeps the graph of the shared encoders until the step is whole, but frees that of the decoders."""

    def __init__(self, groups: Collection[str], shared: Iterable[nn.Parameter], encoders: Sequence[nn.Module]) -> None:
        """`encoders` return lists of maps."""
        self._encoder_ids = {id(p) for encoder in encoders for p in encoder.parameters()}
        super().__init__(groups, [p for p in shared if id(p) not in self._encoder_ids])
        self._maps: list[Tensor] = []
        for encoder in encoders:
            encoder.register_forward_hook(self._note)

    def prepare(self, accelerate: accelerate.Accelerator, parameters: Sequence[nn.Parameter]) -> None:
        """What is below the maps is apart."""
        super().prepare(accelerate, [p for p in parameters if id(p) not in self._encoder_ids])
        self._below = [p for p in parameters if id(p) in self._encoder_ids]

    def begin(self, step: int, seed: int) -> None:
        """No micro-batch yet."""
        super().begin(step, seed)
        device, count = self.accelerate.device, len(self.groups)
        self._maps = []
        self._kept: list[tuple[Tensor, list[Tensor | None]]] = []
        self._gram = torch.zeros(count, count, device=device)
        self._sum_below = torch.zeros(size_of(self._below), device=device)
        self._present: list[Tensor] = []

    def _note(self, encoder: nn.Module, images: Any, maps: Sequence[Tensor]) -> None:
        """Of a pass that is learned from; the first map is the image itself."""
        self._maps += [x for x in maps if x.requires_grad]

    def backward(self, losses: Sequence[TermLoss], last: bool) -> None:
        """One backward pass down to the maps for each group."""
        maps, self._maps = self._maps, []
        own, rest = self.split(losses)
        columns = [self.add(row, loss, maps) for row, loss in enumerate(own)]
        if rest is not None:
            accumulate(self._sum_below, self._below, self.add(len(own), rest, self._below))
        for x, *gradients in zip(maps, *columns, strict=True):
            there = [torch.zeros_like(x) if g is None else g for g in gradients]
            table = torch.stack([g.float().flatten() for g in there])
            self._gram += table @ table.T
            self._kept.append((x, gradients))
        self._present.append(self.seen(losses)[1])

    @torch.no_grad()
    def finish(self) -> dict[str, Float[Tensor, ""]]:
        """One backward pass of the encoders from the combined gradient of their maps."""
        weights = super().finish()
        values = [weights[group] for group in self.groups]
        kept = [(x, gradients) for x, gradients in self._kept if any(g is not None for g in gradients)]
        used = [(x, _combined(values, gradients)) for x, gradients in kept]
        if used and self._below:
            maps, towards = zip(*used, strict=True)
            found = torch.autograd.grad(maps, self._below, towards, allow_unused=True)
            accumulate(self._sum_below, self._below, found)
        put(self._below, self.accelerate.reduce(self._sum_below, "mean"))
        self._kept = []
        return weights

    def mixing(self, gram: Float[Tensor, "g g"]) -> Float[Tensor, " g"]:
        """By the maps of all ranks, whose losses are multiplied by the number of ranks."""
        maps = self.accelerate.reduce(self._gram, "sum") / self.accelerate.num_processes**2
        return least_norm(gram + maps, torch.stack(self._present).any(0))


def least_norm(gram: Float[Tensor, "g g"], present: Bool[Tensor, " g"]) -> Float[Tensor, " g"]:
    """The weights >= 0 of sum 1 with the least norm of sum_i w_i g_i, from the inner products of the g_i; 0 for what is
    not present.

    Frank-Wolfe with pairwise steps (Lacoste-Julien & Jaggi 2015), each to the best place on its line: weight moves from
    the group whose gradient agrees most with the sum to the one that agrees least. For two groups one step is the
    closed form.
    """
    count = len(gram)
    weights = present.to(gram.dtype) / present.sum().clamp(min=1)
    places = torch.arange(count, device=gram.device)
    for _ in range(1 if count == 2 else _ITERATIONS):
        slope = gram @ weights
        to = places == torch.where(present, slope, torch.inf).argmin()
        off = places == torch.where(weights > 0, slope, -torch.inf).argmax()
        line = to.to(gram.dtype) - off.to(gram.dtype)
        curvature = (line @ gram @ line).clamp(min=torch.finfo(gram.dtype).tiny)
        length = torch.minimum((-(slope @ line) / curvature).clamp(min=0), (weights * off).sum())
        weights = weights + length * line
    return weights


def _combined(weights: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Tensor:
    """The sum of w_i g_i over those there are."""
    parts = [(w * g.float()).to(g.dtype) for w, g in zip(weights, gradients, strict=True) if g is not None]
    return torch.stack(parts).sum(0)
