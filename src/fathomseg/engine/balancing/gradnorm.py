"""`gradnorm`: weights are moved until all groups train at similar rates (Chen et al. 2018, eqs. 1, 2, algorithm 1)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from fathomseg.engine.balancing.base import Groups, OfTerms, TermLoss, Weighing
from fathomseg.errors import FathomError
from fathomseg.models.network import Network

if TYPE_CHECKING:
    import accelerate


class GradNorm(OfTerms):
    """Minimises sum_i |G_i - mean(G) r_i^alpha| over the weights, G_i the norm of the gradient of w_i L_i at the last
    layer all share, r_i = (L_i / L_i(0)) over its mean. Weights sum up to their number.

    A step of gradient descent at the rate `lr` for each of the network's; G is taken in units of its mean, so that the
    rate needs no knowledge of a network's gradients.
    """

    name: Literal["gradnorm"] = "gradnorm"
    alpha: Annotated[float, Field(ge=0)] = 1.5
    """How strongly groups that lag behind are favoured; 0 = all gradients of one norm."""
    lr: Annotated[float, Field(gt=0)] = 0.025
    """Learning rate of the weights."""

    splits_backward: ClassVar[bool] = True

    def build(self, groups: Groups, network: Network) -> GradNormBalancer:
        """At the last layer that all groups share."""
        chosen = self.chosen(groups)
        return GradNormBalancer(chosen, network.last_shared_weights(list(chosen.values())), self.alpha, self.lr)


class GradNormBalancer(Weighing):
    """Weights and first losses, kept on the device."""

    current: Float[Tensor, " g"]
    first: Float[Tensor, " g"]

    def __init__(self, groups: Collection[str], layers: Sequence[nn.Parameter], alpha: float, lr: float) -> None:
        """`layers`: the weights that all groups share; the last one that is trained is looked at."""
        super().__init__(groups)
        self.alpha, self.lr, self._layers = alpha, lr, list(layers)
        self.register_buffer("current", torch.ones(len(self.groups)))
        self.register_buffer("first", torch.zeros(len(self.groups)))

    def prepare(self, accelerate: accelerate.Accelerator, parameters: Sequence[nn.Parameter]) -> None:
        """Raises `FathomError` if the groups share nothing that is trained."""
        super().prepare(accelerate, parameters)
        trained = [layer for layer in self._layers if layer.requires_grad]
        if not trained:
            raise FathomError(
                f"balancing 'gradnorm' compares gradients at a layer that {', '.join(self.groups)} share, and they "
                "share none that is trained: give balancing.name=uncertainty or dwa, or other balancing.terms."
            )
        self._layer = trained[-1]

    def begin(self, step: int, seed: int) -> None:
        """No micro-batch yet."""
        self._gradients = torch.zeros(len(self.groups), self._layer.numel(), device=self._layer.device)
        self._values: list[Tensor] = []
        self._present: list[Tensor] = []

    def weights(self) -> Float[Tensor, " g"]:
        """As they are at the beginning of the step."""
        return self.current

    def backward(self, losses: Sequence[TermLoss], last: bool) -> None:
        """Each group's gradient at the layer, then one backward pass of the weighted sum."""
        own, _ = self.split(losses)
        for i, loss in enumerate(own):
            (found,) = torch.autograd.grad(self.scaled(loss), [self._layer], retain_graph=True)
            self._gradients[i] += found.flatten()
        values, present = self.seen(losses)
        self._values.append(values)
        self._present.append(present)
        super().backward(losses, last)

    @torch.no_grad()
    def finish(self) -> dict[str, Float[Tensor, ""]]:
        """Logs the weights of this step, and moves them for the next."""
        used = self.current.clone()
        norms = torch.linalg.vector_norm(self.accelerate.reduce(self._gradients, "mean"), dim=1)
        values, present = torch.stack(self._values).sum(0), torch.stack(self._present).any(0)
        self.first.copy_(torch.where((self.first == 0) & present, values, self.first))
        moved = self._moved(norms, values / torch.where(self.first > 0, self.first, 1.0), present)
        # In fp16 a gradient may overflow; the scaler skips such a step, and so do the weights.
        self.current.copy_(torch.where(moved.isfinite().all(), moved, self.current))
        return self.logged(used)

    def _moved(
        self, norms: Float[Tensor, " g"], ratios: Float[Tensor, " g"], present: Bool[Tensor, " g"]
    ) -> Float[Tensor, " g"]:
        """The weights after a step against the gradient of eq. 2; of groups without a loss as they were."""
        count = present.sum().clamp(min=1)
        weighted = self.current * norms
        mean = (weighted * present).sum() / count
        rate = ratios / ((ratios * present).sum() / count)
        slope = torch.sign(weighted - mean * rate**self.alpha) * norms / mean
        moved = (self.current - self.lr * torch.where(present, slope, 0.0)).clamp(min=1e-3)
        return moved * len(self.groups) / moved.sum()
