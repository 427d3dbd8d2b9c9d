"""Labels that come back as COCO's JSON or YOLO's texts, from any tool that writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from fathomseg.data.datasets.yolo import CLASSES
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.coco import is_coco, read_coco
from fathomseg.io.yolo import DESCRIPTION, class_names, label_of, parse_description
from fathomseg.selection.annotation.archive import texts
from fathomseg.selection.annotation.task import BACKGROUND, Mask, Task, TaskImage
from fathomseg.text import decode_text
from fathomseg.types import IGNORE


def coco_returned(source: Path, task: Task, tree: Any = None) -> list[Mask]:
    """The labels in COCO's JSON: a file, whose content is `tree`, or a zip or folder that holds one.

    Images without annotations are left out. Raises `FathomError` if there is not one such file, or if categories in use
    are not those of the export, and `DataError` for annotations of other images.
    """
    if tree is None:
        found = texts(source, {".json"})
        trees = [one for one in map(_json, found.values()) if is_coco(one)]
        if len(trees) != 1:
            raise FathomError(
                f"{source} holds {len(trees)} JSON files of COCO among {len(found)}; expected one, with images, "
                "categories and annotations: export from the tool as COCO with polygons or masks."
            )
        (tree,) = trees
    file = read_coco(source, tree)
    drawn = [image for image in file.images if image.annotations]
    used = {int(one["category_id"]) for image in drawn for one in image.annotations}
    indices = _indices(file.categories, used, task, source)
    images = _images(task, [image.file_name for image in drawn], source)
    return [
        (images[one.file_name], partial(file.label, one, images[one.file_name].size, indices, IGNORE)) for one in drawn
    ]


def yolo_returned(source: Path, task: Task) -> list[Mask]:
    """The labels in a zip or folder of YOLO's segmentation texts, with data.yaml or classes.txt.

    Empty texts are left out. Raises as `coco_returned`.
    """
    found = texts(source, {".txt", ".yaml"})
    tops = {PurePosixPath(name).name: name for name in found}
    if DESCRIPTION in tops:
        where = f"{source}: {tops[DESCRIPTION]}"
        names = class_names(parse_description(decode_text(found[tops[DESCRIPTION]], where), where), where)
    else:
        where = f"{source}: {tops[CLASSES]}"
        lines = decode_text(found[tops[CLASSES]], where).split("\n")
        names = class_names({"names": [line.strip() for line in lines if line.strip()]}, where)
    drawn = {name: content for name, content in found.items() if "labels/" in f"/{name}" and content.strip()}
    if not drawn:
        raise FathomError(f"{source} holds no label: expected labels/NAME.txt with polygons. Export segmentation.")
    used = {
        int(words[0]) for content in drawn.values() for words in _rows(content) if re.fullmatch(r"\d{1,9}", words[0])
    }
    indices = _indices(names, used, task, source)
    images = _images(task, list(drawn), source)
    return [
        (images[name], partial(label_of, content, images[name].size, indices, IGNORE, f"{source}: {name}"))
        for name, content in drawn.items()
    ]


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _rows(content: bytes) -> list[list[str]]:
    return [words for line in content.decode("utf-8", "replace").splitlines() if (words := line.split())]


def _indices(names: Mapping[int, str], used: set[int], task: Task, source: Path) -> dict[int, int]:
    """The class index of every category in use, by the names; what is drawn as `background` is taken as not drawn if
    the export has no such class. Raises `DataError` for others."""
    asked = {BACKGROUND: IGNORE} | {one.name: index for index, one in enumerate(task.classes)}
    what = f"was not in the export, which has {', '.join(one.name for one in task.classes)}; rename it and export again"
    strange = [names[number] for number in sorted(used) if number in names and names[number] not in asked]
    if strange:
        raise DataError([Problem(str(source), f"the class {name!r} {what}") for name in strange])
    return {number: asked[name] for number, name in names.items() if name in asked}


def _images(task: Task, names: list[str], source: Path) -> dict[str, TaskImage]:
    """The images of the export by the names the tool gave them. Raises `DataError` for others, and for two of one."""
    found: dict[str, TaskImage] = {}
    problems = []
    for name in names:
        image = task.image_called(name)
        if image is None:
            problems.append(Problem(f"{source}: {name}", "is of no image of this export; remove it"))
        elif image in found.values():
            problems.append(Problem(f"{source}: {name}", "is the second label of this image; remove one of the two"))
        else:
            found[name] = image
    if problems:
        raise DataError(problems)
    return found
