"""What a page of scores is made of: a section for every task, with its numbers in words and its examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from jaxtyping import Shaped, UInt8
from rich.table import Table
from rich.text import Text

from fathomseg.tasks.scores import Row

WEIGHTS: Final = {
    "ema": "averaged weights (EMA)",
    "last": "last weights",
    "onnx": "exported network",
    "predictions": "stored predictions",
}
"""What is scored, in words."""


@dataclass(frozen=True, slots=True)
class Example:
    """One image with its truth and prediction, all at the size of the truth."""

    id: str
    row: Row
    """The image's own scores."""
    image: UInt8[np.ndarray, "h w 3"]
    truth: Shaped[np.ndarray, "h w *c"]
    prediction: Mapping[str, Shaped[np.ndarray, "h w *_"]]
    """The fields of the prediction."""


@dataclass(frozen=True, slots=True)
class Examples:
    """The images a network does best and worst on."""

    best: Sequence[Example] = ()
    """From the best."""
    worst: Sequence[Example] = ()
    """From the worst."""


NO_EXAMPLES: Final = Examples()


@dataclass(frozen=True, slots=True)
class Card:
    """A headline number and what it means."""

    name: str
    value: str
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Figure:
    """An example as it is shown."""

    id: str
    score: str
    pictures: Sequence[tuple[str, str]]
    """What it shows, and the picture as a data URI."""


@dataclass(frozen=True, slots=True)
class Section:
    """The scores of one task, for the page and for the terminal."""

    title: str
    template: str
    """The part of the page that shows it; finds this section as `section`."""
    headline: str
    """The most usual score, for the page's title."""
    facts: Sequence[str]
    """What was scored."""
    cards: Sequence[Card]
    """The numbers to look at first, the most usual one in front."""
    meaning: Mapping[str, str]
    """What each key of the scores means."""
    shown: Mapping[str, Any]
    """What the template needs beside."""
    settings: Sequence[tuple[str, str]] = ()
    """How it was scored: name and value."""
    figures: Mapping[str, Sequence[Figure]] = field(default_factory=dict)
    """Groups of examples by their title."""
    tables: Sequence[Table] = ()
    """For the terminal."""
    notes: Sequence[str] = ()
    """Below the tables."""


def figures(examples: Examples, figure: Callable[[Example], Figure]) -> dict[str, list[Figure]]:
    """The groups of examples there are, the worst first."""
    groups = {"Worst images": examples.worst, "Best images": examples.best}
    return {title: [figure(one) for one in group] for title, group in groups.items() if group}


def table(first: str, columns: Iterable[str], rows: Iterable[Sequence[str]], title: str | None = None) -> Table:
    """For the terminal: a column of names under `first`, and columns of numbers."""
    made = Table(first, title=None if title is None else Text(title))
    for column in columns:
        made.add_column(Text(column), justify="right")
    for row in rows:
        made.add_row(*map(Text, row))
    return made


def percent(value: float | None, digits: int = 1) -> str:
    """A score 0..1 in per cent; a dash where it is undefined."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def number(value: float | None, digits: int = 3) -> str:
    """A number as text; a dash where it is undefined."""
    return "–" if value is None else f"{value:.{digits}f}"


def thousands(value: int) -> str:
    """12 345 678, with spaces that do not break."""
    return f"{value:,}".replace(",", "\u202f")
