"""Scoring predicted depth against the true depth of a dataset, at its native size, on one process or many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float32, Shaped, UInt8
from torch import Tensor, nn

from fathomseg.data.datasets.base import Dataset
from fathomseg.errors import DataError, Problem
from fathomseg.inference.depth_predictor import DepthPredictor
from fathomseg.io.prefetch import ahead
from fathomseg.metrics.depth import DepthProtocol, DepthScores, Row
from fathomseg.types import Size

Rows = Mapping[str, Mapping[str, Row]]
"""By image id: its own errors under each alignment, and under "image" its scale and pixels."""


@runtime_checkable
class DepthPredictions(Protocol):
    """Where predicted depth comes from. `read` runs in a thread ahead of time, `predict` in the main one."""

    def read(self, id: str) -> Shaped[np.ndarray, " ..."]:
        """Fetch what the prediction of a sample is made from. Raises `DataError`."""

    def predict(
        self, id: str, stored: Shaped[np.ndarray, " ..."], truth: Float32[np.ndarray, "h w"]
    ) -> Float32[Tensor, "h w"]:
        """Depth at the size of the truth, which serves to check it, not to make it. Raises `DataError`."""


@dataclass(frozen=True)
class FromDepthNetwork:
    """Depth predicted by a network."""

    predictor: DepthPredictor
    dataset: Dataset

    def read(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        """The image."""
        return self.dataset.image(id)

    def predict(
        self, id: str, stored: UInt8[np.ndarray, "h w 3"], truth: Float32[np.ndarray, "h2 w2"]
    ) -> Float32[Tensor, "h2 w2"]:
        """The network's depth in its own unit; its disparity is what is resampled."""
        return torch.from_numpy(self.predictor.predict(stored, truth.shape).depth)


def evaluate_depth(
    source: DepthPredictions,
    dataset: Dataset,
    ids: Sequence[str],
    protocol: DepthProtocol | None = None,
    tick: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Any], Rows]:
    """The scores of those of these samples that have a true depth (`DepthScores.result()`), and each image's own.

    In a distributed run every rank calls it and scores `ids[rank::world]`, so that every image counts once; all ranks
    return the same. Raises one `DataError` with everything that could not be read, after all images have been tried.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    scores = DepthScores(protocol)
    problems: list[Problem] = []
    for id, read in ahead(lambda id: _read(source, dataset, id), ids[rank::world]):
        try:
            if (found := read.result()) is not None:
                stored, truth = found
                scores.update(id, source.predict(id, stored, truth), torch.tensor(truth))
        except DataError as error:
            problems += error.problems
        tick()
    if world > 1:
        scores.all_reduce()
        problems = gathered(problems, world)
    if problems:
        raise DataError(problems)
    return scores.result(), {id: scores.images[id] for id in ids if id in scores.images}


def evaluate_depth_network(
    network: nn.Module,
    depth_range: tuple[float, float],
    dataset: Dataset,
    ids: Sequence[str],
    size: Size,
    device: torch.device | str,
    protocol: DepthProtocol | None = None,
) -> dict[str, Any]:
    """The scores of a network that lies on `device`, for the training loop: writes nothing and leaves it as it is.

    `depth_range` is the depth of disparity 1 and of 0, `size` the working (height, width) of the run. Samples without a
    true depth are passed over; if none has one, "images" is 0. In a distributed run every rank must call it.
    """
    predictor = DepthPredictor(network, size, depth_range, device)
    return evaluate_depth(FromDepthNetwork(predictor, dataset), dataset, ids, protocol)[0]


def has_depth(dataset: Dataset, id: str) -> bool:
    """Whether the sample has a true depth. A file that cannot be read counts: scoring will name it."""
    try:
        return dataset.depth(id) is not None
    except DataError:
        return True


def gathered(problems: list[Problem], world: int) -> list[Problem]:
    """The problems of all ranks, so that all of them go on or all of them stop."""
    found: list[Any] = [None] * world
    dist.all_gather_object(found, problems)
    return [problem for part in found for problem in part]


def _read(
    source: DepthPredictions, dataset: Dataset, id: str
) -> tuple[Shaped[np.ndarray, " ..."], Float32[np.ndarray, "h w"]] | None:
    truth = dataset.depth(id)
    return None if truth is None else (source.read(id), truth)
