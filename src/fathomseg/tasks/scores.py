"""What the scores of every task offer: an accumulator over images, on one process or many."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from fathomseg.metrics.depth import DepthScores
from fathomseg.metrics.normals import NormalScores

Row = Mapping[str, Any]
"""The scores of one image: numbers by name, or groups of them."""


class TaskScores(ABC):
    """The scores of one task over the images seen so far."""

    @abstractmethod
    def update(self, id: str, fields: Mapping[str, Tensor], truth: Shaped[np.ndarray, "h w *c"]) -> None:
        """Add one image: the fields of its prediction (`Task.decode`) at the size of its truth."""

    @abstractmethod
    def all_reduce(self) -> None:
        """Add up over all ranks, each image's own scores too; every rank must call it."""

    @abstractmethod
    def result(self) -> dict[str, Any]:
        """The scores as plain JSON values, null where undefined; `Task.meaning` says what the keys mean."""

    @property
    @abstractmethod
    def rows(self) -> Mapping[str, Row]:
        """By image id its own scores, for images that have any."""


class ImageScores(TaskScores):
    """Scores of one field of the prediction that keep each image's own, on the CPU."""

    def __init__(self, field: str, scores: DepthScores | NormalScores) -> None:
        self._field, self._scores = field, scores

    def update(self, id: str, fields: Mapping[str, Tensor], truth: Shaped[np.ndarray, "h w *c"]) -> None:
        """Takes the field."""
        self._scores.update(id, fields[self._field].cpu(), torch.tensor(truth))

    def all_reduce(self) -> None:
        """Gather the images."""
        self._scores.all_reduce()

    def result(self) -> dict[str, Any]:
        """As the scores give it."""
        return self._scores.result()

    @property
    def rows(self) -> Mapping[str, Row]:
        """Every image's own: of depth, its errors under each alignment, and under "image" its scale and pixels."""
        return self._scores.images
