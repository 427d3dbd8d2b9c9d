"""`uncertainty`: weights are learned with the network, as how uncertain each task is (Kendall et al. 2018, eq. 10)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fathomseg.engine.balancing.base import Groups, OfTerms, TermLoss, Weighing
from fathomseg.models.network import Network


class Uncertainty(OfTerms):
    """The sum of exp(-s_i) L_i + s_i / 2, s_i = log sigma_i^2, at first 0.

    The factor 1/2 the paper gives regressions only shifts their s_i, and is left out. A weight tends to 1 / (2 L_i).
    """

    name: Literal["uncertainty"] = "uncertainty"

    def build(self, groups: Groups, network: Network) -> UncertaintyBalancer:
        """With a parameter for each group; its learning rate is `optimiser.factors.balancing`."""
        return UncertaintyBalancer(self.chosen(groups))


class UncertaintyBalancer(Weighing):
    """Log-variances as parameters of the step."""

    def __init__(self, groups: Collection[str]) -> None:
        super().__init__(groups)
        self.log_variance = nn.Parameter(torch.zeros(len(self.groups)))
        self._present: list[Tensor] = []

    def begin(self, step: int, seed: int) -> None:
        """No micro-batch yet."""
        self._present = []

    def weights(self) -> Float[Tensor, " g"]:
        """exp(-s)."""
        return (-self.log_variance).exp()

    def backward(self, losses: Sequence[TermLoss], last: bool) -> None:
        """s / 2 once a step, of groups that had anything to learn from in it: the others' weights would only grow."""
        self._present.append(self.seen(losses)[1])
        loss = self.weighted(losses)
        if last:
            loss = loss + (torch.stack(self._present).any(0) * self.log_variance / 2).sum()
        self.accelerate.backward(loss)
