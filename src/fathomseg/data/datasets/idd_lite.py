"""IDD-Lite, the small India Driving Dataset (Varma et al., WACV 2019): 7 coarse classes, images of 227 x 320."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final, Literal

from pydantic import Field

from fathomseg.data.datasets.files import Files, Listing, files_below, without_image
from fathomseg.data.datasets.hash_split import hold_out_by_hash
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.data.datasets.maps import ScaledLabels
from fathomseg.errors import FathomError
from fathomseg.types import ClassList

CLASSES: Final = ClassList.of(
    {
        "drivable": (128, 64, 128),
        "non-drivable": (244, 35, 232),
        "living thing": (220, 20, 60),
        "vehicle": (0, 0, 142),
        "roadside object": (220, 190, 40),
        "far object": (70, 70, 70),
        "sky": (70, 130, 180),
    }
)
_LABELS: Final = LabelMap("ids", CLASSES.names, tuple(range(7)), (255,), "IDD-Lite has ids 0 to 6 and 255 for void")


class IddLite(ScaledLabels):
    """IDD-Lite. Ids are `folder/sequence/frame` ("train/0/024541"); frames are not consecutive and have no camera.

    If there is no folder `val`, whole sequences of `train` are held out as split `val`, chosen by a hash of their
    name, so that no sequence is on both sides; their ids still begin with "train/", the folder they lie in.
    """

    _labels: ClassVar = _LABELS
    name: Literal["idd_lite"] = "idd_lite"
    val_percent: int = Field(default=20, ge=1, le=99)
    """Share of the sequences held out, in percent (about: each sequence is drawn by itself)."""

    @property
    def classes(self) -> ClassList:
        """The 7 classes of IDD's coarsest level."""
        return CLASSES

    def _list(self) -> Listing:
        if not (samples := self._samples("train")):
            raise FathomError(
                f"No IDD-Lite at {self.root}: expected images named "
                f"{self.root / 'leftImg8bit' / 'train' / '<sequence>' / '<frame>_image.jpg'}. Set root=FOLDER."
            )
        if self._has_val:
            return Listing.of({"train": samples, "val": self._samples("val")})
        sides: dict[str, dict[str, Files]] = {"train": {}, "val": {}}
        val = hold_out_by_hash((id.split("/")[1] for id in samples), self.val_percent)
        for id, files in samples.items():
            sides["val" if id.split("/")[1] in val else "train"][id] = files
        return Listing.of(sides)

    @property
    def _has_val(self) -> bool:
        return (self.root / "leftImg8bit" / "val").is_dir()

    def _samples(self, folder: str) -> dict[str, Files]:
        images = files_below(self.root / "leftImg8bit" / folder)
        labels = files_below(self.root / "gtFine" / folder)
        return {
            f"{folder}/{stem.removesuffix('_image')}": Files(path, labels.get(stem.removesuffix("_image") + "_label"))
            for stem, path in images.items()
            if stem.endswith("_image")
        }

    def _strays(self) -> dict[Path, list[Path]]:
        strays = {}
        for folder in ("train", "val"):
            images = self.root / "leftImg8bit" / folder
            names = {stem.removesuffix("_image"): path for stem, path in files_below(images).items()}
            labels = {
                stem.removesuffix("_label"): path
                for stem, path in files_below(self.root / "gtFine" / folder).items()
                if not stem.endswith("_inst_label")
            }
            strays[images] = without_image(names, labels)
        return strays

    def notes(self) -> tuple[str, ...]:
        """How the split `val` came about, if it was made here."""
        if self._has_val:
            return ()
        return (
            f"There is no folder leftImg8bit/val: about {self.val_percent} % of the sequences of train are held out "
            "as val, by a hash of their name.",
        )
