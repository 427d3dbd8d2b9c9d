"""The report: one HTML file with everything inside, readable without a network and on a telephone."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined

from fathomseg import draw
from fathomseg.data.base import ClassList
from fathomseg.data.images import resize_image, resize_nearest
from fathomseg.report.examples import Example
from fathomseg.report.scores import HEADLINES, NAMES, percent, write_text

_WIDTH: Final = 480
"""Pixels across a picture in the page."""

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
    text = configuration.read_text(encoding="utf-8") if configuration.is_file() else None
    write_text(path, render(result, classes, best, worst, text))
    return path


def render(
    result: Mapping[str, Any],
    classes: ClassList,
    best: Sequence[Example] = (),
    worst: Sequence[Example] = (),
    configuration: str | None = None,
) -> str:
    """The page as text. `result` is what scores.json holds; all text from outside is escaped."""
    environment = Environment(
        loader=PackageLoader("fathomseg.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, colour=_colour, thousands=_thousands)
    scores = result["scores"][next(iter(result["scores"]))]
    return environment.get_template("page.html").render(
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
    height, width = example.truth.shape
    size = (max(1, round(height * _WIDTH / width)), _WIDTH) if width > _WIDTH else (height, width)
    image = resize_image(example.image, size)
    truth, prediction = resize_nearest(example.truth, size), resize_nearest(example.prediction, size)
    return _Pictures(
        example.id,
        example.miou,
        [
            ("image", _uri(image, ".jpg")),
            ("label", _uri(draw.colourise(truth, classes), ".png")),
            ("prediction", _uri(draw.colourise(prediction, classes), ".png")),
            ("errors", _uri(draw.error_map(prediction, truth, image), ".jpg")),
        ],
    )


def _uri(picture: UInt8[np.ndarray, "h w 3"], suffix: str) -> str:
    kind = {".jpg": "jpeg", ".png": "png"}[suffix]
    return f"data:image/{kind};base64,{base64.b64encode(draw.encode(picture, suffix)).decode()}"


def _colour(rgb: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def _thousands(number: int) -> str:
    """12 345 678, with spaces that do not break."""
    return f"{number:,}".replace(",", "\u202f")
