"""`dwa`, dynamic weight average: what falls slower counts more (Liu et al. 2019, "MTAN", eq. 7)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fathomseg.engine.balancing.base import Groups, OfTerms, TermLoss, Weighing
from fathomseg.models.network import Network


class DynamicWeightAverage(OfTerms):
    """w_i = K exp(r_i / T) / sum_k exp(r_k / T), r_i = the mean of L_i in the last window over that in the one before.

    All are 1 in the first two windows.
    """

    name: Literal["dwa"] = "dwa"
    temperature: Annotated[float, Field(gt=0)] = 2.0
    """T: the higher, the more equal."""
    window: Annotated[int, Field(gt=0)] = 100
    """Steps over which losses are averaged; an epoch in the paper."""

    def build(self, groups: Groups, network: Network) -> DwaBalancer:
        """No window is over yet."""
        return DwaBalancer(self.chosen(groups), self.temperature, self.window)


class DwaBalancer(Weighing):
    """Mean losses, kept on the device."""

    sums: Float[Tensor, " g"]
    steps: Float[Tensor, " g"]
    last: Float[Tensor, " g"]
    before: Float[Tensor, " g"]

    def __init__(self, groups: Collection[str], temperature: float, window: int) -> None:
        super().__init__(groups)
        self.temperature, self.window = temperature, window
        for name in ("sums", "steps", "last", "before"):  # of this window; means of the last two, 0 = none
            self.register_buffer(name, torch.zeros(len(self.groups)))
        self._seen: list[tuple[Tensor, Tensor]] = []

    def begin(self, step: int, seed: int) -> None:
        """A new window every so many steps. A group that had nothing to learn from in one keeps its mean."""
        self._seen = []
        if step % self.window == 0 and step > 0:
            there = self.steps > 0
            mean = self.sums / self.steps.clamp(min=1)
            self.before.copy_(torch.where(there, self.last, self.before))
            self.last.copy_(torch.where(there, mean, self.last))
            self.sums.zero_()
            self.steps.zero_()

    def weights(self) -> Float[Tensor, " g"]:
        """Of the two last windows."""
        known = self.before > 0
        ratio = torch.where(known, self.last / torch.where(known, self.before, 1.0), 1.0)
        return len(self.groups) * (ratio / self.temperature).softmax(0)

    def backward(self, losses: Sequence[TermLoss], last: bool) -> None:
        """Takes note of the losses."""
        super().backward(losses, last)
        self._seen.append(self.seen(losses))

    def finish(self) -> dict[str, Float[Tensor, ""]]:
        """The losses of this step belong to the window."""
        values, present = (torch.stack(column) for column in zip(*self._seen, strict=True))
        self.sums += values.sum(0)
        self.steps += present.any(0)
        return self.logged(self.weights())
