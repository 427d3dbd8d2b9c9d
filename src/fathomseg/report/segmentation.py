"""The section on segmentation: IoU by class, confusions, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from rich.table import Table

from fathomseg.data.datasets.base import Dataset
from fathomseg.io import draw
from fathomseg.io.images import resize_image, resize_nearest
from fathomseg.metrics.segmentation import MEANING
from fathomseg.report.html import page_size, uri
from fathomseg.report.section import (
    NO_EXAMPLES,
    WEIGHTS,
    Card,
    Example,
    Examples,
    Figure,
    Section,
    figures,
    percent,
    table,
    thousands,
)
from fathomseg.types import ClassList

HEADLINES: Final = {
    "miou": "mIoU",
    "miou_shared": "mIoU, shared classes",
    "boundary_miou": "boundary mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_class_accuracy": "mean class accuracy",
    "frequency_weighted_iou": "frequency-weighted IoU",
    "ece": "calibration error",
}
"""The scores of a whole dataset, in the order they are shown, and their names."""

_CELLS: Final = 40
"""Classes the confusion matrix shows at most: those with the most labelled pixels."""


def segmentation_section(
    scores: Mapping[str, Mapping[str, Any]], dataset: Dataset, examples: Examples = NO_EXAMPLES
) -> Section:
    """The section of `SegmentationScores.result()` by weights, the first ones in full."""
    (weights, first), classes = next(iter(scores.items())), dataset.classes
    headlines = {key: name for key, name in HEADLINES.items() if key in first}
    present = f"{first['classes_present']} of {len(first['classes'])} classes"
    return Section(
        title="Segmentation",
        template="segmentation.html",
        headline=f"mIoU {percent(first['miou'])} %",
        facts=[f"{thousands(first['images'])} images", f"{thousands(first['pixels'])} labelled pixels"],
        cards=[
            Card(name, percent(first[key]), "%", MEANING[key])
            for key, name in headlines.items()
            if first[key] is not None or key == "miou"
        ],
        meaning=MEANING,
        shown={
            "all": scores,
            "scores": first,
            "headlines": headlines,
            "present": present,
            "rows": list(zip(first["classes"], classes.colours, strict=True)),
            "matrix": _matrix(first),
            "bins": first["calibration"],
        },
        figures=figures(examples, lambda example: _figure(example, classes)),
        tables=[_class_table(first, f"{WEIGHTS[weights]}, per cent"), _headline_table(scores)],
        notes=[f"mIoU is the mean over the {present} present in the ground truth of the {first['images']} images."],
    )


@dataclass(frozen=True, slots=True)
class _Matrix:
    """The confusion matrix as it is drawn: the largest classes, and the share of each true class in a cell."""

    names: list[str]
    rows: list[tuple[str, list[tuple[float, int]]]]
    left_out: int


def _matrix(scores: Mapping[str, Any]) -> _Matrix:
    counts = np.array(scores["confusion"], dtype=np.int64)
    seen = counts.sum(0) + counts.sum(1) > 0
    largest = np.argsort(-counts.sum(1), kind="stable")[:_CELLS]
    shown = [i for i in range(len(counts)) if seen[i] and i in set(largest.tolist())]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [row["name"] for row in scores["classes"]]
    rows = [(names[i], [(float(shares[i, j]), int(counts[i, j])) for j in shown]) for i in shown if counts[i].any()]
    return _Matrix([names[j] for j in shown], rows, int(seen.sum()) - len(shown))


def _figure(example: Example, classes: ClassList) -> Figure:
    size = page_size(example.truth.shape)
    image = resize_image(example.image, size)
    truth, prediction = (resize_nearest(label, size) for label in (example.truth, example.prediction["label"]))
    pictures = [
        ("image", uri(image, ".jpg")),
        ("label", uri(draw.colourise(truth, classes), ".png")),
        ("prediction", uri(draw.colourise(prediction, classes), ".png")),
        ("errors", uri(draw.error_map(prediction, truth, image), ".jpg")),
    ]
    return Figure(example.id, f"{percent(example.row['miou'])} %", pictures)


def _class_table(scores: Mapping[str, Any], title: str) -> Table:
    total = max(1, scores["pixels"])
    rows = [
        [row["name"], *map(percent, (row["pixels"] / total, row["iou"], row["boundary_iou"], row["accuracy"]))]
        for row in scores["classes"]
    ]
    return table("class", ("pixels", "IoU", "boundary IoU", "accuracy"), rows, title)


def _headline_table(scores: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        [title, *(percent(one.get(key), 2) for one in scores.values())]
        for key, title in HEADLINES.items()
        if any(key in one for one in scores.values())
    ]
    return table("score, per cent", (WEIGHTS[name] for name in scores), rows)
