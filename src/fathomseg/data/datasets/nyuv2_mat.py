"""The official file of NYU Depth v2, nyu_depth_v2_labeled.mat (HDF5), and the small MATLAB files that belong to it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Integer, UInt8

from fathomseg.data.datasets.files import Files
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.listing import stamp
from fathomseg.types import Size

MAT: Final = "nyu_depth_v2_labeled.mat"
_SPLITS: Final = "splits.mat"
_MAPPING: Final = "classMapping40.mat"


@dataclass(frozen=True, slots=True)
class InMat(Files):
    """One image of the file, and its label."""

    frame: int = 0
    """Which image of the file, from 0."""

    def read(self, bits: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
        """The RGB image, of 8 bits. Raises `DataError`."""
        return np.ascontiguousarray(_read(self.image, "images", self.frame).transpose(2, 1, 0))

    def size(self) -> Size:
        """(height, width) of the image. Raises `DataError`."""
        width, height = _read(self.image, "images", None)[-2:]
        return int(height), int(width)

    def read_label(self) -> Integer[np.ndarray, "h w"]:
        """Ids of the several hundred names in the file, 0 = no label. Raises `DataError`."""
        return np.ascontiguousarray(_read(self.image, "labels", self.frame).T)

    def read_depth(self) -> Float32[np.ndarray, "h w"]:
        """In-painted z-depth in metres. Raises `DataError`."""
        return np.ascontiguousarray(_read(self.image, "depths", self.frame).T, np.float32)


@dataclass(frozen=True, eq=False)
class LabelledMat:
    """The file as a whole. MATLAB counts from 1, and so do the ids: "0001"."""

    path: Path

    @cached_property
    def samples(self) -> dict[str, Files]:
        """Where every image is, by its id."""
        count = _read(self.path, "images", None)[0]
        return {f"{place + 1:04d}": InMat(self.path, self.path, place) for place in range(count)}

    @cached_property
    def scenes(self) -> dict[str, str]:
        """The scene every image was taken in ("kitchen_0004"), by its id."""
        return dict(zip(self.samples, _texts(self.path, "scenes"), strict=True))

    def official(self) -> tuple[list[str], list[str]]:
        """The ids of the 795 training and the 654 test images, from splits.mat. Raises `FathomError` without it."""
        path = self.path.parent / _SPLITS
        if not path.is_file():
            raise FathomError(
                f"{path} is missing, which says which images are for training: download it from the page of NYU Depth "
                "v2, or write train.txt and test.txt with one number a line (0001)."
            )
        numbers = _matlab(path, ("trainNdxs", "testNdxs"))
        train, test = (sorted(f"{int(n):04d}" for n in numbers[key].ravel()) for key in ("trainNdxs", "testNdxs"))
        return train, test

    def labels(self, names: Sequence[str]) -> LabelMap:
        """Which of the 40 classes every id of the file is, by name. Raises `DataError` without classMapping40.mat."""
        path = self.path.parent / _MAPPING
        if not path.is_file():
            reason = (
                "is missing, which says which of the 40 classes each of the names in nyu_depth_v2_labeled.mat is: put "
                "the file of Gupta et al. (CVPR 2013) there, with mapClass, className and allClassName"
            )
            raise DataError([Problem(str(path), reason)])
        table = _matlab(path, ("mapClass", "allClassName"))
        classes = [int(number) for number in table["mapClass"].ravel()]
        known = dict(zip((str(cell.ravel()[0]) for cell in table["allClassName"].ravel()), classes, strict=True))
        stored = _texts(self.path, "names")
        if unknown := [name for name in stored if not 1 <= known.get(name, 0) <= len(names)]:
            reason = f"says of {len(unknown)} names no class of 1 to {len(names)}, such as {unknown[0]!r}"
            raise DataError([Problem(str(path), reason)])
        return LabelMap(
            kind="ids",
            names=tuple(names),
            values=tuple(range(1, len(stored) + 1)),
            ignored=(0,),
            remedy=f"{self.path} has {len(stored)} names",
            indices=tuple(known[name] - 1 for name in stored),
        )


def _read(path: Path, name: str, place: int | None) -> Any:
    """One image's part of an array, or the shape of all (place = None). Opened anew each time: workers fork."""
    try:
        with _package("h5py").File(path, "r") as file:
            return file[name].shape if place is None else file[name][place]
    except (OSError, KeyError) as error:
        stamp(path)  # says so if it has gone
        raise DataError([Problem(str(path), f"cannot be read as the file of NYU Depth v2 ({error})")]) from None


def _texts(path: Path, name: str) -> list[str]:
    """A cell array of texts."""
    try:
        with _package("h5py").File(path, "r") as file:
            cells = file[name][()].ravel()
            return ["".join(map(chr, file[cell][()].ravel().tolist())) for cell in cells]
    except (OSError, KeyError) as error:
        raise DataError([Problem(str(path), f"cannot be read as the file of NYU Depth v2 ({error})")]) from None


def _matlab(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """The variables of a MATLAB file. Raises `DataError` if one is missing."""
    try:
        found: dict[str, Any] = _package("scipy.io").loadmat(path, variable_names=names)
    except (OSError, ValueError, NotImplementedError) as error:
        raise DataError([Problem(str(path), f"cannot be read as a MATLAB file ({error})")]) from None
    if lacking := [name for name in names if name not in found]:
        raise DataError([Problem(str(path), f"holds no {' and no '.join(lacking)}")])
    return found


def _package(name: str) -> Any:
    """A package of the extra `nyuv2`."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise FathomError(
            f'{MAT} needs the package {name.split(".")[0]}. Run `pip install "fathomseg[nyuv2]"`, or unpack the file '
            "into folders of images (docs/data.md)."
        ) from None
