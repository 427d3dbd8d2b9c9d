"""Scoring predictions against the labels of a dataset, at the native size of the labels, on one process or many."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn

from fathomseg.data.datasets.base import Dataset
from fathomseg.errors import DataError, Problem
from fathomseg.inference.predictor import Inference, Predictor
from fathomseg.io.prefetch import ahead
from fathomseg.metrics.segmentation import SegmentationScores
from fathomseg.types import Size

Scored = tuple[UInt8[Tensor, "h w"], Float[Tensor, "h w"] | None]
"""Class indices and, if known, the confidence in them."""


@runtime_checkable
class Source(Protocol):
    """Where predictions come from. `read` runs in a thread ahead of time, `predict` in the main one."""

    def read(self, id: str) -> Shaped[np.ndarray, " ..."]:
        """Fetch what the prediction of a sample is made from. Raises `DataError`."""

    def predict(self, id: str, stored: Shaped[np.ndarray, " ..."], truth: UInt8[np.ndarray, "h w"]) -> Scored:
        """The prediction at the size of the label; `truth` serves to check it, not to make it. Raises `DataError`."""


@dataclass(frozen=True)
class FromNetwork:
    """Predictions of a network."""

    predictor: Predictor
    dataset: Dataset

    def read(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        """The image."""
        return self.dataset.image(id)

    def predict(self, id: str, stored: UInt8[np.ndarray, "h w 3"], truth: UInt8[np.ndarray, "h2 w2"]) -> Scored:
        """The network's prediction, on its device."""
        return self.predictor.score([stored], [truth.shape])[0]


def score(
    source: Source,
    dataset: Dataset,
    ids: Sequence[str],
    device: torch.device | str = "cpu",
    tick: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Any], dict[str, float | None]]:
    """The scores of these samples (`SegmentationScores.result()`), and each image's own mIoU by its id.

    In a distributed run every rank calls it and scores `ids[rank::world]`, so that every image counts once; all ranks
    return the same. Raises one `DataError` with everything that could not be read, after all images have been tried.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    scores = SegmentationScores(dataset.classes.names, device)
    mine: list[str] = []
    own: list[Tensor] = []
    problems: list[Problem] = []
    for id, read in ahead(lambda id: _read(source, dataset, id), ids[rank::world]):
        try:
            stored, truth = read.result()
            prediction, confidence = source.predict(id, stored, truth)
            own.append(scores.update(prediction.to(device), confidence, torch.tensor(truth, device=device)))
            mine.append(id)
        except DataError as error:
            problems += error.problems
        tick()
    values = torch.stack(own).tolist() if own else []
    images = {id: None if np.isnan(value) else value for id, value in zip(mine, values, strict=True)}
    if world > 1:
        images, problems = _gather(images, problems, world)
        scores.all_reduce()
    if problems:
        raise DataError(problems)
    return scores.result(), {id: images[id] for id in ids}


def evaluate_network(
    network: nn.Module,
    dataset: Dataset,
    ids: Sequence[str],
    inference: Inference,
    size: Size,
    device: torch.device | str,
) -> dict[str, Any]:
    """The scores of a network that lies on `device`, for the training loop: writes nothing and leaves it as it is.

    `size` is the working (height, width) of the run. In a distributed run every rank must call it.
    """
    predictor = Predictor(network, dataset.classes, size, device, inference)
    return score(FromNetwork(predictor, dataset), dataset, ids, device)[0]


@contextmanager
def processes(wanted: str = "auto") -> Iterator[torch.device]:
    """The device of this process, which joins the others if torchrun started several (and training has not).

    `wanted`: "cpu", or anything else for a GPU where there is one.
    """
    world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if wanted != "cpu" and torch.cuda.is_available() else torch.device("cpu")
    ours = world > 1 and not dist.is_initialized()
    if ours:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        if ours:
            dist.destroy_process_group()


def _read(source: Source, dataset: Dataset, id: str) -> tuple[Shaped[np.ndarray, " ..."], UInt8[np.ndarray, "h w"]]:
    truth = dataset.label(id)
    if truth is None:
        raise DataError([Problem(id, "has no label, so it cannot be scored")])
    return source.read(id), truth


def _gather(
    images: dict[str, float | None], problems: list[Problem], world: int
) -> tuple[dict[str, float | None], list[Problem]]:
    """What all ranks found, so that all of them go on or all of them stop."""
    found: list[Any] = [None] * world
    dist.all_gather_object(found, (images, problems))
    together: dict[str, float | None] = {}
    for part, _ in found:
        together.update(part)
    return together, [problem for _, part in found for problem in part]
