"""The images whose depth a network predicts best and worst, predicted once more to be looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8

from fathomseg.data.datasets.base import Dataset
from fathomseg.evaluation.depth_scoring import DepthPredictions, Rows
from fathomseg.io.images import resize_image
from fathomseg.metrics.depth import DepthProtocol


@dataclass(frozen=True, slots=True)
class DepthExample:
    """One image with its true depth and the predicted one, all at the size of the truth."""

    id: str
    abs_rel: float
    """Of this image, after median scaling."""
    image: UInt8[np.ndarray, "h w 3"]
    prediction: Float32[np.ndarray, "h w"]
    """z-depth in metres, after median scaling."""
    truth: Float32[np.ndarray, "h w"]
    """z-depth in metres, 0 = unknown."""
    counted: Bool[np.ndarray, "h w"]
    """The pixels that were scored."""


def depth_examples(
    source: DepthPredictions, dataset: Dataset, rows: Rows, protocol: DepthProtocol, count: int = 4
) -> tuple[list[DepthExample], list[DepthExample]]:
    """The best (from the best) and the worst (from the worst) images by median-scaled AbsRel; none is in both lists."""
    ranked = sorted(((row["median"]["abs_rel"], id) for id, row in rows.items()), reverse=True)
    worst = ranked[: min(count, (len(ranked) + 1) // 2)]
    best = ranked[len(worst) :][-count:][::-1]

    def example(abs_rel: float, id: str) -> DepthExample:
        truth = dataset.depth(id)
        assert truth is not None, "only images with a true depth have a score"
        prediction = source.predict(id, source.read(id), truth).cpu().numpy() * np.float32(rows[id]["image"]["scale"])
        image = resize_image(dataset.image(id), truth.shape)
        return DepthExample(id, abs_rel, image, prediction, truth, protocol.valid(torch.tensor(truth)).numpy())

    return [example(*one) for one in best], [example(*one) for one in worst]
