"""What every balancing of tasks offers: from the loss terms of a step to the gradient of every parameter.

What is balanced are groups of terms (`Objective.groups`): those of a task in `supervised`, and those of every other
objective that trains an output. Terms of one group keep their weights to each other, as an early output and the final
one, or smoothness and the photometric error. L_i below is the loss of a group with its weights in the recipe.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.errors import FathomError
from fathomseg.models.network import Network

if TYPE_CHECKING:
    import accelerate

Groups = Mapping[str, Collection[str]]
"""By name of a group the outputs of the network that it trains."""


@dataclass(frozen=True, slots=True)
class TermLoss:
    """One loss term of one micro-batch, times its weight in the recipe and divided by the count of the whole step."""

    group: str
    mine: Float[Tensor, ""]
    """To differentiate on this rank, such that the mean of the ranks' gradients is the gradient."""
    everyone: Float[Tensor, ""]
    """Over all ranks, to look at."""
    count: Float[Tensor, ""]
    """What it was summed over, on all ranks; 0 where there was nothing to learn from."""


class Balancing(Part, ABC):
    """The settings of a balancing."""

    name: str

    splits_backward: ClassVar[bool] = False
    """Whether it differentiates parts of a step by themselves, which a compiled network cannot do."""

    @abstractmethod
    def build(self, groups: Groups, network: Network) -> Balancer:
        """The balancing at work on these groups of terms."""

    def misfit(self, groups: Groups) -> str | None:
        """Why it cannot balance these groups, with what to set; None if it can."""
        return None


class OfTerms(Balancing):
    """What all but `fixed` share."""

    terms: tuple[str, ...] | None = None
    """The groups of loss terms that are balanced, such as `supervised.segmentation` or `photometric`; null = all. The
    others keep their weights in the recipe."""

    def chosen(self, groups: Groups) -> dict[str, Collection[str]]:
        """Those of the groups that are balanced."""
        return {name: outputs for name, outputs in groups.items() if self.terms is None or name in self.terms}

    def misfit(self, groups: Groups) -> str | None:
        """Balancing takes two."""
        known = ", ".join(groups)
        if unknown := [name for name in self.terms or () if name not in groups]:
            return f"balancing.terms has {unknown[0]!r}, which nothing trains; there is: {known}"
        if len(self.chosen(groups)) < 2:
            return f"balancing {self.name!r} needs two groups of loss terms, of: {known}; give balancing.name=fixed"
        return None


class Balancer(nn.Module, ABC):
    """A balancing at work. What a checkpoint must hold of it is in its `state_dict`, the same on all ranks."""

    def __init__(self, groups: Collection[str]) -> None:
        super().__init__()
        self.groups = tuple(groups)

    def stand_in(self, pairs: Iterable[tuple[nn.Parameter, nn.Parameter]]) -> None:
        """Called before `prepare` with parameters that take the place of the network's own in some passes
        (`OwnNorms.originals`), each with the one it stands for."""

    def prepare(self, accelerate: accelerate.Accelerator, parameters: Sequence[nn.Parameter]) -> None:
        """Called once, before the first step, with everything that is trained."""
        self.accelerate = accelerate

    def begin(self, step: int, seed: int) -> None:
        """Called before every optimiser step; `seed` is that of the step, the same on all ranks."""

    @abstractmethod
    def backward(self, losses: Sequence[TermLoss], last: bool) -> None:
        """Take in the losses of one micro-batch; `last` says that no other follows in this step."""

    def finish(self) -> Mapping[str, Float[Tensor, ""]]:
        """Called after the last micro-batch: every gradient is in its place then. Returns the weights to log."""
        return {}

    def split(self, losses: Sequence[TermLoss]) -> tuple[list[Float[Tensor, ""]], Float[Tensor, ""] | None]:
        """The loss of each group to differentiate, and that of all other terms, if there are any."""
        own = [total(loss.mine for loss in losses if loss.group == group) for group in self.groups]
        rest = [loss.mine for loss in losses if loss.group not in self.groups]
        return own, total(rest) if rest else None

    def seen(self, losses: Sequence[TermLoss]) -> tuple[Float[Tensor, " g"], Bool[Tensor, " g"]]:
        """The loss of each group over all ranks, and whether there was anything to learn from."""
        own = [[loss for loss in losses if loss.group == group] for group in self.groups]
        values = torch.stack([total(loss.everyone for loss in terms) for terms in own])
        return values, torch.stack([total(loss.count for loss in terms) for terms in own]) > 0

    def scaled(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The loss as it must be differentiated in fp16, where small gradients would vanish."""
        return loss if self.accelerate.scaler is None else self.accelerate.scaler.scale(loss)

    def logged(self, weights: Float[Tensor, " g"]) -> dict[str, Float[Tensor, ""]]:
        """Weights by group."""
        return dict(zip(self.groups, weights.detach().unbind(), strict=True))


class Weighing(Balancer):
    """One that knows the weights w_i before the backward pass of the sum of w_i L_i, and needs no other."""

    @abstractmethod
    def weights(self) -> Float[Tensor, " g"]:
        """Of each group."""

    def backward(self, losses: Sequence[TermLoss], last: bool) -> None:
        """The weighted sum."""
        self.accelerate.backward(self.weighted(losses))

    def weighted(self, losses: Sequence[TermLoss]) -> Float[Tensor, ""]:
        """Of all groups, and the other terms as they are."""
        own, rest = self.split(losses)
        loss = (self.weights() * torch.stack(own)).sum()
        return loss if rest is None else loss + rest

    def finish(self) -> Mapping[str, Float[Tensor, ""]]:
        """The weights of this step."""
        return self.logged(self.weights())


def total(losses: Iterable[Float[Tensor, ""]]) -> Float[Tensor, ""]:
    """Their sum from left to right. Raises `FathomError` if there is none."""
    found = list(losses)
    if not found:
        raise FathomError("A group of loss terms has no term in this step; name others in balancing.terms.")
    return functools.reduce(torch.add, found)
