"""The images a network does best and worst on, predicted once more to be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from fathomseg.data.datasets.base import Dataset
from fathomseg.evaluation.scoring import Source
from fathomseg.io.images import resize_image


@dataclass(frozen=True, slots=True)
class Example:
    """One image with its label and prediction, all at the size of the label."""

    id: str
    miou: float
    image: UInt8[np.ndarray, "h w 3"]
    truth: UInt8[np.ndarray, "h w"]
    prediction: UInt8[np.ndarray, "h w"]


def examples(
    source: Source, dataset: Dataset, images: Mapping[str, float | None], count: int = 4
) -> tuple[list[Example], list[Example]]:
    """The best (from the best) and the worst (from the worst) images by their own mIoU; none is in both lists."""
    ranked = sorted((value, id) for id, value in images.items() if value is not None)
    worst = ranked[: min(count, (len(ranked) + 1) // 2)]
    best = ranked[len(worst) :][-count:][::-1]
    return [_example(source, dataset, *one) for one in best], [_example(source, dataset, *one) for one in worst]


def _example(source: Source, dataset: Dataset, miou: float, id: str) -> Example:
    truth = dataset.label(id)
    assert truth is not None, "only labelled images have a score"
    prediction, _ = source.predict(id, source.read(id), truth)
    return Example(id, miou, resize_image(dataset.image(id), truth.shape), truth, prediction.cpu().numpy())
