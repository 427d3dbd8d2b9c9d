"""What was chosen, in which order and why: `selection.json` for programs, `selection.txt` for `labels.file`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, NonNegativeFloat, model_validator

from fathomseg.config import Part, validate
from fathomseg.data.datasets.base import Dataset
from fathomseg.errors import DataError
from fathomseg.io.files import read_json, write_text

JSON: Final = "selection.json"
TEXT: Final = "selection.txt"


class Choice(Part):
    """One chosen image."""

    id: str
    """Its sample id."""
    rank: Annotated[int, Field(ge=1)]
    """Its place in the order of choice, from 1: a smaller budget is the first of a larger one."""
    scores: Mapping[str, float] = Field(default_factory=dict)
    """What each criterion says of it, the larger the rather chosen; criteria that give no score are not in it."""
    distance: NonNegativeFloat | None = None
    """Euclidean distance of its features to those of `nearest`; None if there is no feature or nothing before it."""
    nearest: str | None = None
    """The most similar image among those labelled already and those chosen before it."""
    part: tuple[float, float, float, float] | None = None
    """Where `distance` is that of a part: its top, left, bottom and right as shares of the image's height and width."""
    reason: str
    """Why it was chosen, in one English sentence."""


class Skipped(Part):
    """An image of the pool that could not be read."""

    id: str
    """Its sample id."""
    reason: str
    """What is wrong with it."""


class Selection(Part):
    """The result of `fathom select`."""

    format: Literal[1] = 1
    """Version of this file's layout."""
    dataset: str
    """Name of the dataset."""
    split: str
    """The split the pool is."""
    pool_size: Annotated[int, Field(ge=1)]
    """Images of the pool, those labelled already included, those skipped not."""
    pool_hash: str
    """`pool_hash` of these images: another value means that files were added, removed or changed since."""
    criterion: Mapping[str, Any]
    """The criterion with all its settings."""
    features: Mapping[str, Any] | None = None
    """What images were compared by, with all settings; None if the criterion compares none."""
    seed: int
    """Seed of every random choice."""
    already: tuple[str, ...] = ()
    """Ids that were labelled before, sorted."""
    chosen: tuple[Choice, ...]
    """The images to label, in the order of choice."""
    skipped: tuple[Skipped, ...] = ()
    """Images that could not be read, and so were not in the pool."""
    origin: Mapping[str, Any] = Field(default_factory=dict)
    """When, where and by which command and code it was made."""

    @model_validator(mode="after")
    def _in_order(self) -> Selection:
        if [choice.rank for choice in self.chosen] != list(range(1, len(self.chosen) + 1)):
            raise ValueError("ranks must be 1, 2, 3 ... in the order of `chosen`")
        everything = [*self.ids, *self.already]
        if len(set(everything)) < len(everything):
            raise ValueError("an id is chosen twice, or was labelled already")
        return self

    @property
    def ids(self) -> tuple[str, ...]:
        """The chosen ids in the order of choice."""
        return tuple(choice.id for choice in self.chosen)

    def save(self, folder: Path) -> None:
        """Write selection.json and selection.txt (one id a line, in order), each in one stroke."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
        write_text(folder / JSON, text + "\n")
        write_text(folder / TEXT, "".join(f"{id}\n" for id in self.ids))


def load_selection(path: Path) -> Selection:
    """Read a selection.json, or the one in a folder. Raises `FathomError` if there is none or it cannot be read."""
    path = path / JSON if path.is_dir() else path
    tree = read_json(path, "a selection", "Give a folder that `fathom select` wrote.")
    return validate(Selection, tree, str(path))


def pool_hash(dataset: Dataset, ids: Iterable[str]) -> str:
    """SHA-256 (hex) over the sorted ids and the fingerprints of their images, whatever the order of `ids`."""
    whole = hashlib.sha256()
    for id in sorted(ids):
        try:
            fingerprint = dataset.fingerprint(id, "image") or ""
        except DataError:  # the file has gone since it was listed
            fingerprint = "missing"
        whole.update(f"{id}\t{fingerprint}\n".encode())
    return whole.hexdigest()
