"""Predictions that any program has stored, found by the names of the samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from fathomseg.data.by_name import ByName
from fathomseg.data.datasets.base import Dataset
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.evaluation.scoring import Fields, Truths
from fathomseg.inference.card import ModelCard
from fathomseg.inference.predicted import Record, outdated, record_of
from fathomseg.io.files import read_tree
from fathomseg.io.listing import walk
from fathomseg.metrics.depth import DepthProtocol
from fathomseg.tasks.base import Task


@dataclass(frozen=True)
class FromFolder:
    """Predictions of one task stored by any program, found as `ByName` says. `ids` are those of the whole split."""

    folder: Path
    task: Task
    dataset: Dataset
    ids: tuple[str, ...]
    protocol: DepthProtocol | None = None
    """Which pixels of a true depth count."""
    card: ModelCard | None = None
    """Of the network they are scored as."""

    def read(self, id: str) -> Shaped[np.ndarray, "h w *c"]:
        """The numbers in the file of this sample. Raises `DataError`, also if its image has changed since."""
        image = self._image(id)
        if self._record is not None and image is not None and outdated(self._record, self.path(id), image):
            reason = f"{self.path(id)} was predicted before {image} changed; predict it again"
            raise DataError([Problem(id, reason)])
        return self.task.read_stored(self.path(id), self.folder, self.dataset.label_map(id))

    def path(self, id: str) -> Path:
        """The one file of this sample. Raises `DataError` if there is none, or more than one."""
        return self._files.path(id)

    def predict(self, id: str, stored: Shaped[np.ndarray, "h w *c"], truths: Truths) -> Fields:
        """The stored numbers, checked; `truths` must hold that of the task."""
        name = self.task.name
        labels = self.dataset.label_map(id)
        return {name: self.task.stored_fields(self.path(id), stored, truths[name], self.dataset, self.protocol, labels)}

    def _image(self, id: str) -> Path | None:
        """The file of the image, if it has one."""
        files = self.dataset.files(id)
        return None if files is None else files.image

    @cached_property
    def _record(self) -> Record | None:
        return record_of(self.folder)

    @cached_property
    def _files(self) -> ByName:
        return ByName(self.folder, self.ids, self.task.stored_endings, self.dataset.files)


def stored_task(folder: Path, tasks: Mapping[str, Task]) -> Task:
    """The one of these tasks whose predictions a folder holds, decided by the kinds of its files if there are several.

    Raises `FathomError` if they do not decide it.
    """
    if len(tasks) == 1:
        return next(iter(tasks.values()))
    files = [path for _, path in walk(folder)]
    found = [task for task in tasks.values() if any(task.is_stored(path) for path in files)]
    if len(found) != 1:
        what = " and of ".join(task.name for task in found) or "no task there is"
        raise FathomError(
            f"{folder} holds predictions of {what}. Say with --tasks which of {', '.join(tasks)} they are of, and give "
            "the folder that holds those alone."
        )
    return found[0]


def refuse_other_classes(folder: Path, dataset: Dataset) -> None:
    """Raise `FathomError` if the classes.json beside predictions of `fathom predict` lists other classes or ids than
    the dataset has: the same number would mean another class."""
    path = next((path for path in (folder / "classes.json", folder.parent / "classes.json") if path.is_file()), None)
    if path is None:
        return
    try:
        theirs = {int(row["id"]): str(row["name"]) for row in read_tree(path)["classes"]}
    except (ValueError, KeyError, TypeError):
        return  # a file of another program
    labels, names = dataset.label_map(), dataset.classes.names
    ours = dict(zip((labels.ids if labels is not None else ()) or range(len(names)), names, strict=True))
    if theirs != ours:
        shown = (", ".join(f"{id} {name}" for id, name in sorted(one.items())[:8]) for one in (theirs, ours))
        raise FathomError(
            f"The predictions in {folder} were made by a network of other classes ({next(shown)}) than {dataset.name} "
            f"has ({next(shown)})."
        )
