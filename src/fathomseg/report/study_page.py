"""The page of a study: its table, the label-efficiency plot, and what every arm predicts on the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8

from fathomseg.data.datasets.base import Dataset
from fathomseg.errors import DataError
from fathomseg.io import draw
from fathomseg.io.chart import svg
from fathomseg.io.images import resize_image, resize_nearest
from fathomseg.report.depth_colours import relative_picture, relative_scale
from fathomseg.report.html import environment, page_size, uri
from fathomseg.report.section import Figure
from fathomseg.study.report import DELTA_M, Report
from fathomseg.types import ClassList, Prediction

PAGE: Final = "results.html"


@dataclass(frozen=True, slots=True)
class ArmPictures:
    """What the arms predict, image by image."""

    figures: Sequence[Figure]
    what: str
    """Which trainings predict, or why none does."""
    classes: ClassList | None
    depth: bool


def render_study(report: Report, pictures: ArmPictures | None, origin: Mapping[str, Any]) -> str:
    """The page as text; all text from outside is escaped."""
    return (
        environment()
        .get_template("study.html")
        .render(
            report=report,
            sheets=report.sheets,
            plot=svg(report.plot(titled=False), inline=True) if report.with_classes else None,
            pictures=pictures,
            classes=[]
            if pictures is None or pictures.classes is None
            else list(zip(pictures.classes.names, pictures.classes.colours, strict=True)),
            relative=relative_scale(),
            what=report.what,
            statistics=report.statistics.replace("`", ""),
            delta_m=DELTA_M,
            origin=origin,
        )
    )


Predict = Callable[[UInt8[np.ndarray, "h w 3"]], Prediction]
"""What an arm makes of an image, for example `Predictor.predict`."""


def arm_pictures(dataset: Dataset, ids: Sequence[str], arms: Mapping[str, Predict], what: str) -> ArmPictures:
    """An image, what every arm makes of it, and the truth, as far as there is one; an image that cannot be read is
    passed over."""
    figures, deep, labelled = [], False, False
    for id in ids:
        try:
            image, truth = dataset.image(id), dataset.label(id)
        except DataError:
            continue
        size = page_size((image.shape[0], image.shape[1]))
        pictures = [("image", uri(resize_image(image, size), ".jpg"))]
        for title, predict in arms.items():
            prediction = predict(image)
            if prediction.label is not None:
                labelled = True
                label = draw.colourise(resize_nearest(prediction.label, size), dataset.classes)
                pictures.append((title, uri(label, ".png")))
            elif prediction.depth is not None:
                deep = True
                pictures.append((title, uri(resize_image(relative_picture(prediction.depth), size), ".png")))
        if truth is not None and labelled:
            pictures.append(("truth", uri(draw.colourise(resize_nearest(truth, size), dataset.classes), ".png")))
        figures.append(Figure(id, "", pictures))
    return ArmPictures(figures, what, dataset.classes if labelled else None, deep)
