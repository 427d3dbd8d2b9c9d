"""Data labelled in YOLO's segmentation text, as Ultralytics, CVAT, Label Studio and Roboflow store it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import UInt8

from fathomseg.data.datasets.files import Files, Listing, files_below
from fathomseg.data.datasets.regions import RegionDataset
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.images import SUFFIXES
from fathomseg.io.listing import ending
from fathomseg.io.yolo import DESCRIPTION, class_names, label_of, parse_description
from fathomseg.text import read_text
from fathomseg.types import Size

CLASSES: Final = "classes.txt"
"""The class names, one a line, where Label Studio writes no data.yaml."""


class YoloFolder(RegionDataset):
    """A folder with YOLO segmentation: data.yaml (or classes.txt), images/, and labels/ with a text for each image.

    Splits are the `train`, `val` and `test` of data.yaml: folders of images, or text files that list them; without
    data.yaml all of images/ is `train`. Ids are `split/path without ending`. An image without a text has no label; one
    with an empty text has a label on which nothing is drawn.
    """

    name: Literal["yolo"] = "yolo"

    def layout_problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Texts that belong to no image."""
        used = {files.label for files in self._listing.samples.values()}
        for path in files_below(self.root / "labels", {".txt"}).values():
            if path not in used:
                yield Problem(str(path), "is the label of no image; expected an image of the same name in images/")

    @cached_property
    def _numbers(self) -> Mapping[int, str]:
        if (self.root / DESCRIPTION).is_file():
            return class_names(self._tree, str(self.root / DESCRIPTION))
        if not (self.root / CLASSES).is_file():
            raise FathomError(
                f"No YOLO data at {self.root}: expected {DESCRIPTION} or {CLASSES} there, images/, and labels/ with a "
                "text for each image. Set root=FOLDER."
            )
        names = [line.strip() for line in read_text(self.root / CLASSES).split("\n") if line.strip()]
        return class_names({"names": names}, str(self.root / CLASSES))

    @cached_property
    def _tree(self) -> dict[str, Any]:
        path = self.root / DESCRIPTION
        return parse_description(read_text(path), str(path)) if path.is_file() else {"train": "images"}

    @property
    def _says_val(self) -> bool:
        return bool(self._tree.get("val"))

    def _painted(self, id: str, size: Size) -> UInt8[np.ndarray, "h w"]:
        path = self.files(id).label
        assert path is not None, "the image has a label"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError([Problem(str(path), f"cannot be read ({error.strerror})")]) from None
        return label_of(content, size, self._indices, self._unpainted_index, str(path))

    def _list(self) -> Listing:
        _ = self._numbers  # without a class list it is no such folder
        splits: dict[str, dict[str, Files]] = {"train": {}, "val": {}, "test": {}}
        for name, split in splits.items():
            for key, files in (pair for given in _entries(self._tree.get(name)) for pair in self._at(given)):
                if (id := f"{name}/{key}") in split:
                    raise DataError([Problem(str(files.image), f"has the id of {split[id].image}, {id!r}; rename one")])
                split[id] = files
        if not any(splits.values()):
            raise FathomError(f"{self.root} holds no images where {DESCRIPTION} says: expected them in images/.")
        return self._split(splits)

    def _at(self, given: str) -> Iterator[tuple[str, Files]]:
        """The images that an entry of data.yaml means, by their path without ending."""
        place = self._place(given)
        if place.is_dir():
            for stem, path in files_below(place).items():
                yield stem, Files(path, _text_of(path))
            return
        if not place.is_file():
            raise FathomError(f"{self.root / DESCRIPTION} names {given!r}, which is neither a folder nor a text file.")
        for line in read_text(place).split("\n"):
            if ending(entry := line.strip()) in SUFFIXES:
                path = self._place(entry)
                yield _id(entry), Files(path, _text_of(path))

    def _place(self, given: str) -> Path:
        """Where a path of data.yaml leads: from its `path`, from its folder, or without what does not exist in front
        ("../train/images", "data/images/a.png"), as other machines have written it."""
        parts = PurePosixPath(given.replace("\\", "/")).parts
        base = self.root / str(self._tree.get("path") or ".")
        tries = [base / given, *(self.root.joinpath(*parts[start:]) for start in range(len(parts)))]
        return next((path for path in tries if path.exists()), tries[0])


def _entries(given: Any) -> list[str]:
    """What data.yaml says of a split: nothing, one path or several."""
    return [str(one) for one in given] if isinstance(given, list) else [] if given in (None, "") else [str(given)]


def _text_of(image: Path) -> Path | None:
    """The text of an image, which lies where the last folder `images` of its path is called `labels`; None without."""
    parts = list(image.parts)
    at = max((place for place, part in enumerate(parts[:-1]) if part == "images"), default=None)
    if at is not None:
        parts[at] = "labels"
    path = Path(*parts).with_suffix(".txt")
    return path if path.is_file() else None


def _id(entry: str) -> str:
    """The path of a listed image below its folder `images`, without ending."""
    inside = entry.replace("\\", "/").rpartition("images/")[2]
    return PurePosixPath(inside).with_suffix("").as_posix().lstrip("/")
