"""NYU Depth v2 (Silberman et al., ECCV 2012): 1449 indoor images with dense depth and 40 classes, 795 for training."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import Float32, UInt8
from pydantic import Field

from fathomseg.data.datasets.files import Files, Listing, files_below
from fathomseg.data.datasets.hash_split import hold_out_by_hash
from fathomseg.data.datasets.labels import LabelMap, distinct_colours
from fathomseg.data.datasets.maps import MapDataset, read_depth
from fathomseg.data.datasets.nyuv2_mat import MAT, InMat, LabelledMat
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.label_images import read_values
from fathomseg.text import read_text
from fathomseg.types import Camera, ClassList

_NAMES: Final = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books",
    "refrigerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand",
    "toilet", "sink", "lamp", "bathtub", "bag", "other structure", "other furniture", "other prop",
)  # fmt: skip
CLASSES: Final = ClassList(_NAMES, distinct_colours(len(_NAMES)))
"""The 40 classes of Gupta et al. (CVPR 2013), in the order of their ids 1 to 40, in the colours of Pascal VOC."""

_KINECT: Final = Camera(fx=518.857901, fy=519.469611, cx=324.582449, cy=252.736166, height=480, width=640)
"""The colour camera of the Kinect as calibrated by the authors, for the whole image of 640 x 480.
Their MATLAB counts pixels from 1: camera_params.m has the centre one further right and down."""
_CAMERAS: Final = (_KINECT, _KINECT.cropped(44, 40, (427, 561)), _KINECT.cropped(45, 40, (425, 560)))
"""The whole image, and without its white border: the crops of the official toolbox and of Gupta et al."""

_IMAGES, _LABELS, _DEPTHS = ("image", "images", "rgb"), ("seg40", "label40", "labels40", "label", "labels"), ("depth",)
"""Names of folders that are understood."""
_SIDES: Final = ("train", "test")
_LONGEST: Final = 40
"""The longest run of training images that is held out as one (the longest official one has 34)."""
_SAMPLED: Final = 24
"""Depth maps that are looked at to tell their unit."""
_FARTHEST_MM: Final = 10_500
"""Depth in NYU Depth v2 ends at 10 m."""
_NUMBER: Final = re.compile(r"\d+$")


class NyuV2(MapDataset):
    """NYU Depth v2 as folders of images, labels and depth maps, or as the official nyu_depth_v2_labeled.mat.

    Ids are the official numbers as the files are named ("0003"), with the split's folder if files lie in one. Splits
    are `train` and `val`, which are the official test images if they are there. The images are not video.
    """

    name: Literal["nyuv2"] = "nyuv2"
    first_id: Literal[0, 1] = 1
    """The id of "wall" in label images: 1 as in most copies, where 0 is void, or 0, where 255 is void."""
    per_metre: int | None = Field(default=None, ge=1)
    """Steps of stored depth a metre: 1000 (millimetres) or 5000; left out = inferred from the largest values."""
    blocks: bool = False
    """Hold out blocks of the training images as `val`, to choose settings by; the official test images are then `test`.
    Always so if there are no test images. Blocks are whole scenes: see docs/data.md."""
    val_percent: int = Field(default=20, ge=1, le=99)
    """Share of the blocks that is held out, in percent (about: each block is drawn by itself)."""

    @property
    def classes(self) -> ClassList:
        """The 40 classes."""
        return CLASSES

    @cached_property
    def _labels(self) -> LabelMap:
        if self._mat is not None:
            return self._mat.labels(_NAMES)
        void, otherwise = (
            (0, "if 0 is wall, set first_id=0") if self.first_id else (255, "if 0 is void, set first_id=1")
        )
        values = tuple(range(self.first_id, self.first_id + len(_NAMES)))
        remedy = f"expected ids {values[0]} to {values[-1]} and {void} for void; {otherwise}"
        return LabelMap(kind="ids", names=_NAMES, values=values, ignored=(void,), remedy=remedy)

    @cached_property
    def _mat(self) -> LabelledMat | None:
        """The official file, if the data is not in folders."""
        path = self.root / MAT
        return LabelledMat(path) if path.is_file() and not self._below(_IMAGES) else None

    def label(self, id: str) -> UInt8[np.ndarray, "h w"] | None:
        """Class indices, 255 = ignore, nearest at the size of the image; None if there is none. Raises `DataError`."""
        files = self.files(id)
        if isinstance(files, InMat):
            return self._labels.classes(files.read_label(), f"{files.image}, image {id}")
        return super().label(id)

    def camera(self, id: str) -> Camera | None:
        """The Kinect's camera for the whole image or a known crop at any scale, inferred from its shape; else None."""
        height, width = self.files(id).size()
        fits = (camera for camera in _CAMERAS if abs(height * camera.width / camera.height - width) <= 0.5)
        camera = next(fits, None)
        return None if camera is None else camera.resized((height, width))

    def notes(self) -> tuple[str, ...]:
        """How the split `val` came about, in which unit depth is stored, and how many images lack a label or depth."""
        _, test = self._official
        count = len(self._listing.splits.get("val", ()))
        if test and not self.blocks:
            val = f"val is the {count} official test images."
        else:
            rest = f"; test is the {len(test)} official test images" if test else ", since there are no test images"
            val = f"val is {count} images held out of the training images, in whole scenes{rest}."
        if self._mat is not None or not self._depth_maps:
            return val, *self._unpaired_notes()
        told = "as per_metre says" if self.per_metre else "as the largest values tell; per_metre=... overrides"
        return val, f"Depth is read in steps of 1/{self._steps} m, {told}.", *self._unpaired_notes()

    def layout_problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Images with neither a label nor a depth map."""
        yield from self._unpaired(ids)

    def _list(self) -> Listing:
        train, test = self._official
        splits = {"train": train, "val": test}
        if self.blocks or not test:
            scene = _runs(train) if self._mat is None else self._mat.scenes
            val = hold_out_by_hash((scene[id] for id in train), self.val_percent)
            held = [id for id in train if scene[id] in val]
            splits = {"train": [id for id in train if scene[id] not in val], "val": held, "test": test}
        return Listing.of({name: {id: self._samples[id] for id in ids} for name, ids in splits.items() if ids})

    @cached_property
    def _samples(self) -> Mapping[str, Files]:
        """Every image there is. Raises `FathomError` if there is none."""
        if self._mat is not None:
            return self._mat.samples
        labels = self._below(_LABELS)
        samples = {id: Files(path, labels.get(id)) for id, path in self._below(_IMAGES).items()}
        if not samples:
            raise FathomError(
                f"No NYU Depth v2 at {self.root}: expected the folders image, seg40 and depth with train.txt (and "
                f"test.txt), the same in train/ and test/, or {MAT}. Set root=FOLDER."
            )
        return samples

    def _below(self, names: Sequence[str]) -> dict[str, Path]:
        """The files of one kind by id, from the first folder of these names that holds any."""
        for name in names:
            found = files_below(self.root / name)
            for side in _SIDES:
                found |= {f"{side}/{stem}": path for stem, path in files_below(self.root / side / name).items()}
            if found:
                return found
        return {}

    @cached_property
    def _official(self) -> tuple[list[str], list[str]]:
        """The ids of the training and the test images: by folders, by lists, or by splits.mat."""
        ids = sorted(self._samples)
        if all(id.split("/")[0] in _SIDES for id in ids):
            train, test = ([id for id in ids if id.startswith(f"{side}/")] for side in _SIDES)
            return train, test
        lists = {side: self.root / f"{side}.txt" for side in _SIDES}
        if not lists["train"].is_file():
            if self._mat is not None:
                return self._mat.official()
            raise FathomError(
                f"{self.root} holds {len(ids)} images, but not which of them are for training: expected train.txt (and "
                "test.txt) with one name a line, or the folders train and test."
            )
        faults: list[Problem] = []
        train, test = (_read_list(path, ids, faults) for path in lists.values())
        faults += [Problem(str(lists["test"]), f"names {id}, as train.txt does") for id in sorted({*train} & {*test})]
        if faults:
            raise DataError(faults)
        return train, test

    def _depth_file(self, id: str) -> Path | None:
        return self._depth_maps.get(id) if self._mat is None else self._mat.path

    def _depth_key(self, id: str) -> str:
        return str(self._steps) if self._mat is None else id

    @cached_property
    def _depth_maps(self) -> Mapping[str, Path]:
        return self._below(_DEPTHS)

    def _read_depth(self, id: str, path: Path) -> Float32[np.ndarray, "h w"]:
        files = self.files(id)
        return files.read_depth() if isinstance(files, InMat) else read_depth(path, self._steps)

    @cached_property
    def _steps(self) -> int:
        """What `per_metre` says, or else 5000 if some map of a sample would go beyond 10 m in millimetres."""
        if self.per_metre is not None:
            return self.per_metre
        paths = list(self._depth_maps.values())
        largest = max((_largest(path) for path in paths[:: max(1, len(paths) // _SAMPLED)]), default=0)
        return 5000 if largest > _FARTHEST_MM else 1000


def _largest(path: Path) -> int:
    """The largest stored value; 0 for a bad file, which is reported where its own depth is read."""
    try:
        return int(read_values(path).max())
    except DataError:
        return 0


def _runs(ids: Sequence[str]) -> dict[str, str]:
    """For every id the first one of its run of consecutive numbers.

    The official numbers follow the scenes, and test scenes lie between those for training, so a run is one or several
    whole scenes. Copies that were numbered anew have no such gaps; there a run ends after 40.
    """
    found: dict[str, str] = {}
    first, before, length = "", 0, 0
    for place, id in enumerate(sorted(ids)):
        match = _NUMBER.search(id)
        number = int(match[0]) if match else place
        if not first or number != before + 1 or length == _LONGEST:
            first, length = id, 0
        found[id], before, length = first, number, length + 1
    return found


def _read_list(path: Path, ids: Sequence[str], faults: list[Problem]) -> list[str]:
    """The ids a list names, by the first word of each line without folder and ending; empty without the file."""
    if not path.is_file():
        return []
    known = {id.rsplit("/", 1)[-1]: id for id in ids}
    found = set()
    for line in read_text(path).split("\n"):
        name = Path(line.split()[0]).stem if line.strip() else ""
        if name in known:
            found.add(known[name])
        elif name:
            faults.append(Problem(str(path), f"names {name}, but there is no such image"))
    return sorted(found)
