"""SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016): 9,400 rendered images with labels and depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np
from jaxtyping import Float32, UInt8
from pydantic import Field

from fathomseg.data.datasets.cityscapes import CLASSES as CITYSCAPES
from fathomseg.data.datasets.files import Files, Listing, files_below, without_image
from fathomseg.data.datasets.gta5 import by_blocks
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.data.datasets.maps import MapDataset, read_depth
from fathomseg.errors import FathomError, Problem
from fathomseg.io.label_images import read_first_channel
from fathomseg.types import ClassList

_IDS: Final = {
    "road": 3,
    "sidewalk": 4,
    "building": 2,
    "wall": 21,
    "fence": 5,
    "pole": 7,
    "traffic light": 15,
    "traffic sign": 9,
    "vegetation": 6,
    "sky": 1,
    "person": 10,
    "rider": 17,
    "car": 8,
    "bus": 19,
    "motorcycle": 12,
    "bicycle": 11,
}
"""The ids of the release's readme, but for those of terrain, truck and train, which no image shows."""
CLASSES: Final = ClassList.of({n: c for n, c in zip(CITYSCAPES.names, CITYSCAPES.colours, strict=True) if n in _IDS})
_LABELS: Final = LabelMap(
    kind="ids",
    names=CLASSES.names,
    values=tuple(_IDS[name] for name in CLASSES.names),
    ignored=(0, 13, 14, 16, 18, 20, 22),  # void, parking slots, road works, terrain, trucks, trains, lane markings
    remedy="expected the ids of SYNTHIA-RAND-CITYSCAPES, 0 to 22",
)
_PER_METRE, _FAR = 100, 65535
"""Depth is stored in centimetres; the largest value is the sky."""
_BLOCK: Final = 100


class Synthia(MapDataset):
    """SYNTHIA-RAND-CITYSCAPES. Ids are the names of the images ("0000000"); they are no video, and no camera is known.

    Splits are `train` and `val` by blocks of a hundred numbers, since there is no official one. Sky and whatever is
    655.35 m away have depth 0 (invalid).
    """

    _labels: ClassVar = _LABELS
    name: Literal["synthia"] = "synthia"
    val_percent: int = Field(default=10, ge=1, le=99)
    """Share of the images held out as `val`, in percent (about: each block of a hundred is drawn by itself)."""

    @property
    def classes(self) -> ClassList:
        """The 16 classes of Cityscapes that it shows."""
        return CLASSES

    def _read_label(self, id: str, path: Path) -> UInt8[np.ndarray, "h w"]:
        """Ids in the first of three channels of 16 bits."""
        return _LABELS.classes(read_first_channel(path), str(path))

    def notes(self) -> tuple[str, ...]:
        """How `val` came about, and how many images have no label or depth."""
        return f"val is by a hash of blocks of {_BLOCK} numbers.", *self._unpaired_notes()

    def _depth_file(self, id: str) -> Path | None:
        return self._depths.get(id)

    def _read_depth(self, id: str, path: Path) -> Float32[np.ndarray, "h w"]:
        """Centimetres of 16 bits, in one channel or the same in three."""
        return read_depth(path, _PER_METRE, _FAR, read_first_channel)

    @cached_property
    def _depths(self) -> Mapping[str, Path]:
        inner = self.root / "Depth" / "Depth"
        return files_below(inner if inner.is_dir() else self.root / "Depth")

    def _list(self) -> Listing:
        images, labels = files_below(self.root / "RGB"), files_below(self.root / "GT" / "LABELS")
        if not images:
            raise FathomError(
                f"No SYNTHIA-RAND-CITYSCAPES at {self.root}: expected RGB/0000000.png ..., GT/LABELS/0000000.png ... "
                "and, if you have it, Depth/ there (SYNTHIA_RAND_CITYSCAPES.rar, unpacked). Set root=FOLDER."
            )
        sides = by_blocks(images, _BLOCK, self.val_percent)
        return Listing.of(
            {side: {id: Files(images[id], labels.get(id)) for id in ids} for side, ids in sides.items() if ids}
        )

    def layout_problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Images with neither a label nor a depth map, and labels of no image."""
        yield from self._unpaired(ids)
        yield from super().layout_problems(ids)

    def _strays(self) -> dict[Path, list[Path]]:
        images = self.root / "RGB"
        return {images: without_image(files_below(images), files_below(self.root / "GT" / "LABELS"))}
