"""The 200 street scenes of KITTI 2015, which two benchmarks share: one measured disparity, the other has labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np
from jaxtyping import Float32

from fathomseg.data.datasets.cityscapes import LABELS
from fathomseg.data.datasets.files import Files, files_below
from fathomseg.data.datasets.kitti_calibration import LEVELS_PER_PIXEL, USUAL, Calibration, Stereo, read_stereo
from fathomseg.data.datasets.maps import MapDataset
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.label_images import read_values
from fathomseg.io.shapes import refuse_other_shape
from fathomseg.types import Camera, Size

_LEFT, _RIGHT = 2, 3
"""KITTI's numbers of the two colour cameras; images, disparity and labels are of the left one."""

_FRAME: Final = re.compile(r"\d+_\d\d")
_MEASURED: Final = "_10"
"""The frame of every scene that disparity and labels belong to; 00 to 20 are the video around it."""


class KittiScenes(MapDataset):
    """Base of the datasets of these scenes: frames, cameras, disparity and labels. Ids are `training/000000_10`.

    Frame _10 of every scene is the one that is measured and labelled. Images may be stored at another size than maps.
    """

    _labels: ClassVar = LABELS
    disparity: Literal["occ", "noc"] = "occ"
    """Which disparity is the truth: "occ" = all that was measured, "noc" = only what the right camera sees too."""
    calibration: Literal["measured", "kitti"] = "measured"
    """For scenes without calibration: "measured" = no depth, an error; "kitti" = the usual numbers of KITTI's car."""

    _title: ClassVar[str]
    _archive: ClassVar[str]
    """The file to unpack."""

    def camera(self, id: str) -> Camera | None:
        """The rectified left camera, scaled to the stored image; None if it is not known. Raises `DataError`."""
        stereo = self._stereo(id, self.files(id).size())
        return None if stereo is None else stereo.camera

    def _depth_file(self, id: str) -> Path | None:
        return self._disparities.get(id)

    def _read_depth(self, id: str, path: Path) -> Float32[np.ndarray, "h w"]:
        """Depth from disparity. Raises `DataError` where calibration is missing: without it disparity is no depth."""
        stored = read_values(path)
        if stored.dtype != np.uint16:
            reason = f"has pixels of type {stored.dtype}; expected 16-bit disparity in 1/{LEVELS_PER_PIXEL} pixel"
            raise DataError([Problem(str(path), reason)])
        if (stereo := self._stereo(id, stored.shape)) is None:
            raise DataError([self._no_calibration(id)])
        return stereo.depth(stored)

    def _depth_key(self, id: str) -> str:
        return str(self._stereo(id, self.files(id).size()))

    def neighbour(self, id: str, offset: int) -> str | None:
        """The frame of the same scene whose number is `offset` higher (_11 after _10), if it is stored."""
        self.files(id)
        return self.renumbered(id, offset)

    def layout_problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Missing or bad calibration of scenes whose disparity was measured."""
        for id in ids:
            try:
                if id in self._disparities and self.camera(id) is None:
                    yield self._no_calibration(id)
            except DataError as error:
                yield from error.problems

    def _stereo_notes(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Where the cameras of those that have disparity come from, if not from the measurements."""
        lacking = sum(id in self._disparities and _scene(id) not in self._calibrations for id in ids)
        if self.calibration == "measured" or self._yaml.is_file() or not self._disparities:
            return ()
        return (
            f"{lacking} of them have no calibration file and take the usual numbers of KITTI: fx {USUAL.camera.fx} px "
            f"of {USUAL.camera.width}, baseline {USUAL.baseline_m} m. Their depth may be off by about 1 %.",
        )

    def _frames(self) -> tuple[dict[str, Files], dict[str, Files]]:
        """All frames, and those that belong to disparity and labels. Raises `FathomError` if there are none."""
        labels = self._below("semantic")
        frames = {id: Files(path, labels.get(id)) for id, path in self._below("image_2").items()}
        measured = {id: files for id, files in frames.items() if id.endswith(_MEASURED)}
        if not measured:
            raise FathomError(
                f"No {self._title} at {self.root}: expected {self.root / 'training' / 'image_2' / '000000_10.png'} and "
                f"so on ({self._archive}, unpacked). Set root=FOLDER, the one that holds training/."
            )
        return frames, measured

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

    def _stereo(self, id: str, size: Size) -> Stereo | None:
        """The pair of cameras of a scene, for images stored at this size; None if it is not known."""
        if (measured := self._calibrations.get(_scene(id))) is not None:
            return Stereo(measured.camera(_LEFT, size), measured.baseline(_LEFT, _RIGHT))
        pair = self._camera_yaml or (USUAL if self.calibration == "kitti" else None)
        if pair is not None:
            refuse_other_shape("the camera", (pair.camera.height, pair.camera.width), size, str(self.files(id).image))
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
