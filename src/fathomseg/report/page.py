"""The report of a segmentation run: one self-contained HTML file, readable on a telephone too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from fathomseg.io import draw
from fathomseg.io.files import write_text
from fathomseg.io.images import resize_image, resize_nearest
from fathomseg.report.examples import Example
from fathomseg.report.html import environment, page_size, read_text, uri
from fathomseg.report.scores import HEADLINES, NAMES
from fathomseg.types import ClassList

_CELLS: Final = 40
"""Classes the confusion matrix shows at most: those with the most labelled pixels."""


def write_page(
    folder: Path,
    result: Mapping[str, Any],
    classes: ClassList,
    best: Sequence[Example],
    worst: Sequence[Example],
    configuration: Path,
) -> Path:
    """Write report.html beside scores.json; `configuration` is the run's file, shown if there is one."""
    path = folder / "report.html"
    write_text(path, render(result, classes, best, worst, read_text(configuration)))
    return path


def render(
    result: Mapping[str, Any],
    classes: ClassList,
    best: Sequence[Example] = (),
    worst: Sequence[Example] = (),
    configuration: str | None = None,
) -> str:
    """The page as text. `result` is what scores.json holds; all text from outside is escaped."""
    scores = result["scores"][next(iter(result["scores"]))]
    return (
        environment()
        .get_template("page.html")
        .render(
            result=result,
            scores=scores,
            title=Path(result["against"] or result["run"]).name,
            headlines=HEADLINES,
            names=NAMES,
            rows=list(zip(scores["classes"], classes.colours, strict=True)),
            matrix=_matrix(scores),
            bins=scores["calibration"],
            groups=[(title, [_pictures(one, classes) for one in group]) for title, group in _groups(best, worst)],
            configuration=configuration,
        )
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


@dataclass(frozen=True, slots=True)
class _Pictures:
    id: str
    miou: float
    pictures: list[tuple[str, str]]
    """What it shows, and the picture as a data URI."""


def _groups(best: Sequence[Example], worst: Sequence[Example]) -> list[tuple[str, Sequence[Example]]]:
    return [(title, group) for title, group in (("Worst images", worst), ("Best images", best)) if group]


def _pictures(example: Example, classes: ClassList) -> _Pictures:
    size = page_size(example.truth.shape)
    image = resize_image(example.image, size)
    truth, prediction = resize_nearest(example.truth, size), resize_nearest(example.prediction, size)
    return _Pictures(
        example.id,
        example.miou,
        [
            ("image", uri(image, ".jpg")),
            ("label", uri(draw.colourise(truth, classes), ".png")),
            ("prediction", uri(draw.colourise(prediction, classes), ".png")),
            ("errors", uri(draw.error_map(prediction, truth, image), ".jpg")),
        ],
    )
