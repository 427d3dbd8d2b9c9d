"""Retrieval: how often the right one of many is found by similarity, from either of two kinds."""

from __future__ import annotations

from typing import Any, Final

from jaxtyping import Float, Int64
from torch import Tensor

TOP: Final = (1, 5)

MEANING: Final = {
    "pool": "pairs of a depth map and a segmentation among which the partner is looked for, near duplicates left out",
    "left_out": "samples with both that are not in the pool, since they lie fewer than `apart` frames from one that is",
    "apart": "least distance in frames between two samples of one clip in the pool",
    "top1": "share of the maps whose true partner is the most similar of the pool",
    "top5": "share of the maps whose true partner is among the five most similar",
    "chance": "the same shares for similarities that say nothing: 1 / pool and 5 / pool",
}
"""What each key of the scores means; written beside the numbers."""


def ranks(similarity: Float[Tensor, "n n"]) -> Int64[Tensor, " n"]:
    """By row the place of the diagonal among its columns, 0 = most similar. Of equals the wrong ones come first, so
    that a model which says the same of everything finds nothing, nor does one that gives NaN."""
    own = similarity.diagonal()[:, None]
    return (~(similarity < own)).sum(1) - 1


def retrieval(first: Float[Tensor, "n e"], second: Float[Tensor, "n e"]) -> dict[str, dict[str, float]]:
    """Top-1 and top-5 accuracy (0..1) from depth (`first`) to segmentation (`second`) and back, and that of chance."""
    similarity = first.double() @ second.double().T
    places = {"depth_to_segmentation": ranks(similarity), "segmentation_to_depth": ranks(similarity.T)}
    scores = {name: {f"top{k}": float((place < k).double().mean()) for k in TOP} for name, place in places.items()}
    return {**scores, "chance": {f"top{k}": min(1.0, k / len(first)) for k in TOP}}


def scores(first: Float[Tensor, "n e"], second: Float[Tensor, "n e"], left_out: int, apart: int) -> dict[str, Any]:
    """`retrieval` with the size of the pool; keys are explained by `MEANING`."""
    return {"pool": len(first), "left_out": left_out, "apart": apart, **retrieval(first, second)}
