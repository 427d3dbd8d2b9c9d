"""The contrastive loss between two kinds of maps, as (sum, count)."""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fathomseg.geometry.numerics import full_precision
from fathomseg.types import SumCount

_NOWHERE: Final = -1e30
"""The logit of a pair that takes no part: its exponential is 0, and no infinity gets into the gradient."""


@full_precision
def info_nce(
    first: Float[Tensor, "n e"], second: Float[Tensor, "n e"], scale: Float[Tensor, ""], pairs: Bool[Tensor, "n n"]
) -> SumCount:
    """Symmetric InfoNCE (Oord et al. 2018; Radford et al. 2021, figure 3) of unit vectors; row i of both belongs to
    sample i.

    The sum over samples of -log(e^(s a_i.b_i) / sum over j of e^(s a_i.b_j)) and of the same with a and b exchanged,
    and how many of these terms there are; s is `scale`. Only `pairs` (symmetric) take part: a sample whose own
    pair is not among them, or that has no other, counts nowhere.
    """
    logits = (scale * first @ second.T).masked_fill(~pairs, _NOWHERE)
    own, others = pairs.diagonal(), pairs.sum(1)
    taught = own & (others > 1)
    total = logits.new_zeros(())
    for table in (logits, logits.T):
        term = table.logsumexp(1) - table.diagonal()
        total = total + torch.where(taught, term, 0.0).sum()
    return total, 2.0 * taught.sum()


def told_apart(
    clip: Int64[Tensor, " n"], place: Int64[Tensor, " n"], there: Bool[Tensor, " n"], apart: int
) -> Bool[Tensor, "n n"]:
    """The pairs that `info_nce` looks at: every sample that is `there` with itself, and with those of other clips or at
    least `apart` frames away in its own. What lies nearer shows nearly the same and is no example of a wrong pair."""
    near = (clip[:, None] == clip) & ((place[:, None] - place).abs() < apart)
    itself = torch.eye(len(clip), dtype=torch.bool, device=clip.device)
    return there[:, None] & there & (itself | ~near)
