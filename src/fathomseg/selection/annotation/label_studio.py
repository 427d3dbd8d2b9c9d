"""Label Studio: the labelling interface, tasks with brush masks to correct, and its JSON export (labelstud.io)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import quoteattr

import numpy as np
from jaxtyping import UInt8

from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.io.files import read_tree
from fathomseg.selection.annotation.brush import decode, encode
from fathomseg.selection.annotation.task import Mask, Task, TaskImage
from fathomseg.types import IGNORE, ClassList

CONFIG: Final = "label_studio/config.xml"
TASKS: Final = "label_studio/tasks.json"

_TAG, _IMAGE = "label", "image"


def config(classes: ClassList) -> str:
    """The labelling interface: one brush a class."""
    pairs = zip(classes.names, classes.colours, strict=True)
    brushes = "".join(
        f'    <Label value={quoteattr(name)} background="#{red:02x}{green:02x}{blue:02x}"/>\n'
        for name, (red, green, blue) in pairs
    )
    head = f'  <Image name="{_IMAGE}" value="${_IMAGE}" zoom="true" zoomControl="true"/>'
    labels = f'  <BrushLabels name="{_TAG}" toName="{_IMAGE}">\n{brushes}  </BrushLabels>'
    return f"<View>\n{head}\n{labels}\n</View>\n"


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


def returned(source: Path, task: Task) -> list[Mask]:
    """The labels in a JSON file that Label Studio exported (Export, JSON); tasks without an annotation are left out.

    Raises `DataError` for tasks of no exported image. Of several annotations of a task the one changed last counts.
    """
    images = {image.stem: image for image in task.images}
    masks: list[Mask] = []
    problems = []
    if not (tasks := _tasks(source)):
        raise FathomError(f"{source} holds no task; expected {len(images)}: export the whole project as JSON.")
    for number, one in enumerate(tasks):
        stem = _stem(one)
        regions = _regions(one)
        if stem not in images:
            problems.append(Problem(f"{source}: task {number + 1}", f"is of no image of this export (stem: {stem!r})"))
        elif regions is not None:
            masks.append((images[stem], partial(_label, regions, images[stem], task, source)))
    if problems:
        raise DataError(problems)
    return masks


def _tasks(source: Path) -> list[Mapping[str, Any]]:
    tree = read_tree(source)
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


def _stem(task: Mapping[str, Any]) -> str | None:
    data = task.get("data")
    stem = data.get("stem") if isinstance(data, dict) else None
    return stem if isinstance(stem, str) else None


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
        names = value.get("brushlabels", [])
        fault = _fault(region, value, names, indices, image)
        try:
            if fault is None:
                label[decode(value.get("rle", ()), image.size)] = indices[str(names[0])]
        except ValueError as error:
            fault = f"its mask {error}"
        if fault is not None:
            where = f"{source}: {image.stem}, region {region.get('id')}"
            raise DataError([Problem(where, f"{fault}; mend it in Label Studio and export again")])
    return label


def _fault(
    region: Mapping[str, Any], value: Mapping[str, Any], names: Any, indices: Mapping[str, int], image: TaskImage
) -> str | None:
    """What is wrong with a region, before its mask is opened."""
    size = (region.get("original_height"), region.get("original_width"))
    if region.get("type") != "brushlabels" or value.get("format") != "rle":
        return f"is of type {region.get('type')!r}; expected a brush mask (brushlabels, rle)"
    if not isinstance(names, list) or len(names) != 1 or str(names[0]) not in indices:
        return f"has the labels {names}; expected one of {', '.join(indices)}"
    if size != image.size:
        return f"is {size[0]} x {size[1]} (height x width), but its image is {image.size[0]} x {image.size[1]}"
    if region.get("image_rotation"):
        return f"was drawn on an image turned by {region['image_rotation']} degrees; turn it back"
    return None
