"""What all datasets made of image files share: list once, then read a file only when its array is requested."""

from __future__ import annotations

import difflib
import os
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import numpy as np
from jaxtyping import UInt8
from pydantic import AfterValidator

from fathomseg.data.datasets.base import Dataset, Kind, Traits
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.data.datasets.patterns import fitting, is_pattern
from fathomseg.data.datasets.scan import scan
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.images import SUFFIXES, bits_used, image_size, is_turned, read_rgb
from fathomseg.io.listing import UNREAD, counted, ending, passed_over, stamp, walk
from fathomseg.text import at_home
from fathomseg.types import Size

F = TypeVar("F", bound="FileDataset")

_EACH: Final = 20
"""Up to so many files that belong to nothing are told one by one."""
_NUMBER: Final = re.compile(r"\d+$")


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(at_home(path)))  # noqa: PTH100 - resolve() would follow links that may move


Root = Annotated[Path, AfterValidator(_absolute)]
"""A folder. Stored as an absolute path, so that a saved configuration works from any working directory."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where one sample is stored."""

    image: Path
    """The image file or, if `frame` is set, the video."""
    label: Path | None = None
    frame: int | None = None
    """Which frame of the video, from 0."""

    def read(self, bits: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
        """The decoded image; `bits` of a file of 16, if they are known. Raises `DataError`."""
        return read_rgb(self.image, bits) if self.frame is None else _video().read_frame(self.image, self.frame)

    def size(self) -> Size:
        """(height, width) of the stored image, without decoding it. Raises `DataError`."""
        return _size(self.image, stamp(self.image)) if self.frame is None else _video().video_index(self.image).size


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of every sample, and the ids of every split."""

    samples: Mapping[str, Files]
    splits: Mapping[str, tuple[str, ...]]
    held_out: frozenset[str] = frozenset()
    """Ids that nothing may be learned from (`Dataset.held_out`)."""

    @classmethod
    def of(cls, splits: Mapping[str, Mapping[str, Files]]) -> Listing:
        """The listing of samples given split by split."""
        samples = {id: files for split in splits.values() for id, files in split.items()}
        return cls(samples, {name: tuple(sorted(split)) for name, split in splits.items()})


class FileDataset(Dataset):
    """Base of the datasets that read image files below `root`. The folders are listed once, at first use."""

    root: Root
    """The folder the data lies in."""

    @abstractmethod
    def _list(self) -> Listing:
        """List the folders. Raises `FathomError` saying what was expected where if the layout is another."""

    @property
    @abstractmethod
    def _labels(self) -> LabelMap:
        """What the stored label values mean."""

    def _labels_of(self, id: str) -> LabelMap:
        """What the stored label values of this sample mean, where that differs between samples."""
        return self._labels

    def label_map(self, id: str | None = None) -> LabelMap | None:
        """That of the sample, or of the first sample there is."""
        return self._labels_of(next(iter(self._listing.samples), "") if id is None else id)

    @cached_property
    def _listing(self) -> Listing:
        return self._list()

    def model_copy(self: F, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> F:
        """A validated copy that lists its own files: pydantic's would keep the listing of the old root."""
        return type(self).model_validate(self.model_dump() | dict(update or {}))

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits there are."""
        return tuple(self._listing.splits)

    def ids(self, split: str) -> Sequence[str]:
        """The sorted ids of a split, or of all samples that a pattern fits ("clips/harbour/*").

        Raises `FathomError` naming the splits there are if there is no such split.
        """
        if split in self.splits:
            return self._listing.splits[split]
        if is_pattern(split) and (found := fitting(split, self._listing.samples)):
            return tuple(sorted(found))
        what = f"no sample that fits {split!r}" if is_pattern(split) else f"no split {split!r}"
        raise FathomError(f"{self.name} has {what}; there is: {', '.join(self.splits)}.{self._why_no(split)}")

    def every_id(self) -> Sequence[str]:
        """The ids of all samples, sorted."""
        return sorted(self._listing.samples)

    def _why_no(self, split: str) -> str:
        """Sentences with a space in front on why there is no such split and what to do; "" if nothing is known."""
        return ""

    def held_out(self) -> frozenset[str]:
        """What the listing holds out."""
        return self._listing.held_out

    def image(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        """The RGB image, uint8. Raises `DataError` with the reason if it cannot be read."""
        return self.files(id).read()

    def size_of(self, id: str) -> Size:
        """(height, width) of the stored image, without decoding it. Raises `DataError`."""
        return self.files(id).size()

    def has_label(self, id: str) -> bool:
        """Whether the listing holds a label file; it is not opened."""
        return self.files(id).label is not None

    def label(self, id: str) -> UInt8[np.ndarray, "h w"] | None:
        """Class indices, 255 = ignore, of the size of the image; None if there is none. Raises `DataError`."""
        files = self.files(id)
        return None if files.label is None else self._labels_of(id).read(files.label, files.size())

    def fingerprint(self, id: str, kind: Kind) -> str | None:
        """Path, byte size and time of change of the file, and for a label what it is read by."""
        files = self.files(id)
        path = files.image if kind == "image" else files.label if kind == "label" else None
        if path is None:
            return None
        labels = f"|{self._label_key(id)}" if kind == "label" else ""
        return f"{kind}|{path}|{stamp(path)}|{files.frame}{labels}"

    def _label_key(self, id: str) -> str:
        """A text that changes whenever the same label file would be read as something else."""
        return self._labels_of(id).key

    def identity(self, id: str) -> str | None:
        """The file that all links lead to, and the frame of a video."""
        files = self.files(id)
        return f"{os.path.realpath(files.image)}|{stamp(files.image)}|{files.frame}"

    def traits(self, id: str) -> Traits:
        """Whether the image is turned, and how many bits of 16 it is taken to have. Raises `DataError`."""
        files = self.files(id)
        return Traits() if files.frame is not None else Traits(is_turned(files.image), bits_used(files.image))

    def problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Every bad file among these samples, with the words `image` and `label` raise, then faults of the layout."""
        seen: set[Problem] = set()
        for problem in chain((p for found in scan(self, ids) for p in found.problems), self.layout_problems(ids)):
            if problem not in seen:  # one bad camera file serves many images
                seen.add(problem)
                yield problem

    def layout_problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Faults that need no decoding to be seen: labels of no image, or a gap in a clip."""
        for folder, strays in self._strays().items():
            for path in strays if len(strays) <= _EACH else ():
                yield Problem(str(path), f"is the label of no image; expected its image in {folder}")
            if len(strays) > _EACH:  # a copy of a part of a dataset may have all labels
                reason = f"holds {len(strays)} labels of no image, for example {strays[0].name}; expected their images"
                yield Problem(str(strays[0].parent), f"{reason} in {folder}")

    def _strays(self) -> Mapping[Path, Sequence[Path]]:
        """Labels without an image, by the folder that image would lie in. Labels called otherwise are among them."""
        return {}

    def _not_read(self, known: Mapping[str, Collection[str]]) -> tuple[str, ...]:
        """By folder of `root` a line on the files in it that have none of the endings known there."""
        lines = []
        for part, endings in known.items():
            if found := passed_over(self.root / part, endings):
                readable = " ".join(sorted(endings))
                lines.append(f"{part}/ holds files that are not read: {counted(found)}. Known endings: {readable}")
        return tuple(lines)

    def passed_over(self) -> tuple[str, ...]:
        """Pictures and videos below `root` that no one reads, counted by ending, for the user to know."""
        found = Counter(end for name, _ in walk(self.root) if (end := ending(name)) in UNREAD)
        return (f"{self.root} holds files that are not read: {counted(found)}.",) if found else ()

    def files(self, id: str) -> Files:
        """Where a sample is stored. Raises `FathomError` for an id that is not in the dataset."""
        try:
            return self._listing.samples[id]
        except KeyError:
            close = difflib.get_close_matches(id, self._listing.samples, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise FathomError(f"{self.name} at {self.root} has no sample {id!r}{hint}") from None

    def renumbered(self, id: str, step: int) -> str | None:
        """The id whose last number is higher by `step`, with as many digits, if it is stored."""
        if (number := _NUMBER.search(id)) is None:
            return None
        other = f"{id[: number.start()]}{int(number[0]) + step:0{len(number[0])}d}"
        return other if other in self._listing.samples else None


def without_image(images: Mapping[str, Path], labels: Mapping[str, Path]) -> list[Path]:
    """The labels whose name no image has."""
    return [path for name, path in labels.items() if name not in images]


def files_below(folder: Path, suffixes: Iterable[str] = SUFFIXES) -> dict[str, Path]:
    """The files with these endings (images), by their path from the folder without the ending ("city/0001"), sorted.

    Empty if there is no such folder; `io.listing.walk` says what is seen. Raises `DataError` if two files differ only
    in their ending, since one id cannot mean both, and for names that no list of ids can hold.
    """
    wanted = frozenset(suffixes)
    found: dict[str, Path] = {}
    faults: list[Problem] = []
    for name, path in walk(folder):
        suffix = ending(name)
        if suffix not in wanted:
            continue
        stem = name[: -len(suffix)] if suffix else name
        if stem in found:
            faults.append(Problem(str(path), f"has the same name as {found[stem].name}; remove one of the two"))
        elif (reason := _no_id(stem)) is not None:
            shown = os.fsencode(path).decode("utf-8", "backslashreplace").replace("\n", "\\n").replace("\r", "\\r")
            faults.append(Problem(shown, f"{reason}; rename it"))
        found[stem] = path
    if faults:
        raise DataError(faults)
    return dict(sorted(found.items()))


def _no_id(stem: str) -> str | None:
    """Why a name cannot be an id, which is text in files of one id a line; None if it can."""
    if "\n" in stem or "\r" in stem:
        return "has a line break in its name"
    try:
        stem.encode()
    except UnicodeEncodeError:  # bytes of an old zip, or of a disk of Windows
        return "has a name that is not UTF-8"
    return None


@lru_cache(maxsize=1 << 16)
def _size(path: Path, stamp: str) -> Size:
    """The size of an image file that has this stamp: maps from the cache ask for it again and again."""
    return image_size(path)


def _video() -> Any:
    """The video reader, imported when the first video is met: it loads ffmpeg."""
    from fathomseg.io import video

    return video
