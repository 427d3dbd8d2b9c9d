"""Criteria for those who have a segmentation run already: the images it is least sure of."""

from __future__ import annotations

from abc import abstractmethod
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from fathomseg.data.datasets.files import Root
from fathomseg.errors import FathomError
from fathomseg.inference.card import Weights
from fathomseg.inference.predictor import load
from fathomseg.io.prefetch import ahead
from fathomseg.io.progress import named
from fathomseg.selection.base import Answer, Criterion, highest, times_the_median
from fathomseg.selection.pool import Pool
from fathomseg.selection.result import Choice

_BATCH: Final = 8


class _Unsure(Criterion):
    """The images of the highest mean uncertainty of a run's pixels, at the resolution of its output."""

    run: Root
    """The folder of a run with the task segmentation."""
    weights: Weights = "ema"
    """ema (averaged) or last."""

    @abstractmethod
    def uncertainty(self, logits: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        """0 (sure everywhere) .. 1 of each image."""

    def scores(self, pool: Pool) -> Float32[np.ndarray, " n"]:
        """The uncertainty of every image of the pool. Raises `FathomError` if the run is none or gives NaN."""
        predictor = load(self.run, self.weights, pool.place, tasks=("segmentation",))
        cache = pool.at(predictor.size_for(pool.size))
        batches = [pool.ids[start : start + _BATCH] for start in range(0, len(pool.ids), _BATCH)]
        found: list[Tensor] = []
        tell = named(pool.progress, "uncertainty")
        for _, reading in ahead(lambda ids: pool.read(ids, cache), batches):
            images = torch.from_numpy(reading.result()).permute(0, 3, 1, 2)
            found.append(self.uncertainty(predictor.maps(images)["segmentation"]).cpu())
            if tell is not None:
                tell(min(len(found) * _BATCH, len(pool.ids)), len(pool.ids))
        scores: Float32[np.ndarray, " n"] = torch.cat(found).numpy()
        if not np.isfinite(scores).all():
            raise FathomError(f"The network of {self.run} gives NaN: its weights are not finite. Train it anew.")
        return scores

    def _choose(self, pool: Pool, budget: int) -> Answer:
        scores = self.scores(pool)
        choices = []
        for rank, row in enumerate(highest(scores, pool.rows(pool.already), budget), 1):
            score = float(scores[row])
            reason = f"{self.run.name} is unsure here ({self.name} {score:.3f}), {times_the_median(score, scores)}."
            choices.append(Choice(id=pool.ids[row], rank=rank, scores={self.name: score}, reason=reason))
        return Answer(tuple(choices))


class Entropy(_Unsure):
    """Mean entropy of the pixels, as a share of the largest possible, log C."""

    name: Literal["entropy"] = "entropy"

    def uncertainty(self, logits: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        """-sum p log p / log C, averaged."""
        log_p = logits.log_softmax(1)
        return -(log_p.exp() * log_p).sum(1).mean((1, 2)) / float(np.log(logits.shape[1]))


class Margin(_Unsure):
    """Mean of 1 - (probability of the first class - probability of the second)."""

    name: Literal["margin"] = "margin"

    def uncertainty(self, logits: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        """1 - margin, averaged."""
        first, second = logits.softmax(1).topk(2, dim=1).values.unbind(1)
        return 1 - (first - second).mean((1, 2))
