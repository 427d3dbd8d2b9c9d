"""Chosen images as ready imports for annotation tools."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from fathomseg.data.datasets.base import Dataset
from fathomseg.errors import FathomError
from fathomseg.io import draw
from fathomseg.io.files import write_text, writing
from fathomseg.selection.annotation import cvat, label_studio
from fathomseg.selection.annotation.task import MANIFEST, Task, TaskImage, load_task, stems, told_apart
from fathomseg.selection.result import Selection
from fathomseg.types import ClassList, Prediction

IMAGES: Final = "images"


@runtime_checkable
class Prelabels(Protocol):
    """What draws the labels that annotators correct: a `Predictor`, as `fathomseg.load(run)` gives it."""

    @property
    def classes(self) -> ClassList:
        """The classes of its labels."""

    def predict(self, image: UInt8[np.ndarray, "h w 3"]) -> Prediction:
        """The label of one RGB image."""


def export(selection: Selection, dataset: Dataset, folder: Path, prelabels: Prelabels | None = None) -> Task:
    """Write the chosen images below `folder`, ready for CVAT and Label Studio; docs/annotation.md shows what to do.

    Images are PNGs, upright and of their stored size, named by rank and id. With `prelabels` both tools show a label to
    correct. Raises `FathomError` if the folder holds another export, a class name fits no tool, or the classes of
    `prelabels` are not those of the dataset; `DataError` for an image that cannot be read.
    """
    classes = dataset.classes
    cvat.check(classes)
    if prelabels is not None and prelabels.classes.names != classes.names:
        raise FathomError(
            f"The labels to correct have the classes {', '.join(prelabels.classes.names)}, but {dataset.name} has "
            f"{', '.join(classes.names)}. Give a run that was trained on these classes."
        )
    names = stems(selection.ids)
    _refuse_another(folder, selection)
    for part in (IMAGES, cvat.LABELS, label_studio.CONFIG):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)

    shown = ClassList(classes.names, tuple(one.colour for one in told_apart(classes)))
    images, tasks = [], []
    with writing(folder / cvat.ARCHIVE) as whole, zipfile.ZipFile(whole, "w") as archive:  # PNGs are packed already
        for stem, id in zip(names, selection.ids, strict=True):
            picture = dataset.image(id)
            image = TaskImage(stem=stem, id=id, size=picture.shape[:2])
            label = None if prelabels is None else prelabels.predict(picture).label
            draw.write(folder / IMAGES / f"{stem}.png", picture)
            cvat.add(archive, image, (folder / IMAGES / f"{stem}.png").read_bytes(), label, shown)
            tasks.append(json.dumps(label_studio.new_task(image, label, shown), ensure_ascii=False))
            images.append(image)
        task = Task(dataset=dataset.name, classes=told_apart(classes), images=tuple(images))
        cvat.finish(archive, task)
    write_text(folder / cvat.LABELS, cvat.label_list(shown))
    write_text(folder / label_studio.CONFIG, label_studio.config(shown))
    write_text(folder / label_studio.TASKS, "[" + ",\n".join(tasks) + "]\n")
    task.save(folder)
    return task


def _refuse_another(folder: Path, selection: Selection) -> None:
    """An export is never mixed with that of another selection, whose images may be labelled already."""
    if (folder / MANIFEST).is_file() and tuple(image.id for image in load_task(folder).images) != selection.ids:
        raise FathomError(f"{folder} holds the export of other images; give a new folder, or remove this one.")
