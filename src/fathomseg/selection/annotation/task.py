"""What was handed to the annotators: `annotation.json`, by which what comes back finds its images and classes again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import unquote

import numpy as np
from jaxtyping import UInt8
from pydantic import Field

from fathomseg.config import Part, validate
from fathomseg.data.datasets.labels import Colour, distinct_colours
from fathomseg.io.files import read_json, write_text
from fathomseg.types import ClassList, Size

MANIFEST: Final = "annotation.json"
UNLABELLED: Final[Colour] = (0, 0, 0)
"""The colour of pixels nobody has labelled."""
BACKGROUND: Final = "background"
"""What CVAT calls unlabelled pixels. A class of this name means them, so it may be black."""

_NAME_LENGTH = 80
_UPLOADED: Final = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the names of images that were uploaded to it."""


class TaskImage(Part):
    """One image to annotate."""

    stem: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    """Its file in images/, without the ending: its rank and its id, in letters every tool and system takes."""
    id: Annotated[str, Field(min_length=1)]
    """Its sample id."""
    size: Size
    """(height, width) in pixels."""


class TaskClass(Part):
    """One class to annotate."""

    name: Annotated[str, Field(min_length=1)]
    """What it is called, here and in the tool."""
    colour: Colour
    """Its colour (RGB, 0..255) in the tool: no two classes share one, and only a class `background` may be black."""


class Task(Part):
    """The images and classes of one export; the content of annotation.json."""

    format: Literal[1] = 1
    """Version of this file's layout."""
    dataset: str
    """Name of the dataset the images are from."""
    classes: tuple[TaskClass, ...]
    """The classes, in the order of their indices."""
    images: tuple[TaskImage, ...]
    """The images, in the order of choice."""

    def image_called(self, name: str) -> TaskImage | None:
        """The image that a tool calls so: a file name, a path or an address; None if it was not exported."""
        known = {image.stem: image for image in self.images}
        last = re.split(r"[/\\?=]", unquote(name))[-1]
        stem = last.rpartition(".")[0] if "." in last else last
        names = (last, stem, _UPLOADED.sub("", stem))
        return next((known[one] for one in names if one in known), None)

    def save(self, folder: Path) -> None:
        """Write annotation.json in one stroke."""
        write_text(folder / MANIFEST, json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")


Mask = tuple[TaskImage, Callable[[], UInt8[np.ndarray, "h w"]]]
"""An image that came back, and what reads its label: class indices, 255 where nothing was drawn."""


def load_task(folder: Path) -> Task:
    """The export in a folder. Raises `FathomError` if there is none or its annotation.json cannot be read."""
    path = folder / MANIFEST
    tree = read_json(path, "an export", "Give the folder the images were exported to for annotation.")
    return validate(Task, tree, str(path))


def stems(ids: Sequence[str]) -> list[str]:
    """File names for ids in their order: "0001-images-town-17". The number in front makes them differ."""
    digits = max(4, len(str(len(ids))))
    return [
        f"{rank:0{digits}d}-" + re.sub(r"[^A-Za-z0-9._]+", "-", id)[-_NAME_LENGTH:].strip("-.")
        for rank, id in enumerate(ids, start=1)
    ]


def told_apart(classes: ClassList) -> tuple[TaskClass, ...]:
    """The classes in their own colours; one that is taken already, or black, is replaced by a colour nobody has."""
    free = (colour for colour in distinct_colours(255) if colour not in classes.colours)
    taken = {UNLABELLED}
    found = []
    for name, own in zip(classes.names, classes.colours, strict=True):
        allowed = own not in taken or (name == BACKGROUND and own == UNLABELLED)
        found.append(TaskClass(name=name, colour=own if allowed else next(free)))
        taken.add(own)
    return tuple(found)
