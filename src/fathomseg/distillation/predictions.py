"""What is stored of a teacher's predictions, as arrays at the size of the image (names as in `data.distilled`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import Tensor

from fathomseg.data.class_match import ClassMatch
from fathomseg.tasks.resampling import strips
from fathomseg.types import IGNORE, Size

Predictions = dict[str, NDArray[Any]]
"""Arrays of one image by name."""

TOP = 4
"""Classes whose probabilities are kept of a soft prediction."""


@torch.inference_mode()
def labels(logits: Float32[Tensor, "c h w"], size: Size, match: ClassMatch, soft: bool) -> Predictions:
    """The teacher's most probable class as a class of the dataset, and how sure it is; with `soft` also `TOP` classes.

    Confidence is the probability of all the teacher's classes that are that class of the dataset. A pixel whose most
    probable class has no partner is ignored. Soft probabilities are those of the dataset's classes, of sum 1: what the
    teacher gives to classes without a partner is left out.
    """
    count = len(match.ours)
    partners = [count if partner is None else partner for partner in match.partners]
    index = torch.tensor(partners, device=logits.device)
    top = min(TOP, count)
    found = {
        "label": torch.empty(size, dtype=torch.uint8),
        "label_confidence": torch.empty(size),
        **({"label_classes": torch.empty(*size, top, dtype=torch.uint8)} if soft else {}),
        **({"label_probabilities": torch.empty(*size, top)} if soft else {}),
    }
    for rows, strip in strips(logits, size):
        p = strip.softmax(0)
        sums = p.new_zeros(count + 1, *p.shape[1:]).index_add_(0, index, p)
        best = index[p.argmax(0)]
        confidence = sums.gather(0, best[None])[0].clamp(max=1)
        found["label"][rows] = torch.where(best == count, IGNORE, best).byte().cpu()
        found["label_confidence"][rows] = torch.where(best == count, 0.0, confidence).cpu()
        if soft:
            whole = sums[:count].sum(0).clamp(min=1e-30)
            values, classes = (sums[:count] / whole).topk(top, dim=0)
            found["label_classes"][rows] = classes.byte().permute(1, 2, 0).cpu()
            found["label_probabilities"][rows] = values.permute(1, 2, 0).cpu()
    return {name: tensor.numpy() for name, tensor in found.items()}


def agreement(a: Float32[Tensor, "h w"], b: Float32[Tensor, "h w"]) -> Float32[Tensor, "h w"]:
    """How sure a teacher of depth is: the smaller of two depths of a pixel (of the image and of its mirror) over the
    larger, 1 = they agree; 0 where one is not positive."""
    ratio = torch.minimum(a, b) / torch.maximum(a, b).clamp(min=1e-12)
    return torch.where((a > 0) & (b > 0), ratio, 0.0)


def finite(prediction: Predictions) -> bool:
    """Whether all its numbers are."""
    return all(bool(np.isfinite(array).all()) for array in prediction.values() if array.dtype.kind == "f")
