"""Label Studio (labelstud.io): the labelling interface, tasks with brush masks to correct, and its JSON export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import quoteattr

import numpy as np
from jaxtyping import Bool, UInt8

from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.files import read_tree
from fathomseg.io.polygons import as_ring, fill
from fathomseg.selection.annotation.brush import decode, encode
from fathomseg.selection.annotation.task import Mask, Task, TaskImage
from fathomseg.types import IGNORE, ClassList, Size

CONFIG: Final = "label_studio/config.xml"
TASKS: Final = "label_studio/tasks.json"

_KINDS: Final = {"brushlabels": "mask", "polygonlabels": "polygon"}
"""The types of regions that are read, and what they are called."""
_TAG, _OUTLINE, _IMAGE = "label", "outline", "image"


def config(classes: ClassList) -> str:
    """The labelling interface: a brush and a polygon tool for each class."""
    pairs = zip(classes.names, classes.colours, strict=True)
    labels = "".join(
        f'    <Label value={quoteattr(name)} background="#{red:02x}{green:02x}{blue:02x}"/>\n'
        for name, (red, green, blue) in pairs
    )
    head = f'  <Image name="{_IMAGE}" value="${_IMAGE}" zoom="true" zoomControl="true"/>'
    tools = "".join(
        f'  <{tool} name="{name}" toName="{_IMAGE}">\n{labels}  </{tool}>\n'
        for tool, name in (("BrushLabels", _TAG), ("PolygonLabels", _OUTLINE))
    )
    return f"<View>\n{head}\n{tools}</View>\n"


def new_task(image: TaskImage, label: UInt8[np.ndarray, "h w"] | None, classes: ClassList) -> dict[str, Any]:
    """One task: the image as a local file below the folder of the export, and perhaps a label to correct."""
    task: dict[str, Any] = {
        "data": {_IMAGE: f"/data/local-files/?d=images/{image.stem}.png", "stem": image.stem, "id": image.id}
    }
    if label is not None:
        present = [index for index in np.unique(label).tolist() if index < len(classes)]
        regions = [_region(image, index, classes.names[index], label == index) for index in present]
        task["predictions"] = [{"model_version": "fathomseg", "result": regions}]
    return task


def _region(image: TaskImage, index: int, name: str, mask: np.ndarray) -> dict[str, Any]:
    return {
        "id": f"{image.stem}-{index}",
        "type": "brushlabels",
        "from_name": _TAG,
        "to_name": _IMAGE,
        "original_height": image.size[0],
        "original_width": image.size[1],
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode(mask), "brushlabels": [name]},
    }


def returned(source: Path, task: Task, tree: Any = None) -> list[Mask]:
    """The labels in a JSON file that Label Studio exported (Export, JSON): brush masks and polygons. Tasks without an
    annotation are left out; `tree` is the file's content if it is read already.

    Raises `DataError` for tasks of no exported image. Of several annotations of a task the one changed last counts.
    """
    found: dict[str, Mask] = {}
    problems = []
    if not (tasks := _tasks(source, read_tree(source) if tree is None else tree)):
        raise FathomError(f"{source} holds no task; expected {len(task.images)}: export the whole project as JSON.")
    for number, one in enumerate(tasks):
        where, name, regions = f"{source}: task {number + 1}", _name(one), _regions(one)
        image = None if name is None else task.image_called(name)
        if image is None:
            problems.append(Problem(where, f"is of no image of this export (its image: {name!r})"))
        elif regions is not None and image.stem in found:
            problems.append(Problem(where, f"is the second label of {image.stem}; remove one of the two"))
        elif regions is not None:
            found[image.stem] = image, partial(_label, regions, image, task, source)
    if problems:
        raise DataError(problems)
    return [*found.values()]


def _tasks(source: Path, tree: Any) -> list[Mapping[str, Any]]:
    if not isinstance(tree, list) or not all(map(_is_task, tree)):
        raise FathomError(f"{source} is no list of tasks with annotations; export from Label Studio as JSON.")
    return tree


def _is_task(one: Any) -> bool:
    """Whether it is a task with annotations, each with regions, of whatever kind these are."""
    annotations = one.get("annotations") if isinstance(one, dict) else None
    if not isinstance(annotations, list) or not all(isinstance(each, dict) for each in annotations):
        return False
    results = [each.get("result", []) for each in annotations]
    return all(isinstance(found, list) and all(isinstance(one, dict) for one in found) for found in results)


def _name(task: Mapping[str, Any]) -> str | None:
    """What its image is called: the stem we gave it, or the file that somebody uploaded by hand."""
    data = task.get("data")
    known = [data.get(key) for key in ("stem", _IMAGE)] if isinstance(data, dict) else []
    return next((name for name in known if isinstance(name, str)), None)


def _regions(task: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
    """What was drawn, in order; None if nobody has submitted an annotation."""
    if not (submitted := [one for one in task["annotations"] if not one.get("was_cancelled")]):
        return None
    last = max(submitted, key=lambda one: str(one.get("updated_at", "")))
    regions: Sequence[Mapping[str, Any]] = last.get("result", [])
    return regions


def _label(
    regions: Sequence[Mapping[str, Any]], image: TaskImage, task: Task, source: Path
) -> UInt8[np.ndarray, "h w"]:
    """Class indices, 255 where nothing was drawn; where regions overlap the later one counts, which covers the other.

    Raises `DataError` naming the first region that cannot be used.
    """
    indices = {one.name: index for index, one in enumerate(task.classes)}
    label = np.full(image.size, IGNORE, np.uint8)
    for region in regions:
        value = region.get("value")
        value = value if isinstance(value, dict) else {}
        kind = _KINDS.get(str(region.get("type")))
        names = value.get(str(region.get("type")), [])
        fault = _fault(region, kind, names, indices, image)
        try:
            if fault is None:
                mask = _brush(value, image.size) if kind == "mask" else _polygon(value, image.size)
                label[mask] = indices[str(names[0])]
        except ValueError as error:
            fault = f"its {kind} {error}"
        if fault is not None:
            where = f"{source}: {image.stem}, region {region.get('id')}"
            raise DataError([Problem(where, f"{fault}; mend it in Label Studio and export again")])
    return label


def _brush(value: Mapping[str, Any], size: Size) -> Bool[np.ndarray, "h w"]:
    if value.get("format") != "rle":
        raise ValueError(f"has the format {value.get('format')!r}; expected rle")
    return decode(value.get("rle", ()), size)


def _polygon(value: Mapping[str, Any], size: Size) -> Bool[np.ndarray, "h w"]:
    """The pixels of a polygon, whose points are per cent of width and height. Raises `ValueError`."""
    mask = np.zeros(size, bool)
    top, left, inside = fill(as_ring(value.get("points")) / 100 * size[::-1], size)
    mask[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return mask


def _fault(
    region: Mapping[str, Any], kind: str | None, names: Any, indices: Mapping[str, int], image: TaskImage
) -> str | None:
    """What is wrong with a region, before its mask is opened."""
    size = (region.get("original_height"), region.get("original_width"))
    if kind is None:
        return f"is of type {region.get('type')!r}; expected a brush mask (brushlabels) or a polygon (polygonlabels)"
    if not isinstance(names, list) or len(names) != 1 or str(names[0]) not in indices:
        return f"has the labels {names}; expected one of {', '.join(indices)}"
    if size != image.size:
        return f"is {size[0]} x {size[1]} (height x width), but its image is {image.size[0]} x {image.size[1]}"
    if region.get("image_rotation"):
        return f"was drawn on an image turned by {region['image_rotation']} degrees; turn it back"
    return None
