"""A teacher's predictions as targets of a training: which images have them, checked, at working size, in the cache."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat

from fathomseg.config import Part
from fathomseg.data.cache import cache_folder
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.files import Root
from fathomseg.data.datasets.scan import map_threads
from fathomseg.data.distilled import TARGETS
from fathomseg.distillation.files import path_of, read_part
from fathomseg.distillation.provenance import Provenance, read_provenance, unchanged
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.array_store import entry, load, store
from fathomseg.io.images import resize_nearest
from fathomseg.io.listing import stamp
from fathomseg.types import IGNORE, Size

FORMAT: Final = 1
"""Raise it when the same file would be prepared differently."""


class DistilledFolder(Part):
    """A folder of `fathom distill`, whose predictions stand in for what images lack."""

    folder: Root
    """The folder."""
    scale: PositiveFloat | None = None
    """Depth: metres of one unit of the teacher's. Needed where its unit is relative, since such depth is not metres."""

    def provenance(self, task: str) -> Provenance:
        """Where the predictions come from. Raises `FathomError` if they are no targets of this task."""
        found = read_provenance(self.folder)
        if found.task != task:
            raise FathomError(f"{self.folder} holds a teacher's predictions of {found.task}, not of {task}.")
        if self.scale is not None and task != "depth":
            raise FathomError(f"{self.folder} holds {task}, which has no scale: leave scale out.")
        if found.gives == "disparity":
            raise FathomError(
                f"{self.folder} holds disparity of unknown scale and offset, which is no depth in metres. Learn from "
                f"it as disparity: streams.NAME.depth={{name: maps, folder: {self.folder / 'disparity'}}} with "
                "objectives.supervised.losses.depth.target=disparity, written for all images (fathom distill "
                "--everything), or take a teacher that gives metres."
            )
        if found.unit == "relative" and self.scale is None:
            raise FathomError(
                f"The depth in {self.folder} is relative: its teacher does not know metres. Say how many metres one "
                "unit of it is (streams.NAME.distilled.depth.scale; `fathom evaluate` of the teacher writes it as "
                "`scale_median` into scores.json), or take a teacher that gives metres."
            )
        return found

    def reader(
        self, task: str, dataset: Dataset, classes: Sequence[str], size: Size, parts: Collection[str]
    ) -> DistilledTargets:
        """What reads these `parts` (names as in `data.distilled`) at `size`; `classes`: those of the training.

        Raises `FathomError` if the folder does not hold them, or other classes.
        """
        known = self.provenance(task)
        for kind, have, flag in (("confidence", known.confidence, "--flip"), ("probabilities", known.soft, "--soft")):
            if have is None and any(part.endswith(kind) for part in parts):
                raise FathomError(
                    f"{self.folder} was written without {kind}, which is to be learned by: write it with {flag}."
                )
        table: tuple[int, ...] = ()
        if known.classes is not None:
            if unknown := [name for name in known.classes.names if name not in classes]:
                raise FathomError(
                    f"{self.folder} holds labels of class {unknown[0]!r}, which the training does not have: "
                    f"{', '.join(classes)}. Write it again for this dataset."
                )
            table = tuple(list(classes).index(name) for name in known.classes.names)
        ordered = tuple(sorted(parts))
        return DistilledTargets(self.folder, known, table, 1.0 if self.scale is None else self.scale, size, ordered)


@dataclass(frozen=True)
class DistilledTargets:
    """Reads a teacher's predictions, and keeps them at working size in the cache."""

    folder: Path
    known: Provenance
    table: tuple[int, ...]
    """For each class of the folder its index in the training."""
    scale: float
    size: Size
    parts: tuple[str, ...]

    def __call__(self, id: str) -> dict[str, NDArray[Any]] | None:
        """The parts of one image by name; None if the teacher did not predict it. Raises `DataError`."""
        return {part: self._part(id, part) for part in self.parts} if id in self.known.images else None

    def prepare(self, dataset: Dataset, ids: Sequence[str], progress: Callable[[int, int], None]) -> None:
        """Read what is there of these images, in threads, so that a bad file is reported before training.

        Raises one `DataError` with every file that cannot be used, and every image that is another than the teacher
        saw.
        """
        asked = [id for id in ids if id in self.known.images]
        problems: list[Problem] = []

        def check(id: str) -> Sequence[Problem]:
            try:
                if not unchanged(dataset, id, self.known.images[id]):
                    return [Problem(id, f"has changed since {self.folder} was written; run `fathom distill` again")]
                self(id)
            except DataError as error:
                return error.problems
            return ()

        for done, found in enumerate(map_threads(check, asked), start=1):
            problems += found
            progress(done, len(asked))
        if problems:
            raise DataError(tuple(problems))

    def _part(self, id: str, part: str) -> NDArray[Any]:
        path = path_of(self.folder, id, part)
        key = f"distilled|{FORMAT}|{part}|{path}|{stamp(path)}|{self.size}|{self.table}|{self.scale}"
        kept = entry(cache_folder(), f"{key}|{self.known.classes}")
        if (array := load(kept)) is None or array.shape[:2] != self.size:
            array = resize_nearest(
                self._converted(read_part(self.folder, id, part, self.known.classes), part), self.size
            )
            store(kept, np.require(array, requirements=("C", "W")))
        return array

    def _converted(self, values: NDArray[Any], part: str) -> NDArray[Any]:
        """In the training's classes and metres."""
        if part in ("label", "label_classes"):
            table = np.full(256, IGNORE, np.uint8)
            table[: len(self.table)] = self.table
            indices: NDArray[Any] = table[values]
            return indices
        return values * np.float32(self.scale) if part == "depth" else values


def targets_of(uses: Collection[str], task: str) -> tuple[str, ...]:
    """The parts of a task's folder among the targets of a batch that are made use of."""
    wanted = f"distilled_{TARGETS[task]}"
    return tuple(name.removeprefix("distilled_") for name in uses if name == wanted or name.startswith(f"{wanted}_"))
