"""KITTI (Geiger et al., CVPR 2012): video of drives with cameras, some with poses or sparse depth; no labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np
from jaxtyping import Float32, Float64
from pydantic import Field

from fathomseg.data.datasets.cityscapes import CLASSES
from fathomseg.data.datasets.files import Files, Listing
from fathomseg.data.datasets.hash_split import hold_out_by_hash
from fathomseg.data.datasets.kitti_layouts import Clip, find_clips
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.data.datasets.maps import MapDataset, read_depth
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.types import IGNORE, Camera, ClassList

_LABELS: Final = LabelMap("ids", CLASSES.names, tuple(range(len(CLASSES))), (IGNORE,), "KITTI's video has no labels")
_CAMERA_HEIGHT_M: Final = 1.65
LEVELS_PER_METRE: Final = 256
"""KITTI stores depth as 16-bit whole numbers, in 1/256 metre; 0 = not measured."""


class Kitti(MapDataset):
    """KITTI raw, KITTI odometry, or folders of frames; which one follows from the folder. Ids are `drive/frame`.

    Examples are "2011_09_26_drive_0001_sync/0000000017" and "00/000017". Splits are `train` and `val`, divided by whole
    drives, and `all`. Grayscale frames have three equal channels. No frame has a label; the classes are those of
    Cityscapes, so that networks trained there can be run here.
    """

    _labels: ClassVar = _LABELS
    name: Literal["kitti"] = "kitti"
    right: bool = False
    """Also take the right camera of each drive, as further clips ("00/image_3/000017")."""
    val_drives: tuple[str, ...] | None = None
    """The drives of `val`; left out = about `val_percent` of them, by a hash of their name, at least one of several."""
    val_percent: int = Field(default=10, ge=1, le=99)
    """Without `val_drives`: the share of the drives that is held out, in percent (each drive is drawn by itself)."""

    @property
    def classes(self) -> ClassList:
        """The 19 classes of Cityscapes."""
        return CLASSES

    def camera(self, id: str) -> Camera | None:
        """The rectified camera from the drive's calibration file, scaled to the stored image. Raises `DataError`."""
        files = self.files(id)
        return self._clip(id)[0].camera(files.size())

    def camera_height(self, id: str) -> float:
        """1.65 m: all cameras of KITTI are mounted at this height (Geiger et al. 2013, figure 3)."""
        return _CAMERA_HEIGHT_M

    def world_T_cam(self, id: str) -> Float64[np.ndarray, "4 4"] | None:
        """The pose in the drive's own world (camera 0 of its first frame, usually). Raises `DataError`."""
        self.files(id)
        clip, frame = self._clip(id)
        return None if clip.world_T_cam is None else clip.world_T_cam[frame]

    def _depth_file(self, id: str) -> Path | None:
        clip, frame = self._clip(id)
        return clip.depth.get(frame)

    def _read_depth(self, id: str, path: Path) -> Float32[np.ndarray, "h w"]:
        """The laser's sparse depth."""
        return read_depth(path, LEVELS_PER_METRE)

    def neighbour(self, id: str, offset: int) -> str | None:
        """The frame of the same camera whose number is `offset` higher; None beyond the ends and in gaps."""
        self.files(id)
        clip, frame = self._clip(id)
        other = clip.at_place.get(clip.places[frame] + offset)
        return None if other is None else f"{clip.name}/{other}"

    def clip(self, id: str) -> str:
        """The drive, whichever camera saw it."""
        self.files(id)
        return self._clip(id)[0].drive

    def clips_remedy(self) -> str:
        """Which setting divides by drives."""
        return "hold out whole drives (data.val_drives)"

    def layout_problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Missing calibration, a wrong number of poses, and gaps in the numbers of the frames."""
        wanted = set(ids)
        for clip in self._clips.values():
            if not (here := {frame for frame in clip.frames if f"{clip.name}/{frame}" in wanted}):
                continue
            if not clip.calibration.is_file():
                reason = f"there is no such file, so the camera of {clip.name} is not known; add it"
                yield Problem(str(clip.calibration), reason)
            try:
                _ = clip.world_T_cam
            except DataError as error:
                yield from error.problems
            for (place, frame), (next_place, after) in pairwise(clip.at_place.items()):
                if next_place > place + 1 and frame in here:
                    reason = f"missing neighbour: the next frame is {after}; add the frames between, or make two clips"
                    yield Problem(str(clip.frames[frame]), reason)

    def notes(self) -> tuple[str, ...]:
        """How the split `val` came about, and which drives have poses or depth."""
        clips = self._clips.values()
        drives = {clip.drive for clip in clips}
        val = self._val(drives)
        chosen = (
            "" if self.val_drives is not None else ", chosen by a hash of their name (val_drives=[...] names others)"
        )
        return (
            f"val is {len(val)} of {len(drives)} drives{chosen}: {', '.join(sorted(val)) or 'none'}.",
            f"Of {len(clips)} clips, {sum(clip.poses is not None for clip in clips)} have poses and "
            f"{sum(bool(clip.depth) for clip in clips)} have depth.",
        )

    def _list(self) -> Listing:
        samples = {
            f"{clip.name}/{frame}": Files(path) for clip in self._clips.values() for frame, path in clip.frames.items()
        }
        val = self._val({clip.drive for clip in self._clips.values()})
        splits: dict[str, dict[str, Files]] = {"train": {}, "val": {}, "all": samples}
        for id, files in samples.items():
            splits["val" if self._clip(id)[0].drive in val else "train"][id] = files
        return Listing.of({name: split for name, split in splits.items() if split})

    def _val(self, drives: set[str]) -> set[str]:
        """The drives that are held out."""
        if self.val_drives is not None:
            if unknown := set(self.val_drives) - drives:
                raise FathomError(
                    f"val_drives names {', '.join(sorted(unknown))}, but {self.root} has no such drive; "
                    f"there is: {', '.join(sorted(drives))}."
                )
            return set(self.val_drives)
        return hold_out_by_hash(drives, self.val_percent)

    @cached_property
    def _clips(self) -> dict[str, Clip]:
        if not (clips := {clip.name: clip for clip in find_clips(self.root, self.right)}):
            raise FathomError(
                f"No KITTI at {self.root}: expected <date>/<drive>_sync/image_02/data/*.png (raw), "
                "sequences/<number>/image_2/*.png (odometry), or <clip>/*.jpg with camera.yaml. Set root=FOLDER."
            )
        return clips

    def _clip(self, id: str) -> tuple[Clip, str]:
        """The clip and the frame of an id that exists."""
        name, _, frame = id.rpartition("/")
        return self._clips[name], frame
