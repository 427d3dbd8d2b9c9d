"""A pool, a selection of it, and annotators who draw in the tools' own formats."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fathomseg.data.datasets.base import Dataset
from fathomseg.selection.result import Choice, Selection
from fathomseg.types import ClassList, Prediction
from tests.fakes import scene


def selection(ids: Sequence[str], dataset: str = "folder", split: str = "all", pool: int = 10) -> Selection:
    """A selection of these images in this order."""
    chosen = tuple(Choice(id=id, rank=rank, reason=f"chosen as number {rank}") for rank, id in enumerate(ids, start=1))
    return Selection(
        dataset=dataset, split=split, pool_size=pool, pool_hash="0", criterion={"name": "x"}, seed=0, chosen=chosen
    )


class Guess:
    """Draws the truth moved to the right, which is wrong enough to be corrected."""

    def __init__(self, dataset: Dataset, classes: ClassList | None = None) -> None:
        self.classes = classes or dataset.classes
        self._label = {dataset.image(id).tobytes(): dataset.label(id) for id in dataset.ids("all")}

    def predict(self, image: np.ndarray) -> Prediction:
        label = self._label[image.tobytes()]
        assert label is not None
        moved = np.roll(label, 3, axis=1)
        return Prediction(np.where(moved == 255, 0, moved).astype(np.uint8), np.ones(label.shape, np.float32))


def drawing(seed: int, size: tuple[int, int], classes: int) -> np.ndarray:
    """A label as somebody draws it: class indices, and 255 where he drew nothing."""
    label = scene(seed, size, classes + 1)[1]
    return np.where(label == classes, 255, label).astype(np.uint8)


def from_cvat(path: Path, labels: Mapping[str, np.ndarray], lines: Sequence[tuple[str, tuple[int, int, int]]]) -> Path:
    """The zip CVAT exports for these labels by stem; `lines` are name and colour of the classes in its labelmap.txt.

    255 is written in the colour of the line `background`.
    """
    colour = dict(lines)
    names = [name for name, _ in lines if name != "background"]
    table = np.zeros((256, 3), np.uint8)
    table[: len(names)] = [colour[name] for name in names]
    table[255] = colour["background"]
    with zipfile.ZipFile(path, "w") as archive:
        text = "".join("{}:{},{},{}::\n".format(name, *rgb) for name, rgb in lines)
        archive.writestr("labelmap.txt", "# label:color_rgb:parts:actions\n" + text)
        archive.writestr("ImageSets/Segmentation/default.txt", "\n".join(labels))
        for stem, label in labels.items():
            with archive.open(f"SegmentationClass/{stem}.png", "w") as file:
                Image.fromarray(table[label]).save(file, "PNG")
            with archive.open(f"SegmentationObject/{stem}.png", "w") as file:
                Image.fromarray(np.zeros_like(table[label])).save(file, "PNG")
    return path


def edited(archive: Path, path: Path, labels: Mapping[str, np.ndarray], classes: ClassList) -> Path:
    """A copy of the zip we exported in which somebody has painted these labels over the masks."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if name.startswith("SegmentationClass/"):
                with new.open(name, "w") as file:
                    Image.fromarray(classes.palette[labels[Path(name).stem]]).save(file, "PNG")
            else:
                new.writestr(name, old.read(name))
    return path


def rle(mask: np.ndarray) -> list[int]:
    """Label Studio's code of a mask without any run: blocks of single values, with lengths of 3 bits."""
    values = np.repeat(mask.reshape(-1) * 255, 4).tolist()
    bits = f"{len(values):032b}" + "00111" + "0010" * 4
    for start in range(0, len(values), 8):
        block = values[start : start + 8]
        bits += "0" + "10" + f"{len(block) - 1:03b}" + "".join(f"{value:08b}" for value in block)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def annotation(label: np.ndarray, names: Sequence[str], **more: Any) -> dict[str, Any]:
    """What Label Studio keeps of somebody who drew this label, a region a class."""
    regions = [
        {
            "id": f"r{index}",
            "type": "brushlabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": label.shape[1],
            "original_height": label.shape[0],
            "image_rotation": 0,
            "value": {"format": "rle", "rle": rle(label == index), "brushlabels": [name]},
        }
        for index, name in enumerate(names)
        if (label == index).any()
    ]
    return {"id": 7, "result": regions, "was_cancelled": False, "updated_at": "2026-01-01T00:00:00Z", **more}


def from_label_studio(path: Path, tasks: Path, annotations: Mapping[str, Sequence[dict[str, Any]]]) -> Path:
    """The JSON Label Studio exports for the tasks we gave it, with these annotations by stem."""
    found = json.loads(tasks.read_text(encoding="utf-8"))
    rows = [
        {"id": i, "data": task["data"], "annotations": list(annotations.get(task["data"]["stem"], []))}
        for i, task in enumerate(found)
    ]
    path.write_text(json.dumps(rows))
    return path
