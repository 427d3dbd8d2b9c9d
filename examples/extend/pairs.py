# src/fathomseg/data/datasets/pairs.py
"""Images beside their masks in one folder per split: `train/0001.jpg` and `train/0001_mask.png`."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from fathomseg.data.datasets.files import FileDataset, Files, Listing, files_below
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.errors import FathomError
from fathomseg.types import ClassList

CLASSES: Final = ClassList.of({"road": (128, 64, 128), "car": (0, 0, 142), "sky": (70, 130, 180)})
_LABELS: Final = LabelMap(
    kind="ids",  # what the masks hold; or "colours"
    names=CLASSES.names,
    values=(0, 1, 2),  # the stored value of each class
    ignored=(255,),
    remedy="a mask holds 0 road, 1 car, 2 sky and 255 unknown",
)


class Pairs(FileDataset):
    """Ids are `split/name`. A mask may be missing: that image has no label."""

    name: Literal["pairs"] = "pairs"
    _labels: ClassVar = _LABELS

    @property
    def classes(self) -> ClassList:
        """Road, car, sky."""
        return CLASSES

    def _list(self) -> Listing:
        listing = Listing.of({split: self._samples(split) for split in ("train", "val")})
        if not listing.samples:
            raise FathomError(f"No images in {self.root / 'train'} or {self.root / 'val'}. Set root=FOLDER.")
        return listing

    def _samples(self, split: str) -> dict[str, Files]:
        found = files_below(self.root / split)
        images = {stem: path for stem, path in found.items() if not stem.endswith("_mask")}
        return {f"{split}/{stem}": Files(path, found.get(f"{stem}_mask")) for stem, path in images.items()}
