"""`fathom predict`: segment an image, a folder of images and videos, or a video; or tell its depth (predict_depth.py).

OUT/ids/<path>.png         class index of every pixel, 8-bit grey, at the size of the (upright) image
OUT/overlays/<path>.jpg    the class colours over the image
OUT/classes.json           what the indices mean
of a video:  OUT/ids/<path>/<frame>.png  and  OUT/overlays/<path>.mp4
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8

from fathomseg.errors import FathomError
from fathomseg.inference.card import WEIGHTS
from fathomseg.inference.predict_folder import Places, find_jobs, work_off
from fathomseg.inference.predictor import Predictor, load, trained_inference
from fathomseg.io import draw
from fathomseg.io.files import write_text
from fathomseg.stages import predict_depth
from fathomseg.stages.evaluation import is_depth_run
from fathomseg.types import ClassList

PLACES: Final = Places(values="ids", views="overlays")


def run(
    run: str,
    source: str,
    out: str,
    *,
    weights: str,
    mode: str | None,
    flip: bool = False,
    overlay: bool,
    overwrite: bool,
    device: str | None,
    depth: bool = False,
) -> int:
    """Predict everything in `source` into the folder `out`; returns 1 if some files could not be used, else 0.

    Classes, or depth if asked for or if the run gives nothing else; `flip` averages with the mirrored picture's. What
    is already there is kept unless `overwrite`. A file that cannot be read stops nothing: it is listed at the end.
    """
    kind = next((name for name in WEIGHTS if name == weights), None)
    if kind is None:
        raise FathomError(f"There are no weights {weights!r}; choose from {', '.join(WEIGHTS)}.")
    if depth or is_depth_run(Path(run)):
        if mode is not None:
            raise FathomError("Depth is predicted for the whole image; leave out --mode.")
        return predict_depth.run(
            run, source, out, weights=kind, flip=flip, view=overlay, overwrite=overwrite, device=device
        )
    jobs, problems = find_jobs(Path(source), Path(out), PLACES, overlay)
    predictor = load(run, kind, device, trained_inference(Path(run), mode, flip))
    write_classes(Path(out), predictor.classes)
    return work_off(jobs, problems, Segmenting(predictor), out, overwrite, "segmenting", "segmented")


@dataclass(frozen=True)
class Segmenting:
    """Classes of pictures."""

    predictor: Predictor

    def begin(self) -> None:
        """Every picture stands for itself."""

    def predict(self, picture: UInt8[np.ndarray, "h w 3"]) -> Segmented:
        """The class of every pixel."""
        return Segmented(picture, self.predictor.predict(picture).label, self.predictor.classes)


@dataclass(frozen=True)
class Segmented:
    """A picture and its classes."""

    picture: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]
    classes: ClassList

    def write(self, path: Path) -> None:
        """Class indices as 8-bit grey."""
        draw.write(path, self.label)

    def view(self) -> UInt8[np.ndarray, "h w 3"]:
        """The class colours over the picture."""
        return draw.overlay(self.picture, self.label, self.classes)


def write_classes(out: Path, classes: ClassList) -> None:
    """Write classes.json: index, name and colour (RGB) of every class."""
    out.mkdir(parents=True, exist_ok=True)
    pairs = zip(classes.names, classes.colours, strict=True)
    rows = [{"index": i, "name": name, "colour": colour} for i, (name, colour) in enumerate(pairs)]
    write_text(out / "classes.json", json.dumps({"classes": rows}, indent=1, ensure_ascii=False) + "\n")
