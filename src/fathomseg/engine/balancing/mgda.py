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
    """Cuts the graph at the maps. That of the encoders is kept until the step is whole, those of the decoders not."""

    def __init__(self, groups: Collection[str], shared: Iterable[nn.Parameter], encoders: Sequence[nn.Module]) -> None:
        """`encoders` return lists of maps."""
        self._encoder_ids = {id(p) for encoder in encoders for p in encoder.parameters()}
        super().__init__(groups, [p for p in shared if id(p) not in self._encoder_ids])
        self._encoders = tuple(encoders)

    def stand_in(self, pairs: Iterable[tuple[nn.Parameter, nn.Parameter]]) -> None:
        """They are below the maps as what they stand for."""
        found = list(pairs)
        super().stand_in(found)
        self._encoder_ids |= {id(own) for own, original in found if id(original) in self._encoder_ids}

    def prepare(self, accelerate: accelerate.Accelerator, parameters: Sequence[nn.Parameter]) -> None:
        """From here on no gradient passes the maps but by `finish`."""
        super().prepare(accelerate, [p for p in parameters if id(p) not in self._encoder_ids])
        self._below = [p for p in parameters if id(p) in self._encoder_ids]
        for encoder in self._encoders:
            encoder.register_forward_hook(self._cut)

    def begin(self, step: int, seed: int) -> None:
        """No micro-batch yet."""
        super().begin(step, seed)
        count = len(self.groups)
        self._cuts: list[tuple[Tensor, Tensor]] = []
        self._kept: list[tuple[Tensor, list[Tensor | None]]] = []
        self._gram = torch.zeros(count, count, device=self.accelerate.device)
        self._present: list[Tensor] = []

    def _cut(self, encoder: nn.Module, images: Any, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps without a past in the place of those that have one: deeper maps are made from the others, and what
        reaches these must not count twice."""
        found = list(maps)
        for i, x in enumerate(maps):
            if x.requires_grad:
                found[i] = x.detach().requires_grad_()
                self._cuts.append((x, found[i]))
        return found

    def backward(self, losses: Sequence[TermLoss], last: bool) -> None:
        """One backward pass down to the maps for each group."""
        cuts, self._cuts = self._cuts, []
        own, rest = self.split(losses)
        inputs = [leaf for _, leaf in cuts]
        columns = [self.add(row, loss, inputs) for row, loss in enumerate([*own, *([] if rest is None else [rest])])]
        for (x, _), *gradients in zip(cuts, *columns, strict=True):
            own_gradients = gradients[: len(own)]
            table = torch.stack([(torch.zeros_like(x) if g is None else g).float().flatten() for g in own_gradients])
            self._gram += table @ table.T
            self._kept.append((x, gradients))
        self._present.append(self.seen(losses)[1])

    @torch.no_grad()
    def finish(self) -> dict[str, Float[Tensor, ""]]:
        """One backward pass of the encoders from the combined gradient of their maps."""
        weights = super().finish()
        values = [*weights.values(), torch.ones_like(self._gram[0, 0])]  # the last for terms in no group
        kept = [(x, gradients) for x, gradients in self._kept if any(g is not None for g in gradients)]
        below = torch.zeros(size_of(self._below), device=self.accelerate.device)
        if kept and self._below:
            towards = [_combined(values, gradients) for _, gradients in kept]
            found = torch.autograd.grad([x for x, _ in kept], self._below, towards, allow_unused=True)
            accumulate(below, self._below, found)
        put(self._below, self.accelerate.reduce(below, "mean"))
        self._kept = []
        return weights

    def mixing(self, gram: Float[Tensor, "g g"]) -> Float[Tensor, " g"]:
        """By the maps of all ranks, whose losses are multiplied by the number of ranks."""
        maps = self.accelerate.reduce(self._gram, "sum") / self.accelerate.num_processes**2
        return least_norm(gram + maps, torch.stack(self._present).any(0))


def least_norm(gram: Float[Tensor, "g g"], present: Bool[Tensor, " g"]) -> Float[Tensor, " g"]:
    """The weights >= 0 of sum 1 with the least norm of sum_i w_i g_i, from the inner products of the g_i; 0 for what is
    not present.

    Frank-Wolfe with pairwise steps (Lacoste-Julien & Jaggi 2015): weight moves from one group to another, to the best
    place on that line, for the pair that shortens the sum most. For two groups one step is the closed form. A fixed
    number of steps, so that no host waits for the device.
    """
    count = len(gram)
    weights = present.to(gram.dtype) / present.sum().clamp(min=1)
    curvature = gram.diagonal()[:, None] + gram.diagonal() - 2 * gram  # [to, off], as all below
    curvature = curvature.clamp(min=torch.finfo(gram.dtype).tiny)
    pairs = torch.arange(count * count, device=gram.device).view(count, count)
    for _ in range(1 if count == 2 else _ITERATIONS):
        slope = gram @ weights
        gain = slope - slope[:, None]
        length = torch.minimum((gain / curvature).clamp(min=0), weights) * present[:, None]
        shorter = length * gain - length.square() * curvature / 2
        moved = length * (pairs == shorter.argmax())
        weights = weights + moved.sum(1) - moved.sum(0)
    return weights.clamp(min=0)


def _combined(weights: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Tensor:
    """The sum of w_i g_i over those there are."""
    parts = [(w * g.float()).to(g.dtype) for w, g in zip(weights, gradients, strict=False) if g is not None]
    return torch.stack(parts).sum(0)
