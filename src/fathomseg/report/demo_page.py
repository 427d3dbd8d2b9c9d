"""The page a demo ends with: one self-contained HTML file, readable on a telephone too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fathomseg.demo.folder import Result
from fathomseg.demo.pictures import Pictures, Strip
from fathomseg.demo.plan import LABELS, Row, Task
from fathomseg.report.depth_colours import metric_scale
from fathomseg.report.html import environment, uri
from fathomseg.study.folder import Spent
from fathomseg.types import ClassList

PAGE: Final = "report.html"

OWN_DATA: Final = """\
fathom check mydata
fathom pretrain own-data/depth data.root=mydata --out runs/depth
fathom select own-data/select data.root=mydata --budget 50 --out selected
# label selected/images with CVAT or Label Studio, export, then (docs/annotation.md):
fathom import-labels job.zip --selection selected --out mydata
fathom train own-data/semi-supervised data.root=mydata --out runs/mine
fathom evaluate runs/mine
fathom predict runs/mine mydata/videos --out predictions"""
"""The same with one's own videos, of which nothing is labelled yet; tests/docs/test_every_command.py runs it."""


@dataclass(frozen=True, slots=True)
class DemoPage:
    """All the page shows."""

    rows: Sequence[Result]
    tasks: Sequence[tuple[Task, Spent]]
    pictures: Pictures
    classes: ClassList
    abs_rel: float
    """Error of the learned depth."""
    asked: Mapping[str, Any]
    origin: Mapping[str, Any]
    tiles: tuple[Tiles, Tiles] | None = None
    """Of the chosen and of the random images."""
    labels: int = LABELS
    """Labelled images of each row."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Some images by what the criterion measures: distances of the strangest cell, in the features it compares."""

    new: Sequence[float | None]
    """Of each image to those before it; None of the first."""
    left: float
    """Of the pool to all of them together: the largest one."""


def render(page: DemoPage) -> str:
    """The page as text, which needs no other file."""
    pictures = page.pictures
    bars, zero = _bars(page.rows)
    return (
        environment()
        .get_template("demo.html")
        .render(
            page=page,
            classes=_classes(page),
            depth=[_strip(one) for one in pictures.depth],
            picked=_picked(page),
            mix=_strip(pictures.mix),
            predictions=[_strip(one) for one in pictures.predictions],
            bars=bars,
            zero=zero,
            depth_scale=metric_scale(),
            minutes=sum(spent.minutes for _, spent in page.tasks),
            cpu_minutes=sum(spent.cpu_minutes for _, spent in page.tasks),
            own_data=OWN_DATA,
        )
    )


@dataclass(frozen=True, slots=True)
class _Bar:
    """The gain of a row over the first one, as it is drawn: per cent of the width."""

    row: Row
    miou: float
    gain: float
    left: float
    width: float


def _bars(rows: Sequence[Result]) -> tuple[list[_Bar], float]:
    """A bar from the first row's mIoU for each row, and where that lies: differences of a point must be seen."""
    gains = [one.gain for one in rows]
    low, high = min(0.0, *gains), max(0.0, *gains)
    span = 1.08 * max(high - low, 0.01)
    zero = 100 * (0.04 * span - low) / span
    places = [zero + 100 * gain / span for gain in gains]
    bars = [
        _Bar(one.row, one.miou, one.gain, min(zero, place), abs(place - zero))
        for one, place in zip(rows, places, strict=True)
    ]
    return bars, zero


def _strip(strip: Strip) -> tuple[str, list[tuple[str, str]]]:
    """Its title, and what each picture shows with the picture as text."""
    return strip.title, [(words, uri(picture, ".jpg")) for words, picture in strip.cells]


@dataclass(frozen=True, slots=True)
class _Picked:
    """Twelve images, and what the criterion says of them."""

    words: str
    title: str
    cells: list[tuple[str, str, str]]
    """Id, picture, and how new it is."""
    left: float | None


def _picked(page: DemoPage) -> list[_Picked]:
    strips = {"chosen, in their order": page.pictures.chosen, "random": page.pictures.random}
    found = []
    for (words, strip), tiles in zip(strips.items(), page.tiles or (None, None), strict=True):
        title, cells = _strip(strip)
        new = [None] * len(cells) if tiles is None else tiles.new
        texts = ["" if value is None else f"new by {value:.1f}" for value in new]
        shown = [(id, picture, text) for (id, picture), text in zip(cells, texts, strict=True)]
        found.append(_Picked(words, title, shown, None if tiles is None else tiles.left))
    return found


def _classes(page: DemoPage) -> list[tuple[str, tuple[int, int, int], list[float | None], float | None]]:
    """Name, colour and IoU in every row of the classes there are, and the last row's gain over the first."""
    columns = [one.scores["classes"] for one in page.rows]
    lines = []
    for name, colour, *cells in zip(page.classes.names, page.classes.colours, *columns, strict=True):
        values = [cell["iou"] for cell in cells]
        gain = None if values[0] is None or values[-1] is None else values[-1] - values[0]
        lines.append((name, colour, values, gain))
    return lines
