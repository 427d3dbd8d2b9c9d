"""The generated world: endless drives through a small city with exact depth, labels, poses and motion.

Nothing is stored: a frame is rendered from its id when it is asked for, a few dozen a second at 256 x 128 on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from pydantic import Field

from fathomseg.data.datasets.base import Dataset, Kind
from fathomseg.data.transforms import PositiveSize
from fathomseg.data.world.labels import COLOURS, NAMES
from fathomseg.data.world.route import Clip
from fathomseg.errors import FathomError
from fathomseg.types import Camera, ClassList, Size

if TYPE_CHECKING:  # the renderer is imported by what needs it: reading a recipe does not
    from fathomseg.data.world.render import Frame

VERSION: Final = 1
"""Changes whenever the picture of any id would; part of every fingerprint."""

Split = Literal["train", "val", "test"]
_SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")
_DRIVES: Final = 1_000_000
"""Drives of one split that no other split shares."""


class Streets(Dataset):
    """Generated street scenes. Ids are `split/clip/frame`, for example `train/0003/000017`.

    The splits share the look of the town but no street: their clips are drawn from different seeds. Sky has depth 0
    (invalid), for it is infinitely far. Every frame has a label, a depth map, a camera and a pose.
    """

    name: Literal["streets"] = "streets"
    domain: Literal["day", "dusk", "overcast"] = "day"
    """The look: palette, light, buildings, camera height and field of view."""
    size: PositiveSize = (128, 256)
    """Height and width of the images in pixels."""
    train_clips: int = Field(default=64, ge=1, le=_DRIVES)
    """Drives in the split `train`."""
    val_clips: int = Field(default=16, ge=1, le=_DRIVES)
    """Drives in the split `val`."""
    test_clips: int = Field(default=16, ge=1, le=_DRIVES)
    """Drives in the split `test`."""
    frames: int = Field(default=32, ge=1)
    """Frames of every drive; more frames prolong the same drive."""
    step: float = Field(default=0.7, ge=0.1, le=2.0)
    """Mean distance between frames in metres; it varies by about half within and between drives."""
    seed: int = Field(default=0, ge=0)
    """Another seed is another city."""
    endless: bool = False
    """Whether a stream of the split `train` sees new frames at every step, of a million drives instead of
    `train_clips`, rendered as they are needed and kept nowhere. `ids` still lists the first `train_clips`."""

    @property
    def classes(self) -> ClassList:
        """Fifteen classes with the names and colours of Cityscapes."""
        return ClassList(NAMES, COLOURS)

    @property
    def splits(self) -> tuple[str, ...]:
        """train, val and test."""
        return _SPLITS

    def ids(self, split: str) -> Sequence[str]:
        """All frames of all drives of a split, in order."""
        clips = range(self._clips(split))
        return [f"{split}/{clip:04d}/{frame:06d}" for clip in clips for frame in range(self.frames)]

    def fresh(self, split: str, seed: int, position: int) -> str | None:
        """A frame of one of a million drives. Raises `FathomError` for another split than `train`."""
        if not self.endless:
            return None
        if split != "train":
            raise FathomError(f"Only the split 'train' of the generated streets is endless, not {split!r}.")
        clip, frame = np.random.default_rng((seed, position)).integers((_DRIVES, self.frames)).tolist()
        return f"{split}/{clip:04d}/{frame:06d}"

    def size_of(self, id: str) -> Size:
        """(height, width) of all images."""
        return self.size

    def image(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        """The rendered RGB image."""
        return self._frame(id).image

    def has_label(self, id: str) -> bool:
        """True for every id there is."""
        self._parse(id)
        return True

    def has_depth(self, id: str) -> bool:
        """True for every id there is."""
        return self.has_label(id)

    def label(self, id: str) -> UInt8[np.ndarray, "h w"]:
        """Class of the nearest surface at every pixel centre; nothing is ignored."""
        return self._frame(id).label

    def depth(self, id: str) -> Float32[np.ndarray, "h w"]:
        """Exact z-depth at every pixel centre in metres; 0 in the sky."""
        return self._frame(id).depth

    def moving(self, id: str) -> Bool[np.ndarray, "h w"]:
        """True where the surface seen is on its way in the world between this frame and the next."""
        return self._frame(id).moving

    def camera(self, id: str) -> Camera:
        """The pinhole camera; the same for every frame of a domain."""
        from fathomseg.data.world.render import pinhole

        clip, _ = self._parse(id)
        return pinhole(clip, *self.size)

    def camera_height(self, id: str) -> float:
        """Metres above the ground, which is flat."""
        return -float(self.world_T_cam(id)[1, 3])  # y points down

    def world_T_cam(self, id: str) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose in the drive's own world: x right, y down, z forward at the start, ground at y = 0."""
        from fathomseg.data.world.render import camera_pose

        return camera_pose(*self._parse(id)).matrix()

    def neighbour(self, id: str, offset: int) -> str | None:
        """The frame `offset` steps later in the same drive."""
        self._parse(id)
        clip, _, frame = id.rpartition("/")
        other = int(frame) + offset
        return f"{clip}/{other:06d}" if 0 <= other < self.frames else None

    def fingerprint(self, id: str, kind: Kind) -> str:
        """The version of the world, the drive, the frame and the size."""
        clip, frame = self._parse(id)
        height, width = self.size
        return f"streets-{VERSION}/{clip.domain}/{clip.seed}/{clip.metres_per_frame!r}/{frame}/{height}x{width}/{kind}"

    def _frame(self, id: str) -> Frame:
        clip, frame = self._parse(id)
        return _rendered(clip, frame, *self.size)

    def _clips(self, split: str) -> int:
        if split not in _SPLITS:
            raise FathomError(f"The generated streets have no split {split!r}; there is: {', '.join(_SPLITS)}.")
        return int(getattr(self, f"{split}_clips"))

    def _parse(self, id: str) -> tuple[Clip, int]:
        """The drive and the frame an id stands for."""
        split, *rest = id.split("/")
        if split in _SPLITS and len(rest) == 2 and rest[0].isdecimal() and rest[1].isdecimal():
            clip, frame = int(rest[0]), int(rest[1])
            clips = _DRIVES if self.endless and split == "train" else self._clips(split)
            known = clip < clips and frame < self.frames
            if known and id == f"{split}/{clip:04d}/{frame:06d}":
                number = (self.seed * len(_SPLITS) + _SPLITS.index(split)) * _DRIVES + clip
                return Clip(self.domain, number, self.step), frame
        raise FathomError(
            f"The generated streets have no sample {id!r}. Ids look like 'train/0003/000017'; here split is one of "
            f"{', '.join(_SPLITS)}, the frame is below {self.frames} and the clip below the split's number of clips."
        )


@lru_cache(maxsize=8)
def _rendered(clip: Clip, frame: int, height: int, width: int) -> Frame:
    """The last few frames, so that image, label and depth of one id are rendered once. The arrays are read-only."""
    from fathomseg.data.world.render import render

    made = render(clip, frame, height, width)
    for array in (made.image, made.label, made.depth, made.moving):
        array.flags.writeable = False
    return made
