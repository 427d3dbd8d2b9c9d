"""What the datasets share whose labels are regions in text files: classes, unpainted pixels, and splits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Final

import numpy as np
from jaxtyping import UInt8
from pydantic import Field

from fathomseg.data.datasets.description import BACKGROUND
from fathomseg.data.datasets.files import FileDataset, Files, Listing, hold_out
from fathomseg.data.datasets.labels import LabelMap, distinct_colours
from fathomseg.errors import FathomError
from fathomseg.types import IGNORE, ClassList, Size

_IGNORED: Final = "ignore"
_MADE: Final = "There is no split val: about {} % of the labelled images are val, chosen by a hash of their id."


class RegionDataset(FileDataset):
    """Base of `coco` and `yolo`: the class list is that of their files, label values are its indices."""

    unpainted: str | None = None
    """The class of pixels that no region covers, or `ignore`: they count nowhere. A name the files do not have is added
    as the last class. Null = the class `background` if there is one, else ignored."""
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

    def notes(self) -> tuple[str, ...]:
        """How unpainted pixels and splits were understood."""
        index = self._unpainted_index
        meaning = "count nowhere" if index == IGNORE else f"are {self.classes.names[index]!r}"
        made = [] if self._says_val else [_MADE.format(self.val_percent)]
        return (f"Pixels that no region covers {meaning} (`unpainted`).", *made)

    @property
    @abstractmethod
    def _says_val(self) -> bool:
        """Whether the files themselves have a split val."""

    def _split(self, splits: Mapping[str, Mapping[str, Files]]) -> Listing:
        """The listing of these splits, with a `val` taken from `train` if there is none."""
        found = {name: dict(split) for name, split in splits.items() if split}
        if "val" not in found and "train" in found:
            having = [id for id, files in found["train"].items() if files.label is not None]
            held = hold_out(having, self.val_percent)
            found["val"] = {id: found["train"].pop(id) for id in sorted(held)}
        return Listing.of({name: split for name, split in found.items() if split})
