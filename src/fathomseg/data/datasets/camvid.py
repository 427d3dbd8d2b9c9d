"""CamVid (Brostow et al., 2009) in the layout of the SegNet tutorial: 11 classes, images of 360 x 480."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Final, Literal

from pydantic import Field

from fathomseg.data.datasets.files import Files, Listing, files_below, without_image
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.data.datasets.maps import ScaledLabels
from fathomseg.errors import FathomError
from fathomseg.io.images import SUFFIXES
from fathomseg.types import ClassList

CLASSES: Final = ClassList.of(
    {
        "sky": (128, 128, 128),
        "building": (128, 0, 0),
        "pole": (192, 192, 128),
        "road": (128, 64, 128),
        "pavement": (0, 0, 192),
        "tree": (128, 128, 0),
        "sign": (192, 128, 128),
        "fence": (64, 64, 128),
        "car": (64, 0, 128),
        "pedestrian": (64, 64, 0),
        "bicyclist": (0, 128, 192),
    }
)
_LABELS: Final = LabelMap(
    kind="ids",
    names=CLASSES.names,
    values=tuple(range(11)),
    ignored=(11, 255),
    remedy="the SegNet tutorial's copy has ids 0 to 10 and 11 for void",
)
_SPLITS: Final = ("train", "val", "test")
_FRAME: Final = re.compile(r"(?:.*/)?(?P<clip>[^/]*)_f?(?P<number>\d+)")
_HZ: Final = 30
"""Frames of the original video in a second; frame numbers count them."""


class CamVid(ScaledLabels):
    """CamVid. Ids are `split/stem` ("train/0001TP_006690"); void (11) is ignored; the camera is not calibrated.

    A name ends in the frame's number within its 30 Hz sequence. `val` is one clip at 15 Hz; `train` and `test` have
    mostly one frame a second, which are no neighbours.
    """

    _labels: ClassVar = _LABELS
    name: Literal["camvid"] = "camvid"
    frame_step: int = Field(default=2, ge=1)
    """By how much the frame numbers of video neighbours differ; 2 is 15 frames per second."""
    blocks: bool = False
    """Hold out a split `blocks` from `train`, to judge few labels by (`val` is seven seconds of one drive): ten seconds
    of every fifty of all its drives. Two seconds before and after are in no split. Ids still begin with "train/"."""

    @property
    def classes(self) -> ClassList:
        """The 11 classes of the SegNet tutorial, in its order."""
        return CLASSES

    def _list(self) -> Listing:
        if not (present := [split for split in _SPLITS if (self.root / split).is_dir()]):
            raise FathomError(
                f"No CamVid at {self.root}: expected the folders train, trainannot, val, valannot there "
                "(and test, testannot if you have them), as in the SegNet tutorial. Set root=FOLDER."
            )
        splits = {split: self._samples(split) for split in present}
        if self.blocks and "train" in splits:
            sides = {id: _side(id) for id in splits["train"]}
            splits |= {
                side: {id: files for id, files in splits["train"].items() if sides[id] == side}
                for side in ("train", "blocks")
            }
        return Listing.of(splits)

    def _samples(self, split: str) -> dict[str, Files]:
        labels = files_below(self.root / f"{split}annot")
        images = files_below(self.root / split)
        return {f"{split}/{stem}": Files(path, labels.get(stem)) for stem, path in images.items()}

    def _strays(self) -> dict[Path, list[Path]]:
        parts = {self.root / split: self.root / f"{split}annot" for split in _SPLITS}
        return {images: without_image(files_below(images), files_below(labels)) for images, labels in parts.items()}

    def passed_over(self) -> tuple[str, ...]:
        """Every file in the folders of images and labels that is not read, counted by ending."""
        return self._not_read({f"{split}{kind}": SUFFIXES for split in _SPLITS for kind in ("", "annot")})

    def notes(self) -> tuple[str, ...]:
        """Annotation folders that are missing."""
        folders = [split for split in self.splits if split != "blocks"]
        missing = [split for split in folders if not (self.root / f"{split}annot").is_dir()]
        return tuple(f"There is no folder {self.root / f'{split}annot'}: {split} has no labels." for split in missing)

    def neighbour(self, id: str, offset: int) -> str | None:
        """The frame of the same split whose number differs by exactly `offset * frame_step`."""
        return self.renumbered(id, offset * self.frame_step) if _FRAME.fullmatch(id) else None

    def clip(self, id: str) -> str | None:
        """The drive ("0016E5") by the name."""
        match = _FRAME.fullmatch(id)
        return None if match is None else match["clip"]

    def clips_remedy(self) -> str:
        """That it is so in CamVid itself, and what to score on instead."""
        return (
            "that is so in CamVid's own splits, and in published scores; data.blocks=true with evaluation.split=blocks "
            "holds out parts of all drives, seconds away from the others"
        )


def _side(id: str) -> Literal["train", "blocks"] | None:
    """Which split a training frame belongs to if blocks are held out, by its own number alone; None = neither."""
    match = _FRAME.fullmatch(id)
    second = 0 if match is None else int(match["number"]) // _HZ % 50
    if 20 <= second < 30:
        return "blocks"
    return None if 18 <= second < 32 else "train"
