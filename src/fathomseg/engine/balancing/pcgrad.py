"""`pcgrad`: where gradients of groups conflict, they are projected (Yu et al. 2020, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fathomseg.engine.balancing.base import Groups, OfTerms
from fathomseg.engine.balancing.by_group import ByGroup
from fathomseg.models.network import Network


class PcGrad(OfTerms):
    """g_i -= (g_i . g_j) / |g_j|^2 g_j for every other j, in random order, if g_i . g_j < 0; then all are added up."""

    name: Literal["pcgrad"] = "pcgrad"

    splits_backward: ClassVar[bool] = True

    def build(self, groups: Groups, network: Network) -> PcGradBalancer:
        """Of the parameters that more than one group reaches."""
        chosen = self.chosen(groups)
        return PcGradBalancer(chosen, network.shared_parameters(list(chosen.values())))


class PcGradBalancer(ByGroup):
    """A backward pass for each group, and the projections in the space the g_i span."""

    def begin(self, step: int, seed: int) -> None:
        """The order is a function of the seed and the step, so all ranks have the same."""
        super().begin(step, seed)
        random, count = np.random.default_rng((seed, step)), len(self.groups)
        self._orders = [[j for j in random.permutation(count).tolist() if j != i] for i in range(count)]

    def mixing(self, gram: Float[Tensor, "g g"]) -> Float[Tensor, " g"]:
        """How often each g_j is in the sum of the projected gradients."""
        return projected(gram, self._orders).sum(0)


def projected(gram: Float[Tensor, "g g"], orders: Sequence[Sequence[int]]) -> Float[Tensor, "g g"]:
    """Row i: the projected g_i as coefficients of the g_j; `orders[i]` are the j in the order of the projections."""
    rows = []
    for i, order in enumerate(orders):
        row = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)[i]
        for j in order:
            product = row @ gram[:, j]
            conflict = product.clamp(max=0) / gram[j, j].clamp(min=torch.finfo(gram.dtype).tiny)
            row = torch.cat([row[:j], (row[j] - conflict)[None], row[j + 1 :]])
        rows.append(row)
    return torch.stack(rows)
