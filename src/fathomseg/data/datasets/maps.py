"""What the datasets share that have a depth file for an image, and whose maps keep their size when images are stored
smaller."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Integer, UInt8

from fathomseg.data.datasets.base import Kind
from fathomseg.data.datasets.files import FileDataset
from fathomseg.errors import DataError, Problem
from fathomseg.io.images import resize_nearest
from fathomseg.io.label_images import read_values
from fathomseg.io.listing import stamp
from fathomseg.io.shapes import refuse_other_shape
from fathomseg.io.stored_maps import read_map


class ScaledLabels(FileDataset):
    """Base of the datasets whose labels are brought to the size of the stored image, nearest."""

    def label(self, id: str) -> UInt8[np.ndarray, "h w"] | None:
        """Class indices, 255 = ignore, nearest at the size of the image; None if there is none. Raises `DataError` for
        what cannot be read, or is no scaled version of the image."""
        files = self.files(id)
        if files.label is None:
            return None
        label, size = self._read_label(id, files.label), files.size()
        # 1242 x 375 is stored as 416 x 128
        refuse_other_shape("the label", label.shape, size, str(files.label), spare=0.03)
        return resize_nearest(label, size)

    def _read_label(self, id: str, path: Path) -> UInt8[np.ndarray, "h w"]:
        """Class indices, 255 = ignore, at the size of the file. Raises `DataError`."""
        return self._labels_of(id).read(path)

    def _label_key(self, id: str) -> str:
        return f"{super()._label_key(id)}|{self.files(id).size()}"


class DepthDataset(FileDataset):
    """Base of the datasets with depth maps, which are brought to the size of the stored image, nearest."""

    @abstractmethod
    def _depth_file(self, id: str) -> Path | None:
        """The file that holds the depth of a sample, if there is one."""

    @abstractmethod
    def _read_depth(self, id: str, path: Path) -> Float32[np.ndarray, "h w"]:
        """z-depth in metres at the size of the map, 0 = invalid. Raises `DataError`."""

    def _depth_key(self, id: str) -> str:
        """A text that changes whenever the same depth file would be read as something else."""
        return ""

    def depth(self, id: str) -> Float32[np.ndarray, "h w"] | None:
        """z-depth in metres, 0 = invalid, nearest at the size of the image; None if unknown. Raises `DataError`."""
        files, path = self.files(id), self._depth_file(id)
        if path is None:
            return None
        depth, size = self._read_depth(id, path), files.size()
        refuse_other_shape("the depth map", depth.shape, size, str(path))
        return resize_nearest(depth, size)

    def has_depth(self, id: str) -> bool:
        """Whether there is a depth file; it is not opened."""
        return self._depth_file(id) is not None

    def fingerprint(self, id: str, kind: Kind) -> str | None:
        """Path, byte size and time of change of the file; for depth also the size of the image."""
        if kind != "depth":
            return super().fingerprint(id, kind)
        files, path = self.files(id), self._depth_file(id)
        return None if path is None else f"depth|{path}|{stamp(path)}|{files.size()}|{self._depth_key(id)}"


class MapDataset(ScaledLabels, DepthDataset):
    """Base of the datasets whose label and depth maps are brought to the size of the stored image, nearest."""

    def _unpaired(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Images with neither a label nor a depth map, where others have one."""
        every = len(self._listing.samples)
        kinds = " or ".join(kind for kind, count in self._lacking().items() if count < every)
        for id in ids if kinds else ():
            files = self.files(id)
            if files.label is None and self._depth_file(id) is None:
                yield Problem(str(files.image), f"has no {kinds} of the same name, as other images do")

    def _unpaired_notes(self) -> tuple[str, ...]:
        """How many images lack a label and how many a depth map, a line each."""
        every = len(self._listing.samples)
        return tuple(f"{count} of {every} images have no {kind}." for kind, count in self._lacking().items() if count)

    def _lacking(self) -> dict[str, int]:
        samples = self._listing.samples
        return {
            "label": sum(files.label is None for files in samples.values()),
            "depth map": sum(self._depth_file(id) is None for id in samples),
        }


def read_depth(
    path: Path,
    per_metre: int,
    far: int | None = None,
    read: Callable[[Path], Integer[np.ndarray, "h w"]] = read_values,
) -> Float32[np.ndarray, "h w"]:
    """The z-depth in metres that a 16-bit image stores in `per_metre` steps a metre, 0 = invalid.

    `far` is the stored value of what is infinitely far, such as the sky; it becomes invalid. Raises `DataError`.
    """
    stored = read(path)
    if stored.dtype != np.uint16:
        reason = f"has pixels of type {stored.dtype}; expected 16-bit depth in 1/{per_metre} m"
        raise DataError([Problem(str(path), reason)])
    depth: Float32[np.ndarray, "h w"] = stored.astype(np.float32) / np.float32(per_metre)
    if far is not None:
        depth[stored == far] = 0
    return depth


def read_any_depth(path: Path, scale: float) -> Float32[np.ndarray, "h w"]:
    """The z-depth in metres that a map of any format (`read_map`) stores in units of `scale` metres, 0 = invalid: so is
    what is negative, infinite or NaN. Raises `DataError`, also for 8 bits, which hold a picture of depth."""
    stored = read_map(path, "depth")
    if stored.dtype.itemsize == 1:
        reason = (
            "has 8-bit pixels, which are too coarse for depth; save what the sensor gives as a grey PNG of 16 bits, or "
            "as .npy"
        )
        raise DataError([Problem(str(path), reason)])
    with np.errstate(over="ignore", invalid="ignore"):  # what a float32 cannot hold is infinite; NaN may be signalling
        depth = (stored.astype(np.float64) * scale).astype(np.float32)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))
