"""Predicted classes in the formats of other programs: COCO's JSON and YOLO's texts, made of the ids that were written.

OUT/coco.json              a region of each class for every image, as a run-length code
OUT/yolo/labels/<path>.txt polygons, and OUT/yolo/data.yaml, which names the classes
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8

from fathomseg.errors import FathomError
from fathomseg.inference.predict_folder import Goal, Job
from fathomseg.io.coco import read_coco, write_coco
from fathomseg.io.files import write_text
from fathomseg.io.yolo import DESCRIPTION, text_of, write_description
from fathomseg.tasks.segmentation import Segmentation, written_label
from fathomseg.types import ClassList

IDS: Final = "ids"
FORMATS: Final = (IDS, "coco", "yolo")
COCO: Final = "coco.json"
YOLO: Final = "yolo"


def parse_formats(text: str, tasks: Sequence[str]) -> tuple[str, ...]:
    """The formats in a list with commas, besides the ids, which are always written. Raises `FathomError`."""
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in FORMATS]:
        raise FathomError(f"--format is {text!r}, but {unknown[0]!r} is none of {', '.join(FORMATS)}.")
    others = tuple(dict.fromkeys(name for name in names if name != IDS))
    if others and Segmentation.model_fields["name"].default not in tasks:
        raise FathomError(f"--format {text} is for predicted classes, but here is predicted: {', '.join(tasks)}.")
    return others


def places(out: Path, formats: Sequence[str], jobs: Sequence[Job]) -> list[Path]:
    """The files they are written to; of a video the folder of its texts."""
    texts = [_text(out, goal) if not job.is_video else _folder(out, goal) for job, goal in _labels(jobs)]
    found = [out / COCO] if "coco" in formats else []
    return [*found, *([out / YOLO / DESCRIPTION, *texts] if "yolo" in formats else [])]


def write_formats(out: Path, formats: Sequence[str], jobs: Sequence[Job], classes: ClassList, run: str) -> None:
    """Write what there is a prediction of; coco.json keeps what earlier calls predicted of other images."""
    if "coco" in formats:
        earlier = _earlier(out, jobs)
        labels = ((name, label) for name, _, label in _predictions(out, jobs, classes))
        before = ((name, written_label(path, classes)) for name, path in earlier.items())
        write_coco(out / COCO, classes.names, chain(before, labels), f"predicted by {run}")
    if "yolo" in formats:
        for _, place, label in _predictions(out, jobs, classes):
            write_text(place, text_of(label, len(classes)))
        write_description(out / YOLO, classes.names)


def _labels(jobs: Sequence[Job]) -> Iterator[tuple[Job, Goal]]:
    yield from ((job, goal) for job in jobs for goal in job.goals if isinstance(goal.task, Segmentation))


def _predictions(
    out: Path, jobs: Sequence[Job], classes: ClassList
) -> Iterator[tuple[str, Path, UInt8[np.ndarray, "h w"]]]:
    """Of every image and frame: its name, with an ending, where its text goes, and its predicted label."""
    for job, goal in _labels(jobs):
        name = goal.values.relative_to(out / goal.task.places.values).as_posix()
        if job.is_video:
            for path in sorted(goal.values.glob("*.png")):
                text = _folder(out, goal) / f"{path.stem}.txt"
                yield f"{name}/{path.name}", text, written_label(path, classes)
        elif goal.values.is_file():
            yield name[: -len(".png")] + job.source.suffix, _text(out, goal), written_label(goal.values, classes)


def _earlier(out: Path, jobs: Sequence[Job]) -> dict[str, Path]:
    """The ids of what coco.json already lists that is none of these jobs, by name, where they are still there."""
    if not (out / COCO).is_file() or (first := next(_labels(jobs), None)) is None:
        return {}
    folder = out / first[1].task.places.values
    now = {goal.values for _, goal in _labels(jobs)}
    names = [image.file_name for image in read_coco(out / COCO).images]
    found = {name: (folder / name).with_suffix(".png") for name in names}
    return {name: p for name, p in found.items() if p.is_file() and p not in now and p.parent not in now}


def _folder(out: Path, goal: Goal) -> Path:
    return out / YOLO / "labels" / goal.values.relative_to(out / goal.task.places.values)


def _text(out: Path, goal: Goal) -> Path:
    return _folder(out, goal).with_suffix(".txt")
