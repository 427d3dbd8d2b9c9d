"""The classes of a teacher's predictions, brought to the shares they have in the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int64
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part


class DistributionAlignment(Part):
    """Distribution alignment (ReMixMatch, Berthelot et al. 2020, section 3.1; CReST, Wei et al. 2021, section 3.3).

        p'(c | x) ~ p(c | x) (f_c / m_c)^power,    m <- momentum m + (1 - momentum) mean p

    f are the shares of the classes in the labels as they are drawn, each stream's counting alike, m those in what the
    teacher has predicted, begun at f. A teacher of few labels predicts too little of what is rare, or too much of it if
    the loss weighs classes: either is corrected, without which a student copies it.
    """

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """How much of m stays from batch to batch."""
    power: Annotated[float, Field(gt=0, le=1)] = 1.0
    """1: fully, as published in ReMixMatch. CReST lowers it, for tasks with labels of other shares."""

    @torch.no_grad()
    def observe(
        self,
        predicted: Float32[Tensor, " c"],
        logits: Float[Tensor, "b c _ _"],
        valid: Bool[Tensor, "b _ _"] | None = None,
    ) -> None:
        """Move m, in place, by a batch of the teacher's predictions, of all processes.

        `valid`, of any size: where the images are, for what is predicted in their padding says nothing; None =
        everywhere. Without a pixel of them m stays.
        """
        p = logits.float().softmax(1)
        shown = (
            torch.ones_like(p[:, 0])
            if valid is None
            else F.adaptive_avg_pool2d(valid.float(), (p.shape[2], p.shape[3]))
        )
        sums = torch.cat([(p * shown[:, None]).sum((0, 2, 3)), shown.sum()[None]])
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        mean = sums[:-1] / sums[-1].clamp(min=1e-6)
        predicted.lerp_(torch.where(sums[-1] > 0, mean, predicted), 1 - self.momentum)

    def correction(self, predicted: Float32[Tensor, " c"], shares: Float32[Tensor, " c"]) -> Float32[Tensor, " c"]:
        """power * log(m / f), to be taken off the logits."""
        return self.power * (predicted.clamp(min=1e-6).log() - shares.log())


def shares_of(pixels: Int64[Tensor, " c"]) -> Float32[Tensor, " c"]:
    """The share of each class in the labelled pixels; one without any counts as one pixel."""
    counted = pixels.clamp(min=1).double()
    return (counted / counted.sum()).float()


def together(counted: Sequence[Int64[Tensor, " c"]]) -> Int64[Tensor, " c"]:
    """Pixels of every class as the losses of several streams count them: each stream's loss is a mean of its own, so
    that its shares of the classes are added, however many pixels it holds."""
    most = max(int(pixels.sum()) for pixels in counted)
    alike = [(pixels.double() * most / pixels.sum().clamp(min=1)).round().long() for pixels in counted]
    return torch.stack(alike).sum(0)
