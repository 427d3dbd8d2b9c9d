"""The KITTI semantic benchmark (Alhaija et al., IJCV 2018): labels of the 200 training scenes of KITTI 2015."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from fathomseg.data.datasets.cityscapes import CLASSES, LABELS
from fathomseg.data.datasets.files import Files, Listing, Root, files_below
from fathomseg.data.datasets.hash_split import hold_out_by_hash
from fathomseg.data.datasets.kitti import LEVELS_PER_METRE
from fathomseg.data.datasets.kitti_scenes import KittiScenes
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.data.datasets.maps import read_depth
from fathomseg.types import ClassList

GROUPS: Final = {
    "flat": ("road", "sidewalk"),
    "construction": ("building", "wall", "fence"),
    "object": ("pole", "traffic light", "traffic sign"),
    "nature": ("vegetation", "terrain"),
    "sky": ("sky",),
    "road user": ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
}
"""Six classes: the seven categories of Cityscapes, with human and vehicle, which are rare in KITTI, as one."""
_FIRST: Final = tuple(CLASSES.names.index("car" if name == "road user" else group[0]) for name, group in GROUPS.items())
SIX: Final = ClassList(tuple(GROUPS), tuple(CLASSES.colours[index] for index in _FIRST))
_SIX_LABELS: Final = replace(
    LABELS,
    names=SIX.names,
    indices=tuple(next(i for i, group in enumerate(GROUPS.values()) if name in group) for name in CLASSES.names),
)
_BLOCK: Final = 10
"""Scenes are held out in blocks of ten numbers: they are numbered along the drives they were cut from."""


class KittiSemantics(KittiScenes):
    """The KITTI semantic benchmark, for training: 200 labelled scenes. Ids are `training/000000_10`.

    Splits are `train` and `val`, divided by blocks of ten scene numbers; `testing`, scenes without truth; and `all`,
    with the frames around them if they are there. Depth is that of training/depth or `depth_root` (KITTI's depth maps,
    metres x 256), or else from the disparity of KITTI 2015.
    """

    name: Literal["kitti_semantics"] = "kitti_semantics"
    class_count: Literal[19, 6] = 19
    """19 = the classes of Cityscapes; 6 = flat, construction, object, nature, sky, road user (docs/data.md)."""
    val_percent: int = Field(default=20, ge=1, le=99)
    """Share of the labelled scenes held out, in percent (about: each block of ten numbers is drawn by itself)."""
    depth_root: Root | None = None
    """A folder of depth maps named like the images (000000_10.png); left out: training/depth, if it is there."""

    _title: ClassVar[str] = "KITTI semantic benchmark"
    _archive: ClassVar[str] = "data_semantics.zip"

    @property
    def classes(self) -> ClassList:
        """The 19 classes of Cityscapes or the six they are merged to."""
        return CLASSES if self.class_count == 19 else SIX

    def _labels_of(self, id: str) -> LabelMap:
        """Cityscapes' ids, of which several may be one of the six classes."""
        return LABELS if self.class_count == 19 else _SIX_LABELS

    def notes(self) -> tuple[str, ...]:
        """How the split `val` came about, and where depth comes from."""
        labelled = [*self._listing.splits.get("train", ()), *self._listing.splits.get("val", ())]
        maps, disparities = (sum(id in known for id in labelled) for known in (self._depth_maps, self._disparities))
        return (
            f"About {self.val_percent} % of the labelled scenes are held out as val, in blocks of {_BLOCK} numbers, by "
            "a hash of the block; the official test labels are not public.",
            f"Of {len(labelled)} labelled scenes, {maps} have a depth map and {disparities} depth from disparity.",
            *self._stereo_notes(labelled),
        )

    def _list(self) -> Listing:
        frames, measured = self._frames()
        labelled = {id: files for id, files in measured.items() if files.label is not None}
        val = hold_out_by_hash({_block(id) for id in labelled}, self.val_percent)
        splits: dict[str, dict[str, Files]] = {"train": {}, "val": {}}
        for id, files in labelled.items():
            splits["val" if _block(id) in val else "train"][id] = files
        splits["testing"] = {id: files for id, files in measured.items() if id.startswith("testing/")}
        splits["all"] = frames
        return Listing.of({name: split for name, split in splits.items() if split})

    def _depth_file(self, id: str) -> Path | None:
        return self._depth_maps.get(id) or super()._depth_file(id)

    def _read_depth(self, id: str, path: Path) -> Float32[np.ndarray, "h w"]:
        """The stored depth, or that of the disparity."""
        return read_depth(path, LEVELS_PER_METRE) if id in self._depth_maps else super()._read_depth(id, path)

    def _depth_key(self, id: str) -> str:
        return "" if id in self._depth_maps else super()._depth_key(id)

    @cached_property
    def _depth_maps(self) -> Mapping[str, Path]:
        if self.depth_root is None:
            return self._below("depth")
        return {f"training/{stem}": path for stem, path in files_below(self.depth_root).items()}

    @cached_property
    def _disparities(self) -> Mapping[str, Path]:
        """Of the scenes without a depth map: the others need no stereo calibration."""
        found = self._below(f"disp_{self.disparity}_0")
        return {id: path for id, path in found.items() if id not in self._depth_maps}


def _block(id: str) -> str:
    """ "training/00012" of "training/000123_10"."""
    part, _, frame = id.rpartition("/")
    return f"{part}/{int(frame.partition('_')[0]) // _BLOCK:05d}"
