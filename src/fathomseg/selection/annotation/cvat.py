"""CVAT: the label list of a new task, and its format "Segmentation mask 1.1" both ways (docs.cvat.ai).

labelmap.txt                         a line a class: name:red,green,blue:parts:actions
ImageSets/Segmentation/default.txt   names of the images, without ending
JPEGImages/<name>.png                the images
SegmentationClass/<name>.png         the colour of each pixel's class
SegmentationObject/<name>.png        the colour of each pixel's object, in Pascal VOC's numbering; black = no object
"""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8

from fathomseg.data.datasets.files import files_below
from fathomseg.data.datasets.labels import Colour, LabelMap, distinct_colours, pack_one
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io import draw
from fathomseg.io.listing import walk
from fathomseg.selection.annotation.archive import content_of, open_zip, parts_of
from fathomseg.selection.annotation.task import BACKGROUND, UNLABELLED, Mask, Task, TaskImage
from fathomseg.text import read_text
from fathomseg.types import IGNORE, ClassList

LABELS: Final = "cvat/labels.json"
ARCHIVE: Final = "cvat/segmentation_mask_1.1.zip"
_FOLDERS: Final = 5
"""Folders named of a place that holds no mask."""

_LABELMAP = "labelmap.txt"
_CLASS_MASKS = "SegmentationClass"
_OBJECT_MASKS = "SegmentationObject"
_HEAD = "# label:color_rgb:parts:actions"
_LINE = re.compile(r"(?P<name>.+):(?P<rgb>\d+,\d+,\d+):[^:]*:[^:]*")


def check(classes: ClassList) -> None:
    """Raises `FathomError` for class names that labelmap.txt cannot hold."""
    wrong = [name for name in classes.names if ":" in name or "\n" in name or name.startswith("#")]
    if wrong:
        raise FathomError(
            f"CVAT's labelmap.txt cannot hold the class names {', '.join(map(repr, wrong))}: rename them without "
            "':' and line breaks, and without '#' in front."
        )


def label_list(classes: ClassList) -> str:
    """The text for "Raw" in CVAT's form for new tasks and projects."""
    pairs = zip(classes.names, classes.colours, strict=True)
    rows = [
        {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*rgb), "type": "any", "attributes": []}
        for name, rgb in pairs
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def add(
    archive: zipfile.ZipFile, image: TaskImage, png: bytes, label: UInt8[np.ndarray, "h w"] | None, classes: ClassList
) -> None:
    """Put an image, so that a project can be made of the archive alone, and perhaps its label into the archive.

    Each class is one object. Ignored pixels belong to no object, so they stay unlabelled in the tool.
    """
    archive.writestr(f"JPEGImages/{image.stem}.png", png)
    if label is not None:
        archive.writestr(f"{_CLASS_MASKS}/{image.stem}.png", draw.encode(classes.palette[label]))
        archive.writestr(f"{_OBJECT_MASKS}/{image.stem}.png", draw.encode(_OBJECTS[label]))


def finish(archive: zipfile.ZipFile, task: Task) -> None:
    """Write what the archive says of all its images."""
    entries = [(one.name, one.colour) for one in task.classes]
    if BACKGROUND not in (name for name, _ in entries):  # black must be declared, and CVAT gives it this name
        entries.insert(0, (BACKGROUND, UNLABELLED))
    lines = [_HEAD, *("{}:{},{},{}::".format(name, *rgb) for name, rgb in entries)]
    archive.writestr(_LABELMAP, "\n".join(lines) + "\n")
    archive.writestr("ImageSets/Segmentation/default.txt", "".join(f"{image.stem}\n" for image in task.images))


_OBJECTS: Final = np.array([*distinct_colours(IGNORE), UNLABELLED], np.uint8)
"""The colour of each class' object: object 1 is class 0."""


@contextmanager
def returned(source: Path, task: Task) -> Iterator[list[Mask]]:
    """The masks in a zip that CVAT exported, or in the folder it was unpacked to; they can be read inside the `with`.

    Raises `FathomError` if there is no mask at all, and `DataError` for files that belong to no exported image and
    classes that were not asked for.
    """
    with _unpacked(source) as folder:
        root = _root(folder, source)
        labels = _label_map(root / _LABELMAP)
        table = _indices(labels, task, source)
        images = {image.stem: image for image in task.images}
        files: dict[str, Path] = {}
        problems = []
        if not (found := files_below(root / _CLASS_MASKS)):
            raise _nothing_found(root, source)
        for name, path in found.items():
            stem = name.rsplit("/", 1)[-1]  # a task made from shared files keeps their folders
            if stem not in images or stem in files:
                problems.append(Problem(f"{source}: {name}", _TWICE if stem in files else _STRANGE))
            files[stem] = path
        if problems:
            raise DataError(problems)
        where = {stem: f"{source}: {path.relative_to(root).as_posix()}" for stem, path in files.items()}
        yield [
            (images[stem], partial(_read, path, where[stem], images[stem], labels, table))
            for stem, path in files.items()
        ]


_STRANGE = "is the mask of no image of this export; give the folder of the right export, or remove it"
_TWICE = "is the second mask of this image; remove one of the two"


def _read(
    path: Path, where: str, image: TaskImage, labels: LabelMap, table: UInt8[np.ndarray, " 256"]
) -> UInt8[np.ndarray, "h w"]:
    try:
        label: UInt8[np.ndarray, "h w"] = table[labels.read(path, image.size)]
    except DataError as error:  # the file lies in a folder that will be gone when the message is read
        raise DataError([Problem(where, problem.reason) for problem in error.problems]) from None
    return label


@contextmanager
def _unpacked(source: Path) -> Iterator[Path]:
    """A folder as it is, or what matters of a zip for as long as it is needed."""
    if source.is_dir():
        yield source
    elif zipfile.is_zipfile(source):
        with open_zip(source) as archive, tempfile.TemporaryDirectory() as folder:
            for entry in archive.infolist():
                if (parts := parts_of(entry, source)) is None:
                    continue
                # What is not needed is kept as a name, to be reported if what is needed is missing.
                needed = parts[-1] == _LABELMAP or _CLASS_MASKS in parts[:-1]
                content = content_of(archive, entry, source) if needed else b""
                try:
                    place = Path(folder, *parts)
                    twice = needed and place.exists()
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(content)
                except (OSError, ValueError) as error:
                    raise FathomError(f"{source}: {entry.filename!r} cannot be unpacked ({error}).") from None
                if twice:
                    raise FathomError(f"{source} holds {entry.filename!r} twice; keep one.")
            yield Path(folder)
    else:
        raise FathomError(
            f"{source} is neither a zip nor a folder of CVAT's format Segmentation mask 1.1, of COCO or of YOLO, nor a "
            "JSON file of Label Studio or COCO."
        )


def _root(folder: Path, source: Path) -> Path:
    """The folder that holds labelmap.txt, which may lie in one of the archive's."""
    maps = [path for _, path in walk(folder) if path.name == _LABELMAP]
    if len(maps) != 1:
        raise FathomError(
            f"{source} holds {len(maps)} files {_LABELMAP}; expected one: export from CVAT as Segmentation mask 1.1. "
            f"{_held(folder)}"
        )
    return maps[0].parent


def _nothing_found(root: Path, source: Path) -> FathomError:
    return FathomError(
        f"{source} holds no mask: expected PNGs in {_CLASS_MASKS}/ beside {_LABELMAP}, in this spelling. {_held(root)} "
        "Export from CVAT as Segmentation mask 1.1 (SegmentationObject/ alone says nothing of classes)."
    )


def _held(folder: Path) -> str:
    """What there is, by folder."""
    places = Counter(name.rpartition("/")[0] for name, _ in walk(folder))
    parts = [f"{place or '(top)'}/ with {count} files" for place, count in places.most_common(_FOLDERS)]
    return f"It holds {', '.join(parts) or 'nothing'}{' and more' if len(places) > _FOLDERS else ''}."


def _label_map(path: Path) -> LabelMap:
    """Which colour means which line of labelmap.txt."""
    names: list[str] = []
    colours: list[Colour] = []
    for line in read_text(path).split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        if (found := _LINE.fullmatch(line.strip())) is None:
            raise FathomError(f"{_LABELMAP} has a line {line!r}; expected name:red,green,blue:parts:actions.")
        red, green, blue = (int(value) for value in found["rgb"].split(","))
        names.append(found["name"])
        colours.append((red, green, blue))
    packed = tuple(pack_one(colour) for colour in colours)
    if len(set(packed)) < len(packed):
        raise FathomError(f"{_LABELMAP} gives two classes the same colour; give each its own in CVAT and export again.")
    return LabelMap("colours", tuple(names), packed, (), "export it from CVAT again, as Segmentation mask 1.1")


def _indices(labels: LabelMap, task: Task, source: Path) -> UInt8[np.ndarray, " 256"]:
    """The class index of every line of labelmap.txt, by the names; 255 for unlabelled pixels."""
    asked = {one.name: index for index, one in enumerate(task.classes)}
    known = {BACKGROUND: IGNORE} | asked
    if pack_one(UNLABELLED) in labels.values:  # black is what nobody has painted: dataset.yaml says what that means
        known[labels.names[labels.values.index(pack_one(UNLABELLED))]] = IGNORE
    if strange := [name for name in labels.names if name not in known]:
        what = f"was not in the export, which has {', '.join(asked)}; rename it in CVAT and export again"
        raise DataError([Problem(f"{source}: {_LABELMAP}", f"the class {name!r} {what}") for name in strange])
    table = np.full(256, IGNORE, np.uint8)
    table[: len(labels.names)] = [known[name] for name in labels.names]
    return table
