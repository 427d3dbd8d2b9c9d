"""GTA5, "Playing for Data" (Richter et al., ECCV 2016): 24,966 frames of a game, labelled with Cityscapes' classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from fathomseg.data.datasets.cityscapes import CLASSES
from fathomseg.data.datasets.cityscapes import LABELS as CITYSCAPES
from fathomseg.data.datasets.files import Files, Listing, files_below, without_image
from fathomseg.data.datasets.hash_split import hold_out_by_hash
from fathomseg.data.datasets.labels import LabelMap, pack_one
from fathomseg.data.datasets.maps import ScaledLabels
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.formats import png_is_rgb
from fathomseg.text import read_text
from fathomseg.types import ClassList

_IDS: Final = replace(
    CITYSCAPES,
    ignored=(*CITYSCAPES.ignored, 34),  # 34: licence plates
    remedy="expected the ids of Cityscapes, 0 to 34, as in the official palette images",
)
_VOID: Final = (
    (0, 0, 0), (20, 20, 20), (111, 74, 0), (81, 0, 81), (250, 170, 160), (230, 150, 140), (180, 165, 180),
    (150, 100, 100), (150, 120, 90), (0, 0, 90), (0, 0, 110),
)  # fmt: skip
"""Colours of what Cityscapes does not evaluate: unlabelled, static, dynamic, ground, parking, rails, guard rails,
bridges, tunnels, caravans, trailers."""
_COLOURS: Final = LabelMap(
    kind="colours",
    names=CLASSES.names,
    values=tuple(map(pack_one, CLASSES.colours)),
    ignored=tuple(map(pack_one, _VOID)),
    remedy="expected the colours of Cityscapes",
)
_BLOCK: Final = 100
"""Frames are held out in blocks of a hundred numbers, since neighbours were taken along the same drive."""


class Gta5(ScaledLabels):
    """GTA5. Ids are the names of the images ("00001"); the frames are not dense enough to be video.

    Splits are those of the official split.mat, or of train.txt, val.txt and test.txt, if one of these files is there;
    else `train` and `val` by blocks of a hundred numbers. Images may be stored smaller than labels.
    """

    name: Literal["gta5"] = "gta5"
    val_percent: int = Field(default=10, ge=1, le=99)
    """Share of the frames held out where no file says so, in percent (about: each block is drawn by itself)."""

    @property
    def classes(self) -> ClassList:
        """The 19 classes of Cityscapes."""
        return CLASSES

    @cached_property
    def _labels(self) -> LabelMap:
        """Ids, or colours if the first label is an RGB image."""
        first = next((f.label for f in self._listing.samples.values() if f.label is not None), None)
        return _COLOURS if first is not None and png_is_rgb(first) else _IDS

    def notes(self) -> tuple[str, ...]:
        """How the splits came about, and how labels are stored."""
        official = self._split_file is not None
        how = f"from {self._split_file}" if official else f"by a hash of blocks of {_BLOCK} numbers"
        return f"Splits are {how}; labels hold {self._labels.kind}.", *super().notes()

    def _list(self) -> Listing:
        images, labels = files_below(self.root / "images"), files_below(self.root / "labels")
        if not images:
            raise FathomError(
                f"No GTA5 at {self.root}: expected images/00001.png ... and labels/00001.png ... there, all parts "
                "unpacked into these two folders. Set root=FOLDER."
            )
        samples = {id: Files(path, labels.get(id)) for id, path in images.items()}
        sides = (
            self._official(samples) if self._split_file is not None else by_blocks(samples, _BLOCK, self.val_percent)
        )
        return Listing.of({side: {id: samples[id] for id in ids} for side, ids in sides.items() if ids})

    def _strays(self) -> dict[Path, list[Path]]:
        images = self.root / "images"
        return {images: without_image(files_below(images), files_below(self.root / "labels"))}

    @cached_property
    def _split_file(self) -> Path | None:
        """The file the splits are read from, the first of them if there are several."""
        names = ("split.mat", "train.txt", "val.txt", "test.txt")
        return next((self.root / name for name in names if (self.root / name).is_file()), None)

    def _official(self, samples: Mapping[str, Files]) -> dict[str, list[str]]:
        """The ids of each split that are there. Raises `DataError` for a file that cannot be read."""
        assert self._split_file is not None
        if self._split_file.suffix == ".mat":
            numbers = _numbers(self._split_file)
            by_number = {int(id): id for id in samples if id.isdecimal()}
            return {side: [by_number[n] for n in found if n in by_number] for side, found in numbers.items()}
        sides = {}
        for side in ("train", "val", "test"):
            path = self.root / f"{side}.txt"
            lines = read_text(path).split() if path.is_file() else []
            sides[side] = [id for id in (Path(line).stem for line in lines) if id in samples]
        return sides


def by_blocks(ids: Iterable[str], length: int, percent: int) -> dict[str, list[str]]:
    """The ids of `train` and `val`, divided by blocks of so many consecutive numbers; what is no number is a block."""
    blocks = {id: f"{int(id) // length:05d}" if id.isdecimal() else id for id in ids}
    val = hold_out_by_hash(blocks.values(), percent)
    return {side: [id for id in blocks if (blocks[id] in val) == (side == "val")] for side in ("train", "val")}


def _numbers(path: Path) -> dict[str, list[int]]:
    """The frame numbers of every split, from the official file."""
    from scipy.io import loadmat  # here, as no other part of reading images needs it
    from scipy.io.matlab import MatReadError

    try:
        tables = loadmat(path)
        return {side: tables[f"{side}Ids"].ravel().astype(int).tolist() for side in ("train", "val", "test")}
    except (OSError, ValueError, KeyError, TypeError, MatReadError):
        reason = "is not the split file of GTA5; expected trainIds, valIds and testIds (or remove it)"
        raise DataError([Problem(str(path), reason)]) from None
