"""Cityscapes (Cordts et al., CVPR 2016): 19 classes, 2975 / 500 labelled images of 1024 x 2048, video around each."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final, Literal

from fathomseg.data.datasets.files import Files, Listing, files_below, without_image
from fathomseg.data.datasets.labels import LabelMap
from fathomseg.data.datasets.maps import ScaledLabels
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.shapes import fitted
from fathomseg.text import read_text
from fathomseg.types import Camera, ClassList, Size

CLASSES: Final = ClassList.of(
    {
        "road": (128, 64, 128),
        "sidewalk": (244, 35, 232),
        "building": (70, 70, 70),
        "wall": (102, 102, 156),
        "fence": (190, 153, 153),
        "pole": (153, 153, 153),
        "traffic light": (250, 170, 30),
        "traffic sign": (220, 220, 0),
        "vegetation": (107, 142, 35),
        "terrain": (152, 251, 152),
        "sky": (70, 130, 180),
        "person": (220, 20, 60),
        "rider": (255, 0, 0),
        "car": (0, 0, 142),
        "truck": (0, 0, 70),
        "bus": (0, 60, 100),
        "train": (0, 80, 100),
        "motorcycle": (0, 0, 230),
        "bicycle": (119, 11, 32),
    }
)
_IDS: Final = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
LABELS: Final = LabelMap(
    kind="ids",
    names=CLASSES.names,
    values=_IDS,
    ignored=tuple(sorted({*range(34), 255} - {*_IDS})),
    remedy="expected the labelIds of Cityscapes, 0 to 33",
)
_LABEL_IDS: Final = "_gtFine_labelIds"
_FULL: Final[Size] = (1024, 2048)
_FRAME: Final = re.compile(r"(?P<clip>.+_\d+)_(?P<frame>\d{6})")


class Cityscapes(ScaledLabels):
    """Cityscapes. Ids are `split/city_clip_frame` ("train/aachen_000000_000019"); images may be stored smaller.

    Splits are the folders of leftImg8bit; with leftImg8bit_sequence there is also `clips`, every video frame of
    `train`. A labelled image and the same frame of the video are one sample. Labels are brought to the size of the
    stored image (nearest), so images stored at half size are scored at half size.
    """

    _labels: ClassVar = LABELS
    name: Literal["cityscapes"] = "cityscapes"

    @property
    def classes(self) -> ClassList:
        """The 19 classes that are evaluated, in the order of their train ids."""
        return CLASSES

    def camera(self, id: str) -> Camera | None:
        """The camera from camera/, scaled to the stored image. A frame without its own takes its clip's nearest."""
        match = _FRAME.fullmatch(id)
        cameras = self._cameras.get(match["clip"]) if match else None
        if match is None or not cameras:
            return None
        nearest = min(cameras, key=lambda frame: abs(frame - int(match["frame"])))
        return fitted(_read_camera(cameras[nearest]), self.files(id).size(), str(cameras[nearest]))

    def neighbour(self, id: str, offset: int) -> str | None:
        """The frame of the same clip whose number is `offset` higher, if it is stored."""
        return self.renumbered(id, offset) if _FRAME.fullmatch(id) else None

    def notes(self) -> tuple[str, ...]:
        """Parts of Cityscapes that are not there, and what is missing without them."""
        parts = {
            "gtFine": "no image has a label",
            "leftImg8bit_sequence": "there is no video, so depth cannot be learned from it",
            "camera": "no camera is known",
        }
        return tuple(
            f"There is no folder {self.root / part}: {loss}."
            for part, loss in parts.items()
            if not (self.root / part).is_dir()
        )

    def _list(self) -> Listing:
        folder = self.root / "leftImg8bit"
        present = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        if not present:
            raise FathomError(
                f"No Cityscapes at {self.root}: expected the folders {folder / 'train'} and {folder / 'val'}, with "
                "one folder a city (leftImg8bit_trainvaltest.zip, unpacked). Set root=FOLDER."
            )
        splits = {split: self._labelled(split) for split in present}
        videos = {
            split: {id: Files(path) for id, path in self._images("leftImg8bit_sequence", split).items()}
            for split in present
        }
        if videos.get("train"):
            splits["clips"] = videos["train"] | {
                id: files for id, files in splits["train"].items() if id in videos["train"]
            }
        rest = {id: files for split in videos.values() for id, files in split.items()}
        listing = Listing.of(splits)
        return Listing(rest | dict(listing.samples), listing.splits)

    def layout_problems(self, ids: Sequence[str]) -> Iterator[Problem]:
        """Labels of no image, and images and labels called otherwise than in Cityscapes."""
        yield from super().layout_problems(ids)
        for part, word, wanted in (("leftImg8bit", "_leftImg8bit", "_leftImg8bit"), ("gtFine", "_gtFine_", _LABEL_IDS)):
            for split in self.splits:
                for stem, path in files_below(self.root / part / split).items():
                    if word not in stem:
                        yield Problem(str(path), f"is not read; expected a name such as CITY_000000_000019{wanted}.png")

    def _strays(self) -> dict[Path, list[Path]]:
        folder = self.root / "leftImg8bit"
        splits = [split for split in self.splits if split not in {"clips", "test"}]
        return {folder / split: without_image(self._images("leftImg8bit", split), self._ids(split)) for split in splits}

    def _ids(self, split: str) -> dict[str, Path]:
        """The label files of a split, by the id they belong to."""
        found = files_below(self.root / "gtFine" / split) if split != "test" else {}  # of test there are only dummies
        return {_id(split, stem, _LABEL_IDS): path for stem, path in found.items() if stem.endswith(_LABEL_IDS)}

    def _labelled(self, split: str) -> dict[str, Files]:
        labels = self._ids(split)
        images = self._images("leftImg8bit", split)
        return {id: Files(path, labels.get(id)) for id, path in images.items()}

    def _images(self, folder: str, split: str) -> dict[str, Path]:
        ending = "_leftImg8bit"
        found = files_below(self.root / folder / split)
        return {_id(split, stem, ending): path for stem, path in found.items() if stem.endswith(ending)}

    @cached_property
    def _cameras(self) -> dict[str, dict[int, Path]]:
        """Camera files by clip (as in ids) and frame number."""
        cameras: dict[str, dict[int, Path]] = defaultdict(dict)
        for stem, path in files_below(self.root / "camera", {".json"}).items():
            if match := _FRAME.fullmatch(_id(stem.split("/")[0], stem, "_camera")):
                cameras[match["clip"]][int(match["frame"])] = path
        return dict(cameras)


def _id(split: str, stem: str, ending: str) -> str:
    """ "train/aachen_000000_000019" of "aachen/aachen_000000_000019_leftImg8bit"."""
    return f"{split}/{stem.rsplit('/', 1)[-1].removesuffix(ending)}"


def _read_camera(path: Path) -> Camera:
    """The pinhole camera of a Cityscapes camera file, for the full-size image."""
    try:
        values = json.loads(read_text(path))["intrinsic"]
        fx, fy, u0, v0 = (float(values[key]) for key in ("fx", "fy", "u0", "v0"))
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        reason = 'is not a Cityscapes camera file; expected {"intrinsic": {"fx": ..., "fy": ..., "u0": ..., "v0": ...}}'
        raise DataError([Problem(str(path), reason)]) from None
    return Camera(fx=fx, fy=fy, cx=u0, cy=v0, height=_FULL[0], width=_FULL[1])
