"""How a teacher's stored predictions are learned from: in place of a target that an image lacks, with a weight."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final

import torch
from jaxtyping import Shaped
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part
from fathomseg.data.distilled import target_name
from fathomseg.types import IGNORE, Batch

_UNKNOWN: Final = {"label": IGNORE}
"""What says nothing in a target; 0 elsewhere."""


class Distilled(Part):
    """What a task learns from the predictions of a teacher, which `fathom distill` has written (docs/distill.md).

    A sample that has the target itself never learns from a teacher's.
    """

    weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight beside 1 of the task's loss on real targets, from which it is averaged apart."""
    soft: bool = False
    """Segmentation: learn the teacher's probabilities (Hinton et al. 2015) and not its most probable class alone
    (Nekrasov et al. 2019). Needs a folder written with --soft."""
    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Pixels of which the teacher is less sure count nowhere; 0 = all count."""
    weigh: bool = False
    """Multiply the loss of each pixel by the teacher's confidence."""

    def uses(self, target: str) -> frozenset[str]:
        """The targets of a batch that it reads in the place of `target`; the others are never opened."""
        more = ["_classes", "_probabilities"] if self.soft else []
        more += ["_confidence"] if self.weigh or self.min_confidence > 0 else []
        return frozenset(target_name(target + end) for end in ["", *more])

    def stand_in(self, batch: Batch, target: str) -> Batch:
        """The batch with what the teacher says as its one `target`, and as TARGET_classes, TARGET_probabilities and
        TARGET_weight what a loss makes use of; without targets if no sample has any."""
        parts = ("", "_classes", "_probabilities") if self.soft else ("",)
        found = {name: batch.targets.get(target_name(target + name)) for name in parts}
        targets = {target + name: tensor for name, tensor in found.items() if tensor is not None}
        if target not in targets:
            return replace(batch, targets={}, present={})
        confidence = batch.targets.get(target_name(f"{target}_confidence"))
        if self.min_confidence > 0:
            assert confidence is not None, "what is used is read"
            targets[target] = _known(targets[target], confidence >= self.min_confidence, target)
        if self.weigh:
            assert confidence is not None, "what is used is read"
            targets[f"{target}_weight"] = confidence
        present = batch.present[target_name(target)]
        return replace(batch, targets=targets, present=dict.fromkeys(targets, present))


def _known(values: Shaped[Tensor, "b ..."], known: Shaped[Tensor, "b h w"], target: str) -> Shaped[Tensor, "b ..."]:
    """The target where it is known, and what says nothing elsewhere."""
    known = known if values.ndim == 3 else known[:, None]
    return torch.where(known, values, torch.full_like(values, _UNKNOWN.get(target, 0)))
