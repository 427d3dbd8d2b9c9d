"""Data labelled in COCO's JSON (Lin et al., ECCV 2014), as COCO itself, CVAT, Label Studio and Roboflow store it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final, Literal

import numpy as np
from jaxtyping import UInt8

from fathomseg.data.datasets.base import Kind
from fathomseg.data.datasets.files import Files, Listing
from fathomseg.data.datasets.regions import RegionDataset
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.coco import Coco, CocoImage, is_coco, read_coco
from fathomseg.io.files import read_tree
from fathomseg.io.images import SUFFIXES
from fathomseg.io.listing import ending, walk
from fathomseg.types import Size

_PLACES: Final = ("*.json", "annotations/*.json", "*/_annotations.coco.json")
"""Where annotation files are looked for."""
_OTHERS: Final = ("captions", "image_info", "panoptic", "person_keypoints", "stuff")
"""How COCO's own files begin that hold something else."""
_SPLITS: Final = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Words in the name of a file or of its folder, and the split they mean."""


class CocoFolder(RegionDataset):
    """A folder with COCO annotations: *.json, annotations/*.json or SPLIT/_annotations.coco.json.

    The split of a file is the word train, val or test in its name or its folder's; files without one are `train`. Ids
    are `split/file_name without ending`. An image without any annotation has no label.
    """

    name: Literal["coco"] = "coco"

    def fingerprint(self, id: str, kind: Kind) -> str | None:
        """That of the files; labels of one file are told apart by the id."""
        known = super().fingerprint(id, kind)
        return known if known is None or kind != "label" else f"{known}|{id}"

    def layout_problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Annotated images that are not there."""
        for file, missing in self._missing.items():
            few = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
            yield Problem(str(file), f"lists {len(missing)} images that are not below {self.root}: {few}")

    @property
    def _numbers(self) -> Mapping[int, str]:
        return next(iter(self._files.values())).categories

    @property
    def _says_val(self) -> bool:
        return "val" in map(self._split_of, self._files)

    def _painted(self, id: str, size: Size) -> UInt8[np.ndarray, "h w"]:
        file, image = self._drawn[id]
        return file.label(image, size, self._indices, self._unpainted_index)

    def passed_over(self) -> tuple[str, ...]:
        """Also JSON files of something else."""
        others = [f"{path} is no file of COCO and is not read." for path in self._read[1]]
        return (*super().passed_over(), *others)

    @property
    def _files(self) -> dict[Path, Coco]:
        """The annotation files."""
        return self._read[0]

    @cached_property
    def _read(self) -> tuple[dict[Path, Coco], list[Path]]:
        """The annotation files, and JSON files beside them that hold something else. Raises `FathomError` if there is
        none of the first, or if their categories differ."""
        if not (found := annotation_files(self.root)):
            raise FathomError(
                f"No COCO annotations at {self.root}: expected {', '.join(_PLACES)}, with images beside or below. Set "
                "root=FOLDER."
            )
        files, others = {}, []
        for path in found:
            tree = read_tree(path)
            if is_coco(tree):
                files[path] = read_coco(path, tree)
            else:
                others.append(path)
        if not files:
            read_coco(others[0])  # says what was expected
        (first, one), *rest = files.items()
        for path, other in rest:
            if other.categories != one.categories:
                raise FathomError(f"{path} has other categories than {first}; give them the same ids and names.")
        return files, others

    @cached_property
    def _drawn(self) -> dict[str, tuple[Coco, CocoImage]]:
        """Where the annotations of each image are. Raises `DataError` for two images of one id."""
        found: dict[str, tuple[Coco, CocoImage]] = {}
        twice = []
        for path, file in self._files.items():
            for image in file.images:
                id = f"{self._split_of(path) or 'train'}/{PurePosixPath(image.file_name).with_suffix('').as_posix()}"
                if id in found:
                    twice.append(Problem(str(path), f"{image.file_name} has the id of another image, {id!r}; rename"))
                found[id] = file, image
        if twice:
            raise DataError(twice)
        return found

    def _split_of(self, path: Path) -> str | None:
        """The split an annotation file is of, by its name or its folder's below the root; None if neither says."""
        folder = "" if path.parent == self.root else path.parent.name
        return _SPLITS.get(_words(path.stem) or _words(folder))

    def _list(self) -> Listing:
        splits: dict[str, dict[str, Files]] = {}
        for id, (file, image) in self._drawn.items():
            if path := self._found[file.path].get(image.file_name):
                label = file.path if image.annotations else None
                splits.setdefault(id.split("/")[0], {})[id] = Files(path, label)
        if not splits:
            raise FathomError(f"None of the images that {next(iter(self._files))} lists is below {self.root}.")
        return self._split(splits)

    @cached_property
    def _found(self) -> dict[Path, dict[str, Path]]:
        """The image files that are there, by annotation file and file_name."""
        there = {name: path for name, path in walk(self.root) if ending(name) in SUFFIXES}
        folders = sorted({parent for name in there for parent in PurePosixPath(name).parents}, key=str)
        found = {}
        for path, file in self._files.items():
            beside = PurePosixPath(path.parent.relative_to(self.root).as_posix())
            usual = [beside, PurePosixPath("."), PurePosixPath("images"), beside / "images"]
            own = [one for one in folders if _SPLITS.get(_words(one.name)) == (self._split_of(path) or "none")]
            tries = {one.file_name: [(way / one.file_name).as_posix() for way in [*usual, *own]] for one in file.images}
            hits = {name: next((way for way in ways if way in there), None) for name, ways in tries.items()}
            found[path] = {name: there[hit] for name, hit in hits.items() if hit is not None}
        return found

    @property
    def _missing(self) -> dict[Path, list[str]]:
        lost = {
            path: [image.file_name for image in file.images if image.file_name not in self._found[path]]
            for path, file in self._files.items()
        }
        return {path: names for path, names in lost.items() if names}


def annotation_files(root: Path) -> list[Path]:
    """The files of a folder that are COCO's annotations by their names and places, sorted."""
    found = {path for place in _PLACES for path in root.glob(place)}
    return sorted(path for path in found if not path.name.startswith(_OTHERS))


def _words(name: str) -> str:
    """The first word of a name that means a split ("instances_train2017" -> "train"); "" if none does."""
    return next((word for word in re.findall("[a-z]+", name.lower()) if word in _SPLITS), "")
