"""A teacher at work: its predictions for the images of a dataset, resumable, in a folder of one teacher only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fathomseg.data.class_match import ClassMatch
from fathomseg.data.datasets.base import Dataset
from fathomseg.distillation.files import is_written, parts_of, write_predictions
from fathomseg.distillation.predictions import Predictions, finite
from fathomseg.distillation.provenance import (
    FILE,
    ImageNote,
    Provenance,
    image_source,
    pixels_hash,
    read_provenance,
    unchanged,
)
from fathomseg.distillation.teachers import Picture, Teacher
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.lock import HOLDER, LOCK
from fathomseg.io.prefetch import ahead
from fathomseg.parallel.base import Team, spread

_SAVED_EVERY: Final = 16
"""Batches between two moments at which what was done is noted on disk; an interrupt notes it too."""

Maker = tuple[Callable[..., object], tuple[object, ...]]


@dataclass
class Distillation:
    """Writes a teacher's predictions of some images."""

    teacher: Teacher
    dataset: Dataset
    folder: Path
    provenance: Provenance
    match: ClassMatch | None = None
    batch: int = 1
    """Images that go through the teacher at once."""
    tick: Callable[[], None] = lambda: None
    """Called after each image."""
    problems: list[Problem] = field(default_factory=list, init=False)
    """What could not be read so far."""
    written: int = field(default=0, init=False)
    """Images predicted so far."""

    @property
    def soft(self) -> bool:
        """Whether probabilities are kept."""
        return self.provenance.soft is not None

    def open(self) -> None:
        """Take over what the folder holds already. Raises `FathomError` if it holds anything else."""
        if (self.folder / FILE).is_file():
            earlier = read_provenance(self.folder)
            self.provenance.refuse_other(earlier, self.folder)
            self.provenance = earlier
        elif self.folder.is_dir() and any(path.name not in {LOCK, HOLDER} for path in self.folder.iterdir()):
            raise FathomError(f"{self.folder} is not empty and holds no {FILE}. Give another folder (--out).")
        else:
            self.provenance.write(self.folder)

    def todo(self, ids: Sequence[str]) -> list[list[str]]:
        """The batches that are not done. Batches are those of all ids, since a network's rounding may depend on what
        goes through it together: an interrupted folder ends with the same bytes as one written in one go."""
        batches = [list(ids[start : start + self.batch]) for start in range(0, len(ids), self.batch)]
        return [batch for batch in batches if not all(self._done(id) for id in batch)]

    def do(self, batches: Sequence[Sequence[str]], team: Team | None = None, make: Maker | None = None) -> None:
        """Predict all batches: here, or by a team whose actors are what `make` (function, arguments) makes."""
        predicted = self._predicted(batches) if team is None or make is None else self._by(team, make, batches)
        try:
            for number, (id, note) in enumerate(predicted, start=1):
                self.provenance.images[id] = note
                self.written += 1
                self.tick()
                if number % (_SAVED_EVERY * self.batch) == 0:
                    self.provenance.write(self.folder)
        finally:
            self.provenance.write(self.folder)

    def part(self, batch: Sequence[str]) -> tuple[dict[str, ImageNote], list[Problem]]:
        """Predict one batch and write it, for another process that notes it: what is to be noted, and what is bad."""
        self.problems = []
        return dict(self._predicted([batch])), self.problems

    def _predicted(self, batches: Sequence[Sequence[str]]) -> Iterator[tuple[str, ImageNote]]:
        """Files are read ahead and written in threads."""
        for (id, note, _), writing in ahead(self._write, self._predictions(batches), threads=2):
            writing.result()
            yield id, note

    def _by(self, team: Team, make: Maker, batches: Sequence[Sequence[str]]) -> Iterator[tuple[str, ImageNote]]:
        for batch in batches:  # until their files are whole again
            for id in batch:
                self.provenance.images.pop(id, None)
        self.provenance.write(self.folder)
        with team.of(make[0], *make[1]) as actors:
            for _, (notes, problems) in spread(actors, "part", batches):
                self.problems += problems
                yield from notes.items()

    def _done(self, id: str) -> bool:
        """Whether an image has been predicted for, and is still the same."""
        note = self.provenance.images.get(id)
        confidence = self.provenance.confidence is not None
        parts = parts_of(self.provenance.gives, confidence, self.soft)
        try:
            return note is not None and is_written(self.folder, id, parts) and unchanged(self.dataset, id, note)
        except DataError:
            return False  # reported when it is read

    def _predictions(self, batches: Sequence[Sequence[str]]) -> Iterator[tuple[str, ImageNote, Predictions]]:
        for _, reading in ahead(self._read, batches):
            images, problems = reading.result()
            self.problems += problems
            if not images:
                continue
            predictions = self.teacher.predict(list(images.values()), self.match, self.soft)
            for (id, image), prediction in zip(images.items(), predictions, strict=True):
                if not finite(prediction):
                    raise FathomError(f"The teacher gives NaN for {id}: its weights are not finite. Take another one.")
                self.provenance.images.pop(id, None)  # until its files are whole again
                source = image_source(self.dataset, id)
                yield id, ImageNote(pixels=pixels_hash(image), source=source), prediction

    def _read(self, batch: Sequence[str]) -> tuple[dict[str, Picture], list[Problem]]:
        images: dict[str, Picture] = {}
        problems: list[Problem] = []
        for id in batch:
            try:
                images[id] = self.dataset.image(id)
            except DataError as error:
                problems += error.problems
        return images, problems

    def _write(self, item: tuple[str, ImageNote, Predictions]) -> None:
        id, _, prediction = item
        write_predictions(self.folder, id, prediction, self.provenance.classes)
