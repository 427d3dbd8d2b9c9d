"""ClassMix (Olsson et al. 2021, WACV): half of the classes of an image are pasted onto its partner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from fathomseg.mixing.base import Mixing
from fathomseg.mixing.draws import Use, generator, on_device
from fathomseg.mixing.pixels import Pixels
from fathomseg.types import IGNORE


class ClassMix(Mixing):
    """Keep the pixels of floor(n/2) of the n classes in the label of this image; the other image fills the rest.

    Ignored and invalid pixels are of no class and are filled too. An image of one class or none is filled altogether.
    """

    name: Literal["classmix"] = "classmix"

    def mask(self, this: Pixels, other: Pixels, keys: Sequence[int]) -> Bool[Tensor, "b h w"]:
        """True at the chosen classes."""
        label = this.label.long().masked_fill(~this.valid, IGNORE).flatten(1)
        kept = _half(_present(label), keys)
        return kept.gather(1, label).view_as(this.label)


def _present(label: Tensor) -> Bool[Tensor, "b 256"]:
    """Which classes occur in each image; ignore is none."""
    found = torch.zeros(label.shape[0], 256, dtype=torch.bool, device=label.device)
    found.scatter_(1, label, True)
    found[:, IGNORE] = False
    return found


def _half(present: Bool[Tensor, "b 256"], keys: Sequence[int]) -> Bool[Tensor, "b 256"]:
    """floor(n/2) of the n classes present, all choices equally likely: those of the lowest of random scores."""
    scores = on_device(np.array([generator(key, Use.CLASSES).random(256) for key in keys]), present)
    rank = scores.masked_fill(~present, torch.inf).argsort(1).argsort(1)
    return present & (rank < present.sum(1, keepdim=True) // 2)
