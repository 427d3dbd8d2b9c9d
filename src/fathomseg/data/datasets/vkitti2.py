"""Virtual KITTI 2 (Cabon et al., 2020; v2.0.3): five rendered drives in ten weathers and views, with exact truth."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np
from jaxtyping import Float32, Float64
from pydantic import field_validator

from fathomseg.data.datasets.files import Files, Listing, files_below
from fathomseg.data.datasets.labels import LabelMap, pack_one
from fathomseg.data.datasets.maps import MapDataset, read_depth
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.shapes import SPARE, fitted
from fathomseg.text import read_text
from fathomseg.types import Camera, ClassList, Size

CLASSES: Final = ClassList.of(
    {
        "Terrain": (210, 0, 200),
        "Sky": (90, 200, 255),
        "Tree": (0, 199, 0),
        "Vegetation": (90, 240, 0),
        "Building": (140, 140, 140),
        "Road": (100, 60, 100),
        "GuardRail": (250, 100, 255),
        "TrafficSign": (255, 255, 0),
        "TrafficLight": (200, 200, 0),
        "Pole": (255, 130, 0),
        "Misc": (80, 80, 80),
        "Truck": (160, 60, 60),
        "Car": (255, 127, 80),
        "Van": (0, 139, 139),
    }
)
_IGNORED: Final = "Undefined"
_BLACK: Final = pack_one((0, 0, 0))
_USUAL: Final = LabelMap(
    kind="colours",
    names=CLASSES.names,
    values=tuple(map(pack_one, CLASSES.colours)),
    ignored=(_BLACK,),
    remedy="these are the usual colours; put colors.txt of vkitti_2.0.3_textgt.tar.gz there to use the scene's own",
)
_FULL: Final[Size] = (375, 1242)
"""(height, width) of the original images, which intrinsic.txt counts in."""
_PER_METRE, _FAR = 100, 65535
"""Depth is stored in centimetres; the largest value is the sky."""
_SCENE: Final = re.compile(r"Scene\d\d")


class VKitti2(MapDataset):
    """Virtual KITTI 2. Ids are `scene/variation/camera/frame` ("Scene01/clone/Camera_0/00000").

    Splits are `train` and `val`, divided by whole scenes: a scene's variations and cameras show the same drive. Sky has
    depth 0 (invalid), for it is infinitely far. Neighbours are frame numbers one apart of one scene, variation and
    camera.
    """

    _labels: ClassVar = _USUAL
    name: Literal["vkitti2"] = "vkitti2"
    train_scenes: tuple[str, ...] | None = None
    """The scenes of `train`; left out = all that are not in `val`."""
    val_scenes: tuple[str, ...] = ("Scene18",)
    """The scenes of `val`; by default the one of five that holds a sixth of the frames (339 of 2126)."""
    variations: tuple[str, ...] | None = None
    """Weathers and views that are read ("clone", "fog", "15-deg-left" ...); left out = all there are."""
    cameras: tuple[Literal[0, 1], ...] = (0,)
    """0 = the left camera, 1 = the right one, as further clips."""

    @field_validator("cameras")
    @classmethod
    def _some(cls, cameras: tuple[int, ...]) -> tuple[int, ...]:
        if not cameras:
            raise ValueError("name at least one camera: [0], [1] or [0, 1]")
        return cameras

    @property
    def classes(self) -> ClassList:
        """The 14 classes; the fifteenth name, Undefined, is ignored."""
        return CLASSES

    def _labels_of(self, id: str) -> LabelMap:
        """By the colors.txt of the scene and variation, if it is there."""
        return self._colours.get(_clip(id), _USUAL)

    def camera(self, id: str) -> Camera | None:
        """The camera from intrinsic.txt, scaled to the stored image; None without that file. Raises `DataError`."""
        size = self.files(id).size()
        row = self._row(id, "intrinsic")
        if row is None:
            return None
        fx, fy, cx, cy = map(float, row)
        return fitted(Camera(fx, fy, cx, cy, *_FULL), size, str(self.files(id).image), SPARE)

    def world_T_cam(self, id: str) -> Float64[np.ndarray, "4 4"] | None:
        """The pose from extrinsic.txt, which holds its inverse; None without that file. Raises `DataError`."""
        self.files(id)
        row = self._row(id, "extrinsic")
        return None if row is None else np.linalg.inv(row.reshape(4, 4))

    def neighbour(self, id: str, offset: int) -> str | None:
        """The frame of the same scene, variation and camera whose number is `offset` higher, if it is stored."""
        self.files(id)
        return self.renumbered(id, offset)

    def moment(self, id: str) -> str:
        """The first stored sample of the same scene and frame, of whatever variation and camera."""
        self.files(id)
        scene, _, _, frame = id.split("/")
        return self._moments[scene, frame]

    @cached_property
    def _moments(self) -> Mapping[tuple[str, str], str]:
        """By scene and frame the first sample."""
        parts = ((id.split("/"), id) for id in sorted(self._listing.samples, reverse=True))
        return {(scene, frame): id for (scene, _, _, frame), id in parts}

    def notes(self) -> tuple[str, ...]:
        """Which scenes are on which side, and which kinds of files are not there."""
        val = sorted({id.split("/")[0] for id in self._listing.splits.get("val", ())})
        train = sorted({id.split("/")[0] for id in self._listing.splits.get("train", ())})
        samples = self._listing.samples
        counts = {
            "labels (classSegmentation)": sum(files.label is not None for files in samples.values()),
            "depth (depth)": sum(id in self._depths for id in samples),
            "cameras and poses (textgt)": sum(f"{_clip(id)}/intrinsic" in self._tables for id in samples),
        }
        lacking = [
            f"{len(samples) - count} of {len(samples)} images have no {what}."
            for what, count in counts.items()
            if count < len(samples)
        ]
        return f"train is {', '.join(train) or 'empty'}; val is {', '.join(val) or 'empty'} (val_scenes).", *lacking

    def layout_problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Poses that cannot be read, and images with neither a label nor a depth map."""
        yield from self._unpaired(ids)
        for id in ids:
            try:
                self.world_T_cam(id)
            except DataError as error:
                yield from error.problems

    def _list(self) -> Listing:
        images = self._below("rgb", "rgb")
        if not images:
            raise FathomError(
                f"No Virtual KITTI 2 at {self.root}: expected vkitti_2.0.3_rgb/Scene01/clone/frames/rgb/Camera_0/"
                "rgb_00000.jpg and so on, or the scenes directly there (vkitti_2.0.3_rgb.tar, unpacked). Set "
                "root=FOLDER, and variations and cameras to those you have."
            )
        labels = self._below("classSegmentation", "classgt")
        samples = {id: Files(path, labels.get(id)) for id, path in images.items()}
        sides = self._sides({id.split("/")[0] for id in samples})
        splits = {
            side: {id: files for id, files in samples.items() if id.split("/")[0] in scenes}
            for side, scenes in sides.items()
        }
        return Listing.of({side: split for side, split in splits.items() if split})

    def _sides(self, present: set[str]) -> dict[str, set[str]]:
        """The scenes of each split. Raises `FathomError` for one that is not there or on both sides."""
        val = set(self.val_scenes)
        train = present - val if self.train_scenes is None else set(self.train_scenes)
        if both := train & val:
            raise FathomError(
                f"{', '.join(sorted(both))} is in train_scenes and in val_scenes; a scene's frames look alike, so it "
                "can be on one side only."
            )
        for key, scenes in (("train_scenes", train), ("val_scenes", val)):
            if unknown := scenes - present:
                raise FathomError(
                    f"{key} names {', '.join(sorted(unknown))}, but {self.root} has no such scene; there is: "
                    f"{', '.join(sorted(present))}."
                )
        return {"train": train, "val": val}

    def _below(self, kind: str, prefix: str) -> dict[str, Path]:
        """The files of one kind ("classSegmentation", named "classgt_00000"), by id."""
        found = {}
        for clip in self._clips:
            for number in self.cameras:
                folder = self._base(kind) / clip / "frames" / kind / f"Camera_{number}"
                for stem, path in files_below(folder).items():
                    if stem.startswith(f"{prefix}_"):
                        found[f"{clip}/Camera_{number}/{stem.removeprefix(f'{prefix}_')}"] = path
        return found

    def _base(self, kind: str) -> Path:
        """The folder with the scenes of one kind: of its own, as the archives are named, or the root."""
        own = self.root / f"vkitti_2.0.3_{kind}"
        return own if own.is_dir() else self.root

    @cached_property
    def _clips(self) -> tuple[str, ...]:
        """ "Scene01/clone" and so on, sorted. Raises `FathomError` for a variation that is not there."""
        base = self._base("rgb")
        scenes = [path for path in base.iterdir() if _SCENE.fullmatch(path.name)] if base.is_dir() else []
        clips = sorted((scene.name, path.name) for scene in scenes for path in scene.iterdir() if path.is_dir())
        there = {variation for _, variation in clips}
        wanted = there if self.variations is None else set(self.variations)
        if clips and (unknown := wanted - there):
            raise FathomError(
                f"variations names {', '.join(sorted(unknown))}, but {base} has no such variation; there is: "
                f"{', '.join(sorted(there))}."
            )
        return tuple(f"{scene}/{variation}" for scene, variation in clips if variation in wanted)

    @cached_property
    def _depths(self) -> Mapping[str, Path]:
        return self._below("depth", "depth")

    def _depth_file(self, id: str) -> Path | None:
        return self._depths.get(id)

    def _read_depth(self, id: str, path: Path) -> Float32[np.ndarray, "h w"]:
        return read_depth(path, _PER_METRE, _FAR)

    @cached_property
    def _colours(self) -> Mapping[str, LabelMap]:
        """What the colours mean, by "scene/variation", where there is a colors.txt."""
        paths = {clip: self._base("textgt") / clip / "colors.txt" for clip in self._clips}
        return {clip: _read_colours(path) for clip, path in paths.items() if path.is_file()}

    def _row(self, id: str, kind: str) -> Float64[np.ndarray, " n"] | None:
        """The numbers of one frame in intrinsic.txt or extrinsic.txt; None without the file. Raises `DataError`."""
        *_, camera, frame = id.split("/")
        table = self._tables.get(f"{_clip(id)}/{kind}")
        return None if table is None else table.row(int(frame), int(camera.removeprefix("Camera_")))

    @cached_property
    def _tables(self) -> Mapping[str, _Table]:
        """The text files there are, by "scene/variation/kind"."""
        tables = {
            f"{clip}/{kind}": _Table(self._base("textgt") / clip / f"{kind}.txt", count)
            for clip in self._clips
            for kind, count in (("intrinsic", 4), ("extrinsic", 16))
        }
        return {key: table for key, table in tables.items() if table.path.is_file()}


@dataclass(frozen=True, eq=False)
class _Table:
    """A text file with a line of headings, then lines of frame, camera and `count` numbers."""

    path: Path
    count: int

    def row(self, frame: int, camera: int) -> Float64[np.ndarray, " n"]:
        """The numbers of one frame. Raises `DataError`."""
        found = self._rows.get((frame, camera))
        if found is None:
            raise DataError([Problem(str(self.path), f"has no line for frame {frame} of camera {camera}")])
        return found

    @cached_property
    def _rows(self) -> Mapping[tuple[int, int], Float64[np.ndarray, " n"]]:
        lines = [line for line in read_text(self.path).splitlines()[1:] if line.strip()]
        try:
            rows = np.loadtxt(lines, ndmin=2, comments=None) if lines else np.zeros((0, 0))
        except ValueError:
            rows = np.zeros((0, 0))
        if rows.shape[1:] != (self.count + 2,) or not np.isfinite(rows).all():
            reason = "is not a file of Virtual KITTI 2; expected a line of headings, then lines of frame, camera and "
            raise DataError([Problem(str(self.path), f"{reason}{self.count} numbers")])
        return {(int(row[0]), int(row[1])): row[2:] for row in rows}


def _read_colours(path: Path) -> LabelMap:
    """Lines of "Category r g b" below one line of headings. Raises `DataError`."""
    found: dict[str, int] = {}
    for line in read_text(path).splitlines()[1:]:
        name, *numbers = line.split() or [""]
        if len(numbers) == 3 and all(number.isdecimal() and int(number) < 256 for number in numbers):
            found[name] = pack_one((int(numbers[0]), int(numbers[1]), int(numbers[2])))
    if lacking := [name for name in CLASSES.names if name not in found]:
        reason = f"has no line 'name r g b' for {', '.join(lacking)}; take it from vkitti_2.0.3_textgt.tar.gz"
        raise DataError([Problem(str(path), reason)])
    return LabelMap(
        kind="colours",
        names=CLASSES.names,
        values=tuple(found[name] for name in CLASSES.names),
        ignored=(found.get(_IGNORED, _BLACK),),
        remedy=f"{path} has no such colour",
    )


def _clip(id: str) -> str:
    """ "Scene01/clone" of "Scene01/clone/Camera_0/00000"."""
    return "/".join(id.split("/")[:2])
