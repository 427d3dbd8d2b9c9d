"""How a teacher's predictions are stored: one file an image and kind, below a folder for each kind.

ids/<id>.png          labels in the dataset's own ids or colours (provenance.json says which)
depth/<id>.npz        array `depth`, float32, z-depth in the unit of provenance.json, 0 = not known
disparity/<id>.npz    array `disparity`, float32, of unknown scale and offset
normals/<id>.png      unit vectors as RGB of 16 bits, as `fathom predict` writes them
confidence/<id>.png   round(255 confidence), 8 bits: exact to 0.002
soft/<id>.npz         the most probable classes of the provenance's list (`classes`, uint8 k h w, from the most
                      probable on) and round(65535 p) of each (`probabilities`, uint16 k h w)
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

import numpy as np

from fathomseg.distillation.predictions import Predictions
from fathomseg.distillation.provenance import StoredClasses
from fathomseg.errors import DataError, Problem
from fathomseg.io import draw
from fathomseg.io.label_images import read_values
from fathomseg.io.normal_maps import read_normals, write_normals
from fathomseg.io.npz import read_npz, write_npz

_SURE: Final = 255
_LEVELS: Final = 65535

CONFIDENCE: Final = f"confidence/<id>.png: value / {_SURE}, rounded, 0..1"
SOFT: Final = (
    f"soft/<id>.npz: `classes` (uint8 k h w, indices of `classes.names`) and `probabilities` (uint16 k h w, value / "
    f"{_LEVELS}) of the most probable classes, the first one first; of all classes with a partner they sum to 1"
)


def path_of(folder: Path, id: str, part: str) -> Path:
    """The file that holds a part of a prediction, by the part's name."""
    if part in ("label_classes", "label_probabilities"):
        return folder / "soft" / f"{id}.npz"
    if part.endswith("_confidence"):
        return folder / "confidence" / f"{id}.png"
    return folder / {"label": "ids"}.get(part, part) / f"{id}{'.npz' if part in ('depth', 'disparity') else '.png'}"


def parts_of(gives: str, confidence: bool, soft: bool) -> tuple[str, ...]:
    """The names of the parts a prediction has."""
    more = [f"{gives}_confidence"] if confidence else []
    return (gives, *more, *(["label_classes", "label_probabilities"] if soft else []))


def write_predictions(folder: Path, id: str, prediction: Predictions, classes: StoredClasses | None) -> None:
    """Write all parts of a prediction; each file appears only when complete."""
    for part, values in prediction.items():
        path = path_of(folder, id, part)
        if part == "label":
            assert classes is not None, "labels have classes"
            draw.write(path, classes.label_map.stored(values))
        elif part.endswith("_confidence"):
            draw.write(path, np.rint(_SURE * values).astype(np.uint8))
        elif part == "normals":
            write_normals(path, values)
        elif part in ("depth", "disparity"):
            write_npz(path, **{part: values})
    if "label_classes" in prediction:
        places = np.moveaxis(prediction["label_classes"], 2, 0)
        probabilities = np.rint(_LEVELS * np.moveaxis(prediction["label_probabilities"], 2, 0)).astype(np.uint16)
        write_npz(path_of(folder, id, "label_classes"), classes=places, probabilities=probabilities)


def read_part(folder: Path, id: str, part: str, classes: StoredClasses | None) -> np.ndarray:
    """One part of a stored prediction, as `data.distilled` describes it. Raises `DataError`."""
    path = path_of(folder, id, part)
    if part == "label":
        assert classes is not None, "labels have classes"
        return classes.label_map.read(path)
    if part == "label_classes":
        return np.ascontiguousarray(np.moveaxis(read_npz(path, "classes")[0], 0, 2))
    if part == "label_probabilities":
        stored = np.moveaxis(read_npz(path, "probabilities")[0], 0, 2)
        return np.ascontiguousarray(stored / np.float32(_LEVELS), np.float32)
    if part.endswith("_confidence"):
        return read_values(path) / np.float32(_SURE)
    if part == "normals":
        return read_normals(path)
    values = read_npz(path, part)[0]
    if values.ndim != 2 or values.dtype != np.float32:
        reason = f"holds {values.dtype} of shape {values.shape}; expected float32 of (height, width)"
        raise DataError([Problem(str(path), reason)])
    return values


def is_written(folder: Path, id: str, parts: Collection[str]) -> bool:
    """Whether all files of a prediction exist."""
    return all(path_of(folder, id, part).is_file() for part in parts)
