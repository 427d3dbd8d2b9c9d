"""Disparity or depth that any program has stored, one file an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float32
from pydantic import model_validator

from fathomseg.data.by_name import ByName
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.files import Root
from fathomseg.depth_sources.base import DepthReader, DepthSource, inverse
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.depth_maps import read_scale
from fathomseg.io.listing import stamp
from fathomseg.io.shapes import refuse_other_shape
from fathomseg.io.stored_maps import MAP_SUFFIXES, read_as, read_map

_ROUNDING: Final = 1e-5
"""How far beyond 0..1 a disparity may be."""


class StoredMaps(DepthSource):
    """A folder of maps of the whole images, at any resolution, found by the names of the samples.

    `.png` of 8 or 16 bits, `.npy`, `.npz`, and `.tif` or `.pfm` of one channel. The 16-bit files of
    `fathom predict` need no setting but the folder. A file belongs to a sample if the path of one, without
    ending, ends with that of the other, or if the path of the sample's image ends with the file's.
    """

    name: Literal["maps"] = "maps"
    folder: Root
    """The folder; files may lie in folders below it."""
    holds: Literal["disparity", "depth"] = "disparity"
    """disparity: the larger the nearer. depth: the larger the farther, and everything up to 0 is not known."""
    scale: float | None = None
    """What one stored unit is worth. Nothing: whole numbers hold disparity in fractions of the largest (255 or 65535),
    all else is as stored. For disparity it may be negative: files in which the larger is the farther."""
    invalid: float | None = None
    """The stored value of pixels that are not known, besides NaN and infinities."""
    suffix: str = ""
    """What file names have after the name of the sample and before the ending, such as `_disparity`."""

    stretched: bool = False
    """Maps may have other proportions than their images, as of networks of one size that an image is stretched to."""

    @model_validator(mode="after")
    def _scale_tells_something(self) -> StoredMaps:
        if self.scale == 0 or (self.holds == "depth" and self.scale is not None and self.scale < 0):
            raise ValueError(f"scale must not be 0, nor negative for depth, but is {self.scale:g}")
        return self

    @property
    def is_between_depths(self) -> bool:
        """Files may hold such disparity; a number outside 0..1 is an error then."""
        return self.holds == "disparity"

    def depth_range(self) -> tuple[float, float] | None:
        """As the depth.json of `fathom predict` says, in the folder or above it."""
        return read_scale(self.folder)

    def open(self, dataset: Dataset, device: torch.device | str | None = None) -> MapsReader:
        """The reader, which lists the folder once. Raises `FathomError` if there is none."""
        return MapsReader(self, dataset)


class MapsReader(DepthReader):
    """Reads the maps of one folder for the samples of one dataset."""

    def __init__(self, source: StoredMaps, dataset: Dataset) -> None:
        self.source, self.dataset = source, dataset
        if not source.folder.is_dir():
            raise FathomError(f"There is no folder {source.folder} with maps of {source.holds}.")
        ids = {id: None for split in dataset.splits for id in dataset.ids(split)}
        self._files = ByName(source.folder, tuple(ids), MAP_SUFFIXES, dataset.files, source.suffix)

    def fingerprint(self, id: str) -> str:
        """Path, byte size and time of change of the file, and how its numbers are read. Raises `DataError`."""
        path = self.path(id)
        numbers = (self.source.holds, self.source.scale, self.source.invalid)
        return f"maps|{path}|{stamp(path)}|{numbers}{read_as(path)}"

    def path(self, id: str) -> Path:
        """The one file of a sample. Raises `DataError` if there is none, or more than one."""
        return self._files.path(id)

    def load(self, id: str) -> Float32[np.ndarray, "h w"]:
        """The disparity in the file. Raises `DataError` if it cannot be read or holds no map."""
        path = self.path(id)
        stored = read_map(path, self.source.holds)
        if not self.source.stretched:
            what = f"the map of {self.source.holds}"
            refuse_other_shape(
                what, stored.shape, self.dataset.size_of(id), f"{path} (stretched=true takes it all the same)"
            )
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which means "not known"
            values = stored.astype(np.float32) * np.float32(self._scale(stored.dtype))
        if self.source.invalid is not None:
            values[stored == self.source.invalid] = np.nan
        if self.source.normalise.over == "none":
            _refuse_beyond(values, path)
        return inverse(values) if self.source.holds == "depth" else values

    def _scale(self, stored: np.dtype[Any]) -> float:
        if self.source.scale is not None:
            return self.source.scale
        fractions = self.source.holds == "disparity" and stored.kind in "ui"
        return 1 / float(np.iinfo(stored).max) if fractions else 1.0


def _refuse_beyond(disparity: Float32[np.ndarray, "h w"], path: Path) -> None:
    """Raise `DataError` unless what is known is 0..1, but for rounding."""
    known = disparity[np.isfinite(disparity)]
    if known.size and not -_ROUNDING <= known.min() <= known.max() <= 1 + _ROUNDING:
        reason = f"holds disparity from {known.min():g} to {known.max():g}, but normalise.over=none takes 0..1 as it is"
        raise DataError([Problem(str(path), f"{reason}; set scale, or over=image or dataset")])
