"""KITTI scene flow / stereo 2015 (Menze and Geiger, CVPR 2015): 200 street scenes with measured disparity.

The labels of the KITTI semantic benchmark (Alhaija et al., IJCV 2018) are of the same 200 images.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from fathomseg.data.datasets.base import Kind
from fathomseg.data.datasets.cityscapes import CLASSES, LABELS
from fathomseg.data.datasets.files import FileDataset, Files, Listing, files_below, stamp
from fathomseg.data.datasets.kitti_calibration import LEVELS_PER_PIXEL, USUAL, Calibration, Stereo, read_stereo
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.images import read_values, resize_nearest
from fathomseg.types import Camera, ClassList, Size

_LEFT, _RIGHT = 2, 3
"""KITTI's numbers of the two colour cameras; images, disparity and labels are of the left one."""

_FRAME: Final = re.compile(r"\d+_\d\d")
_MEASURED: Final = "_10"
"""The frame of every scene that disparity and labels belong to; 00 to 20 are the video around it."""


class Kitti2015(FileDataset):
    """KITTI scene flow / stereo 2015, for measuring depth. Ids are `training/000000_10`.

    Splits are `val`, the frames _10 of training/, whose disparity was measured; `testing`, those of testing/, without
    any truth; and `all`, with the frames before and after them. Images may be stored at another size than the maps.
    Labels are those of the semantic benchmark, if they are there; the classes are those of Cityscapes.
    """

    _labels: ClassVar = LABELS
    name: Literal["kitti2015"] = "kitti2015"
    disparity: Literal["occ", "noc"] = "occ"
    """Which disparity is the truth: "occ" = all that was measured, "noc" = only what the right camera sees too."""
    calibration: Literal["measured", "kitti"] = "measured"
    """For scenes without calibration: "measured" = no depth, an error; "kitti" = the usual numbers of KITTI's car."""

    @property
    def classes(self) -> ClassList:
        """The 19 classes of Cityscapes."""
        return CLASSES

    def label(self, id: str) -> UInt8[np.ndarray, "h w"] | None:
        """Class indices, 255 = ignore, nearest at the size of the image; None if there is none. Raises `DataError`."""
        files = self.files(id)
        return None if files.label is None else resize_nearest(LABELS.read(files.label), files.size())

    def camera(self, id: str) -> Camera | None:
        """The rectified left camera, scaled to the stored image; None if it is not known. Raises `DataError`."""
        stereo = self._stereo(id, self.files(id).size())
        return None if stereo is None else stereo.camera

    def depth(self, id: str) -> Float32[np.ndarray, "h w"] | None:
        """z-depth in metres, 0 = not measured, nearest at the size of the image; None without a disparity map.

        Raises `DataError` for a bad map, and where calibration is missing, without which disparity is no depth.
        """
        files, path = self.files(id), self._disparities.get(id)
        if path is None:
            return None
        stored = read_values(path)
        if stored.dtype != np.uint16:
            reason = f"has pixels of type {stored.dtype}; expected 16-bit disparity in 1/{LEVELS_PER_PIXEL} pixel"
            raise DataError([Problem(str(path), reason)])
        if (stereo := self._stereo(id, stored.shape)) is None:
            raise DataError([self._no_calibration(id)])
        return resize_nearest(stereo.depth(stored), files.size())

    def moving(self, id: str) -> Bool[np.ndarray, "h w"] | None:
        """True on cars that drive (obj_map), nearest at the size of the image; None without a map of them."""
        files, path = self.files(id), self._moving.get(id)
        return None if path is None else resize_nearest(read_values(path) > 0, files.size())

    def neighbour(self, id: str, offset: int) -> str | None:
        """The frame of the same scene whose number is `offset` higher (_11 after _10), if it is stored."""
        self.files(id)
        return self.renumbered(id, offset)

    def fingerprint(self, id: str, kind: Kind) -> str | None:
        """Path, byte size and time of change of the file; for labels and depth also the size of the image."""
        files = self.files(id)
        if kind != "depth":
            known = super().fingerprint(id, kind)
            return known if known is None or kind == "image" else f"{known}|{files.size()}"
        path, size = self._disparities.get(id), files.size()
        return None if path is None else f"depth|{path}|{stamp(path)}|{size}|{self._stereo(id, size)}"

    def layout_problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Missing or bad calibration of scenes whose disparity was measured."""
        for id in ids:
            try:
                if id in self._disparities and self.camera(id) is None:
                    yield self._no_calibration(id)
            except DataError as error:
                yield from error.problems

    def notes(self) -> tuple[str, ...]:
        """How many frames have depth and labels, and where the cameras come from if not from the measurements."""
        val = self._listing.splits.get("val", ())
        counts = f"Of {len(val)} frames of val, {sum(id in self._disparities for id in val)} have depth "
        counts += f"(disp_{self.disparity}_0) and {sum(self.has_label(id) for id in val)} a label (semantic)."
        if self.calibration == "measured" or self._yaml.is_file():
            return (counts,)
        lacking = sum(_scene(id) not in self._calibrations for id in val)
        return (
            counts,
            f"{lacking} of them have no calibration file and take the usual numbers of KITTI: fx {USUAL.camera.fx} px "
            f"of {USUAL.camera.width}, baseline {USUAL.baseline_m} m. Their depth may be off by about 1 %.",
        )

    def _list(self) -> Listing:
        labels = self._below("semantic")
        frames = {id: Files(path, labels.get(id)) for id, path in self._below("image_2").items()}
        measured = {id: files for id, files in frames.items() if id.endswith(_MEASURED)}
        if not measured:
            raise FathomError(
                f"No KITTI 2015 at {self.root}: expected {self.root / 'training' / 'image_2' / '000000_10.png'} and so "
                "on (data_scene_flow.zip, unpacked). Set root=FOLDER, the one that holds training/."
            )
        splits = {
            "val": {id: files for id, files in measured.items() if id.startswith("training/")},
            "testing": {id: files for id, files in measured.items() if id.startswith("testing/")},
            "all": frames,
        }
        return Listing.of({name: split for name, split in splits.items() if split})

    def _below(self, folder: str) -> dict[str, Path]:
        """The files of one kind ("image_2"), by id."""
        return {
            f"{part}/{stem}": path
            for part in ("training", "testing")
            for stem, path in files_below(self.root / part / folder).items()
            if _FRAME.fullmatch(stem)
        }

    @cached_property
    def _disparities(self) -> Mapping[str, Path]:
        return self._below(f"disp_{self.disparity}_0")

    @cached_property
    def _moving(self) -> Mapping[str, Path]:
        return self._below("obj_map")

    def _stereo(self, id: str, size: Size) -> Stereo | None:
        """The pair of cameras of a scene, for images stored at this size; None if it is not known."""
        if (measured := self._calibrations.get(_scene(id))) is not None:
            return Stereo(measured.camera(_LEFT, size), measured.baseline(_LEFT, _RIGHT))
        pair = self._camera_yaml or (USUAL if self.calibration == "kitti" else None)
        return None if pair is None else pair.resized(size)

    @cached_property
    def _calibrations(self) -> Mapping[str, Calibration]:
        """The calibration files by scene ("training/000000"). Those beside training/ are of training."""
        found: dict[str, Calibration] = {}
        for part, folder in (("training", "."), ("training", "training"), ("testing", "testing")):
            below = files_below(self.root / folder / "calib_cam_to_cam", {".txt"})
            found |= {f"{part}/{scene}": Calibration(path) for scene, path in below.items()}
        return found

    @cached_property
    def _camera_yaml(self) -> Stereo | None:
        """The one pair of cameras of all scenes that have no calibration of their own."""
        return read_stereo(self._yaml) if self._yaml.is_file() else None

    @property
    def _yaml(self) -> Path:
        return self.root / "camera.yaml"

    def _no_calibration(self, id: str) -> Problem:
        part, _, scene = _scene(id).rpartition("/")
        folder = self.root / part / "calib_cam_to_cam"
        where = folder / f"{scene}.txt" if folder.is_dir() else folder  # one problem, not 200, if none is there
        reason = (
            "is missing, and without the cameras disparity is no depth; unpack data_scene_flow_calib.zip here, write "
            f"{self._yaml} with `baseline` in metres (docs/data.md), or set calibration=kitti to use the usual numbers "
            "of KITTI"
        )
        return Problem(str(where), reason)


def _scene(id: str) -> str:
    """ "training/000000" of "training/000000_10"."""
    return id.rpartition("_")[0]
