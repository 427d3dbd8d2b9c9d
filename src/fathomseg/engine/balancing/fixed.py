"""`fixed`: the weights of the recipe, which well tuned are hard to beat (Vandenhende et al. 2021, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fathomseg.engine.balancing.base import Balancer, Balancing, Groups, TermLoss, total
from fathomseg.models.network import Network


class Fixed(Balancing):
    """The weights of the recipe."""

    name: Literal["fixed"] = "fixed"

    def build(self, groups: Groups, network: Network) -> FixedBalancer:
        """Nothing to know."""
        return FixedBalancer(groups)


class FixedBalancer(Balancer):
    """One backward pass of the sum of all terms."""

    def backward(self, losses: Sequence[TermLoss], last: bool) -> None:
        """In the order of the terms."""
        self.accelerate.backward(total(loss.mine for loss in losses))
