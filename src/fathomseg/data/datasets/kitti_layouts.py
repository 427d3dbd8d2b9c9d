"""The three ways KITTI lies on disks: found by their folders, each as a list of clips with calibration and poses."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float64

from fathomseg import config
from fathomseg.data.datasets.clip_order import order_in_time
from fathomseg.data.datasets.description import CameraEntry
from fathomseg.data.datasets.files import files_below
from fathomseg.data.datasets.kitti_calibration import Calibration
from fathomseg.errors import ConfigError, DataError, Problem
from fathomseg.geometry.trajectory import read_poses
from fathomseg.io.shapes import fitted
from fathomseg.types import Camera, Size

LEFT, RIGHT = 0, 1
_CAMERAS: Final = {LEFT: (2, 0), RIGHT: (3, 1)}
"""KITTI's numbers of the colour and of the grayscale camera of each side."""

_DRIVE: Final = re.compile(r"\d{4}_\d\d_\d\d_drive_\d+_sync")


@dataclass(frozen=True, eq=False)
class Clip:
    """One camera's frames of one drive."""

    name: str
    """What ids begin with: the drive, and for another camera than the left one its folder."""
    drive: str
    frames: Mapping[str, Path]
    """Image files by frame, as it stands in ids."""
    calibration: Path
    """calib_cam_to_cam.txt, calib.txt or camera.yaml."""
    number: int = 0
    """KITTI's number of the camera, 0 to 3; camera.yaml has only one."""
    poses: Path | None = None
    depth: Mapping[str, Path] = field(default_factory=dict)
    """Depth maps by frame."""

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Where each frame stands in time."""
        return order_in_time(tuple(self.frames))

    @cached_property
    def at_place(self) -> Mapping[int, str]:
        """The frames in the order of time, by their place."""
        return dict(sorted((place, frame) for frame, place in self.places.items()))

    def camera(self, stored: Size) -> Camera | None:
        """The camera of the images, which are stored at this size; None without a file. Raises `DataError`."""
        if not self.calibration.is_file():
            return None
        if self.calibration.suffix == ".yaml":
            return fitted(self._yaml_camera, stored, str(self.calibration))
        return self._calibration.camera(self.number, stored)

    @cached_property
    def world_T_cam(self) -> Mapping[str, Float64[np.ndarray, "4 4"]] | None:
        """The pose of each frame; None without a file. Raises `DataError` if their number is wrong.

        KITTI's poses are those of camera 0; the offset of the other cameras is in their projection matrix.
        """
        if self.poses is None:
            return None
        poses, numbers = read_poses(self.poses), self._numbers
        last = max(numbers.values(), default=len(self.frames))
        if len(poses) == len(self.frames):
            lines = {frame: line for line, frame in enumerate(self.at_place.values())}
        elif numbers and len(poses) == last + 1:
            lines = numbers
        else:
            expected = f"expected {len(self.frames)}" + (f" or {last + 1}" if last >= len(self.frames) else "")
            reason = f"holds {len(poses)} poses for {len(self.frames)} frames; {expected}, one a line"
            raise DataError([Problem(str(self.poses), reason)])
        return {frame: poses[line] @ self._cam0_T_cam for frame, line in lines.items()}

    @property
    def _numbers(self) -> dict[str, int]:
        """The frame numbers; empty if names are not numbers."""
        return {frame: int(frame) for frame in self.frames} if all(map(str.isdecimal, self.frames)) else {}

    @cached_property
    def _calibration(self) -> Calibration:
        return Calibration(self.calibration)

    @cached_property
    def _yaml_camera(self) -> Camera:
        try:
            return config.load(CameraEntry, self.calibration).camera()
        except ConfigError as error:
            raise DataError([Problem(str(self.calibration), str(error))]) from None

    @property
    def _cam0_T_cam(self) -> Float64[np.ndarray, "4 4"]:
        transform = np.eye(4)
        if self.calibration.suffix == ".txt" and self.calibration.is_file():
            transform[:3, 3] = self._calibration.position(self.number)
        return transform


def find_clips(root: Path, right: bool) -> list[Clip]:
    """The clips below a folder, in whichever layout it has; empty if it has none of them."""
    for layout in (_odometry, _raw, _plain):
        if clips := [clip for clip in layout(root, right) if clip.frames]:
            return clips
    return []


def _raw(root: Path, right: bool) -> Iterator[Clip]:
    """<date>/<drive>_sync/image_02/data/*.png; root may also be one date's folder."""
    for folder in sorted(path for pattern in ("*_sync", "*/*_sync") for path in root.glob(pattern)):
        if not _DRIVE.fullmatch(folder.name):
            continue
        for side, number, images in _sides(folder, "image_{:02d}/data", right):
            camera = f"image_{number:02d}"
            yield Clip(
                name=folder.name if side == LEFT else f"{folder.name}/{camera}",
                drive=folder.name,
                frames=files_below(images),
                calibration=folder.parent / "calib_cam_to_cam.txt",
                number=number,
                depth=_depth(root, folder, camera),
            )


def _depth(root: Path, drive: Path, camera: str) -> dict[str, Path]:
    """The depth benchmark's maps, merged into the drive or unpacked beside the dates as train/ and val/."""
    for folder in (drive, root / "train" / drive.name, root / "val" / drive.name):
        if maps := files_below(folder / "proj_depth" / "groundtruth" / camera):
            return maps
    return {}


def _odometry(root: Path, right: bool) -> Iterator[Clip]:
    """sequences/<NN>/image_2/*.png with poses/<NN>.txt; root may also hold them in dataset/, as the archives do."""
    base = next((path for path in (root, root / "dataset") if (path / "sequences").is_dir()), root)
    for folder in sorted((base / "sequences").glob("*")):
        poses = base / "poses" / f"{folder.name}.txt"
        for side, number, images in _sides(folder, "image_{}", right):
            yield Clip(
                name=folder.name if side == LEFT else f"{folder.name}/image_{number}",
                drive=folder.name,
                frames=files_below(images),
                calibration=folder / "calib.txt",
                number=number,
                poses=poses if poses.is_file() else None,
            )


def _plain(root: Path, right: bool) -> Iterator[Clip]:
    """<clip>/*.jpg with camera.yaml and poses.txt."""
    clips: dict[str, dict[str, Path]] = defaultdict(dict)
    for stem, path in files_below(root).items():
        name, slash, frame = stem.rpartition("/")
        if slash:
            clips[name][frame] = path
    for name, frames in clips.items():
        poses = root / name / "poses.txt"
        yield Clip(name, name, frames, root / name / "camera.yaml", poses=poses if poses.is_file() else None)


def _sides(folder: Path, pattern: str, right: bool) -> Iterator[tuple[int, int, Path]]:
    """(side, camera number, folder of images): the colour camera of each side or, failing that, the grayscale one."""
    for side in (LEFT, RIGHT)[: 1 + right]:
        present = ((number, folder / pattern.format(number)) for number in _CAMERAS[side])
        found = next(((number, images) for number, images in present if images.is_dir()), None)
        if found is not None:
            yield side, *found
