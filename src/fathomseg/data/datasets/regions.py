"""What the datasets share whose labels are regions in text files: classes, unpainted pixels, and splits."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from jaxtyping import UInt8
from pydantic import Field

from fathomseg.data.datasets.description import BACKGROUND
from fathomseg.data.datasets.files import FileDataset, Files, Listing
from fathomseg.data.datasets.folder_splits import Patterns
from fathomseg.data.datasets.hash_split import hold_out_by_hash
from fathomseg.data.datasets.labels import LabelMap, distinct_colours
from fathomseg.data.datasets.patterns import fitting
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.images import SUFFIXES
from fathomseg.io.listing import ending
from fathomseg.types import IGNORE, ClassList, Size

_IGNORED: Final = "ignore"
_MADE: Final = "There is no split val: about {} % of the labelled images are val, chosen by a hash of their id."


class RegionDataset(FileDataset):
    """Base of `coco` and `yolo`: the class list is that of their files, label values are its indices."""

    unpainted: str | None = None
    """The class of pixels that no region covers, or `ignore`: they count nowhere. A name the files do not have is added
    as the last class. Null = the class `background` if there is one, else ignored."""
    val: Patterns = None
    """Images of `val`, or patterns of them (`harbour/*`), with or without the split in front: of `train` and `val`
    together, the others are `train`. Left out = the files' own split, or `val_percent`."""
    val_percent: int = Field(default=20, ge=1, le=99)
    """Without a split val: the share of the labelled images, in percent, that is held out as `val`."""

    @property
    def classes(self) -> ClassList:
        """The classes of the files in the order of their numbers, then `unpainted`. Raises `FathomError` for fewer than
        two."""
        names = (*self._numbers.values(),)
        if self.unpainted is not None and self.unpainted not in (*names, _IGNORED):
            names = (*names, self.unpainted)
        if len(names) < 2:
            raise FathomError(
                f"{self.root} has one class, {', '.join(names)}, and two are needed: set unpainted=background, which "
                "makes a class of the pixels that no region covers."
            )
        return ClassList(names, distinct_colours(len(names)))

    @property
    @abstractmethod
    def _numbers(self) -> Mapping[int, str]:
        """The classes of the files by their numbers there, in order."""

    @property
    def _indices(self) -> Mapping[int, int]:
        """The class index of each number."""
        return {number: index for index, number in enumerate(self._numbers)}

    @property
    def _unpainted_index(self) -> int:
        names, name = self.classes.names, self.unpainted or BACKGROUND
        return names.index(name) if name in names else IGNORE

    @property
    def _labels(self) -> LabelMap:
        names = self.classes.names
        remedy = "correct the label"
        return LabelMap("ids", names, tuple(range(len(names))), (IGNORE,), remedy, unpainted=self._unpainted_index)

    @abstractmethod
    def _painted(self, id: str, size: Size) -> UInt8[np.ndarray, "h w"]:
        """The label of an image that has one. Raises `DataError`."""

    def label(self, id: str) -> UInt8[np.ndarray, "h w"] | None:
        """Class indices, 255 = ignore, of the size of the image; None if there is none. Raises `DataError`."""
        files = self.files(id)
        return None if files.label is None else self._painted(id, files.size())

    def _label_key(self, id: str) -> str:
        """With the numbers of the classes, and the size at which regions are drawn."""
        return f"{super()._label_key(id)}|{tuple(self._numbers)}|{self.files(id).size()}"

    def notes(self) -> tuple[str, ...]:
        """How unpainted pixels and splits were understood."""
        index = self._unpainted_index
        meaning = "count nowhere" if index == IGNORE else f"are {self.classes.names[index]!r}"
        made = [] if self._says_val or self.val is not None else [_MADE.format(self.val_percent)]
        return (f"Pixels that no region covers {meaning} (`unpainted`).", *made)

    @property
    @abstractmethod
    def _says_val(self) -> bool:
        """Whether the files themselves have a split val."""

    def _split(self, splits: Mapping[str, Mapping[str, Files]]) -> Listing:
        """The listing of these splits, with the `val` that is asked for, or else one taken from `train` if there is
        none, and with `all`: train and val, but not test. Raises `DataError` naming every entry of the setting that is
        no image."""
        found = {name: dict(split) for name, split in splits.items() if split}
        held: set[str] = set()
        if self.val is not None:
            found["train"] = found.get("train", {}) | found.pop("val", {})
            held = _named(self.val, found["train"])
        elif "val" not in found and "train" in found:
            held = hold_out_by_hash(
                (id for id, files in found["train"].items() if files.label is not None), self.val_percent
            )
        if held:
            found["val"] = {id: found["train"].pop(id) for id in sorted(held)}
        found["all"] = found.get("train", {}) | found.get("val", {})
        listing = Listing.of({name: split for name, split in found.items() if split})
        return listing if self.val is None else replace(listing, held_out=frozenset(held))


def _named(entries: Iterable[str], ids: Iterable[str]) -> set[str]:
    """The ids that entries name: images or patterns, with or without the split in front and the ending behind."""
    called: dict[str, list[str]] = defaultdict(list)
    for id in ids:
        for name in (id, id.partition("/")[2]):
            called[name].append(id)
    held: set[str] = set()
    faults = []
    for entry in entries:
        stem = entry.rsplit(".", 1)[0] if ending(entry) in SUFFIXES else entry
        names = [name for name in (entry, stem) if name in called] or fitting(stem, called)
        held.update(id for name in names for id in called[name])
        if not names:
            few = ", ".join(list(called)[:4:2])
            faults.append(Problem("data.val", f"no image of train or val fits {entry!r}; they are called {few} ..."))
    if faults:
        raise DataError(faults)
    return held
