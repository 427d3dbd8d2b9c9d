"""Where a teacher's predictions come from: `provenance.json` in their folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from fathomseg.config import Part, validate
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.labels import LabelKind, LabelMap
from fathomseg.distillation.teachers import TaskName, TeacherNote
from fathomseg.errors import FathomError
from fathomseg.io.depth_maps import DepthUnit
from fathomseg.io.files import read_json, write_text
from fathomseg.version import __version__

FILE: Final = "provenance.json"
_FREE: Final[dict[str, Any]] = {"date": True, "images": True, "fathomseg": True, "teacher": {"source", "revision"}}
"""What may differ between the command that began a folder and the one that goes on: weights tell teachers apart,
wherever they lie, and a version that predicts otherwise says so in the teacher's settings."""


class StoredClasses(Part):
    """How label files store classes: in the dataset's own ids or colours, one value a class."""

    kind: LabelKind
    names: tuple[str, ...]
    values: tuple[int, ...]
    """By class; colours as 0xRRGGBB."""
    ignore: int
    """The value of pixels without a class."""

    @classmethod
    def of(cls, dataset: Dataset, ids: Sequence[str]) -> StoredClasses:
        """The values of the dataset's own label files; class indices and 255 if it has none, or several ways."""
        names = dataset.classes.names
        maps = {dataset.label_map(id) for id in ids}
        own = maps.pop() if len(maps) == 1 else None
        if own is not None:
            largest = 0xFFFF if own.kind == "ids" else 0xFFFFFF
            indices = own.indices or range(len(own.values))
            found: dict[int, int] = {}
            for value, index in zip(own.values, indices, strict=True):
                if 0 <= value <= largest:
                    found.setdefault(index, value)
            if found.keys() == set(range(len(names))):
                values = tuple(found[index] for index in range(len(names)))
                fit = [value for value in own.ignored if 0 <= value <= largest]
                free = (value for value in (255, *range(largest)) if value not in values)
                return cls(kind=own.kind, names=names, values=values, ignore=fit[0] if fit else next(free))
        return cls(kind="ids", names=names, values=tuple(range(len(names))), ignore=255)

    @property
    def label_map(self) -> LabelMap:
        """What reads and writes such files."""
        return LabelMap(self.kind, self.names, self.values, (self.ignore,), "write it again with `fathom distill`")


class ImageNote(Part):
    """Which image a prediction is of."""

    pixels: str
    """A hash of the decoded pixels."""
    source: str
    """A hash of the dataset's fingerprint of the file, so that unchanged files need no reading; empty = has none."""


class Provenance(Part):
    """Everything that the files beside it depend on."""

    format: Literal[1] = 1
    task: TaskName
    gives: Literal["label", "depth", "disparity", "normals"]
    """What the files hold."""
    teacher: TeacherNote
    dataset: str
    split: str
    unit: DepthUnit | None = None
    """Of depth: metres, or relative."""
    classes: StoredClasses | None = None
    """Of labels: the dataset's classes."""
    matched: dict[str, str | None] | None = None
    """Of labels: the dataset's class for each of the teacher's, null = ignored."""
    confidence: str | None = None
    """How confidence is stored; null = there is none."""
    soft: str | None = None
    """How probabilities are stored; null = there are none."""
    fathomseg: str = __version__
    """The version that began the folder."""
    date: str
    """When the folder was begun."""
    images: dict[str, ImageNote] = Field(default_factory=dict)
    """By sample id those that are done."""

    def write(self, folder: Path) -> None:
        """Write the file in one stroke."""
        ordered = self.model_copy(update={"images": dict(sorted(self.images.items()))})
        write_text(folder / FILE, ordered.model_dump_json(indent=1) + "\n")

    def refuse_other(self, earlier: Provenance, folder: Path) -> None:
        """Raise `FathomError` naming what differs from what the folder holds already."""
        ours, theirs = (_flat(one.model_dump(mode="json", exclude=_FREE)) for one in (self, earlier))
        differ = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
        if differ:
            lines = "".join(f"\n  {key}: {theirs.get(key)!r} there, {ours.get(key)!r} now" for key in differ[:6])
            raise FathomError(
                f"{folder} holds predictions of another teacher or of other settings, and predictions are never "
                f"mixed:{lines}\nGive another folder (--out), or delete this one."
            )


def read_provenance(folder: Path) -> Provenance:
    """Raises `FathomError` if the folder was not written by `fathom distill`."""
    remedy = f"{folder} is no folder of a teacher's predictions: write one with `fathom distill`."
    return validate(Provenance, read_json(folder / FILE, "a provenance", remedy), str(folder / FILE))


def image_source(dataset: Dataset, id: str) -> str:
    """A hash of the dataset's fingerprint of an image; empty if it has none."""
    text = dataset.fingerprint(id, "image")
    return "" if text is None else hashlib.sha256(text.encode()).hexdigest()[:20]


def pixels_hash(image: Any) -> str:
    """A hash of decoded pixels and their size, the same on every machine."""
    return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()[:20]


def unchanged(dataset: Dataset, id: str, note: ImageNote) -> bool:
    """Whether an image is still the one that was shown to the teacher. Raises `DataError` if it cannot be read."""
    source = image_source(dataset, id)
    return bool(source and source == note.source) or pixels_hash(dataset.image(id)) == note.pixels


def _flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{above}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found
