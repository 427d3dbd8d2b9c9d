"""Scoring predictions of any tasks against what a dataset knows, at its native size, on one process or many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

from fathomseg.data.datasets.base import Dataset
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.inference.card import ModelCard
from fathomseg.inference.predictor import Predictor
from fathomseg.io.images import LARGE_PIXELS
from fathomseg.io.prefetch import ahead
from fathomseg.io.ranks import gathered, rank_and_world
from fathomseg.metrics.depth import DepthProtocol
from fathomseg.tasks.base import Task
from fathomseg.tasks.scores import Row

Truths = Mapping[str, Shaped[np.ndarray, "_ _ *_"]]
"""By task what the dataset knows of one sample."""

Fields = Mapping[str, Mapping[str, Tensor]]
"""By task the fields of a prediction (`Task.decode`)."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of one task."""

    result: dict[str, Any]
    """As `TaskScores.result` gives it."""
    rows: dict[str, Row]
    """By image id its own scores, in the order of the ids, for images that have any."""


@runtime_checkable
class Source(Protocol):
    """Where predictions come from. `read` runs in a thread ahead of time, `predict` in the main one."""

    @property
    def card(self) -> ModelCard | None:
        """Of the network they are of, if it is known: how depth is aligned, and which classes are scored alone too."""

    def read(self, id: str) -> Shaped[np.ndarray, " ..."]:
        """Fetch what the prediction of a sample is made from. Raises `DataError`."""

    def predict(self, id: str, stored: Shaped[np.ndarray, " ..."], truths: Truths) -> Fields:
        """The prediction of each of these tasks, at the size of its truth, which serves to check it, not to make it.

        Raises `DataError`.
        """


@dataclass(frozen=True)
class FromNetwork:
    """Predictions of a network: of all its tasks in one pass."""

    predictor: Predictor
    dataset: Dataset

    @property
    def card(self) -> ModelCard:
        """The predictor's."""
        return self.predictor.card

    def read(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        """The image."""
        return self.dataset.image(id)

    def predict(self, id: str, stored: UInt8[np.ndarray, "h w 3"], truths: Truths) -> Fields:
        """The network's predictions, on its device."""
        (fields,) = self.predictor.by_task([stored], [{name: truth.shape[:2] for name, truth in truths.items()}])
        return fields


def score(
    source: Source,
    dataset: Dataset,
    ids: Sequence[str],
    tasks: Mapping[str, Task],
    device: torch.device | str = "cpu",
    protocol: DepthProtocol | None = None,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Scored]:
    """The scores of each of these tasks that the dataset has a truth for on some of these samples.

    `protocol` says which pixels of a true depth count; what it leaves open is as the card of the source says. In a
    distributed run every rank calls it and scores `ids[rank::world]`, so that every image counts once; all ranks return
    the same. Raises one `DataError` with everything that could not be read, after all images have been tried.
    """
    rank, world = rank_and_world()
    protocol, card = protocol or DepthProtocol(), source.card
    if protocol.alignment is None and card is not None:
        protocol = replace(protocol, alignment=card.depth_alignment)
    scores = {name: task.scores(dataset, device, protocol) for name, task in tasks.items()}
    seen: set[str] = set()
    problems: list[Problem] = []
    mine = ids[rank::world]
    pace = (1, 1) if mine and _are_large(dataset, mine[0]) else (4, None)
    for id, read in ahead(partial(_read, source, dataset, tasks), mine, *pace):
        try:
            if (found := read.result()) is not None:
                stored, truths = found
                fields = source.predict(id, stored, truths)
                for name, truth in truths.items():
                    scores[name].update(id, fields[name], truth)
                seen |= truths.keys()
        except DataError as error:
            problems += error.problems
        tick()
    if problems := gathered(problems):
        raise DataError(problems)
    known = set(gathered(sorted(seen)))
    scored = {}
    for name in (name for name in tasks if name in known):
        if world > 1:
            scores[name].all_reduce()
        rows = scores[name].rows
        result = scores[name].result()
        result |= tasks[name].over_classes(result, () if card is None else card.shared_classes)
        scored[name] = Scored(result, {id: rows[id] for id in ids if id in rows})
    return scored


def with_truth(
    dataset: Dataset, tasks: Mapping[str, Task], ids: Sequence[str], limit: int | None = None
) -> tuple[list[str], dict[str, Task]]:
    """The ids to score (all, or the first `limit` that have any truth), and the tasks that have a truth among them."""
    if limit is not None:
        ids = list(islice((id for id in ids if any(task.has_truth(dataset, id) for task in tasks.values())), limit))
    return list(ids), {n: task for n, task in tasks.items() if any(task.has_truth(dataset, id) for id in ids)}


def _are_large(dataset: Dataset, id: str) -> bool:
    """Whether images are so large, by one of them, that only one after the other fits into memory."""
    try:
        height, width = dataset.size_of(id)
    except FathomError:  # whatever it is, reading will say it
        return False
    return height * width > LARGE_PIXELS


def _read(
    source: Source, dataset: Dataset, tasks: Mapping[str, Task], id: str
) -> tuple[Shaped[np.ndarray, " ..."], Truths] | None:
    """What the prediction is made from, and the truths; None if there are none."""
    truths, problems = {}, []
    for name, task in tasks.items():
        try:
            if (truth := task.truth(dataset, id)) is not None:
                truths[name] = truth
        except DataError as error:
            problems += list(error.problems)
    if problems:
        raise DataError(problems)
    return (source.read(id), truths) if truths else None
