"""Whose layout a folder of one's own has: that of `dataset.yaml`, or one in which COCO's or YOLO's labels lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fathomseg.data.datasets.coco import annotation_files
from fathomseg.data.datasets.folder import DESCRIPTION
from fathomseg.io.yolo import DESCRIPTION as YOLO
from fathomseg.text import at_home

Layout = Literal["folder", "yolo", "coco"]


def layout_of(folder: Path) -> Layout | None:
    """The dataset that reads a folder, by its files, without opening any; None if they do not say."""
    if (folder / DESCRIPTION).is_file():
        return "folder"
    if (folder / YOLO).is_file():
        return "yolo"
    return "coco" if any(map(_surely_coco, annotation_files(folder))) else None


def as_found(given: Any) -> Any:
    """A `folder` whose root has COCO's or YOLO's layout is that, so that recipes for one's own data take either."""
    if not isinstance(given, Mapping) or given.get("name") != "folder" or not isinstance(given.get("root"), str | Path):
        return given
    return {**given, "name": layout_of(at_home(str(given["root"]))) or "folder"}


def _surely_coco(path: Path) -> bool:
    """Whether the name of a JSON file says what it is, without opening it."""
    return path.parent.name == "annotations" or "coco" in path.name
