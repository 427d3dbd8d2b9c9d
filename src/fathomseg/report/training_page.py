"""The page of a training: its curves, what its last step saw, its scores, and the cameras it learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fathomseg.engine.logging import METRICS
from fathomseg.io.files import write_text
from fathomseg.report.curves import Log, panels, read_log
from fathomseg.report.depth_colours import disparity_scale, relative_scale
from fathomseg.report.html import environment
from fathomseg.report.links import links_sections
from fathomseg.report.section import Card
from fathomseg.report.step_samples import Samples, all_kinds
from fathomseg.text import read_text
from fathomseg.types import ClassList

PAGE: Final = "report.html"


@dataclass(frozen=True, slots=True)
class LearnedCamera:
    """A camera whose focal length was learned."""

    name: str
    size: str
    """Height x width, as it is stored."""
    began_px: float
    focal_px: float
    fov_deg: float
    """Horizontal field of view, as learned."""


@dataclass(frozen=True, slots=True)
class TrainingPage:
    """All the page shows beside the log."""

    title: str
    steps: int
    dataset: str
    samples: Sequence[Samples]
    classes: ClassList | None
    origin: Mapping[str, Any]
    streams: Mapping[str, int | None] = field(default_factory=dict)
    """By stream how many images it has; None = it is endless."""
    cameras: Sequence[LearnedCamera] = ()
    scores: Sequence[Card] = ()
    """The headline of every task that was scored."""
    evaluation: str | None = None
    """The page of these scores, from the folder of this one."""


def write_training_page(folder: Path, page: TrainingPage, configuration: Path) -> Path:
    """Write report.html into the folder of a run, whose log it shows; returns its path."""
    path = folder / PAGE
    text = read_text(configuration) if configuration.is_file() else None
    write_text(path, render(page, read_log(folder / METRICS), links_sections(folder / METRICS), text))
    return path


def render(page: TrainingPage, log: Log, links: Sequence[Any] = (), configuration: str | None = None) -> str:
    """The page as text; all text from outside is escaped."""
    return (
        environment()
        .get_template("training.html")
        .render(
            page=page,
            cards=[*page.scores, *_cards(page, log)],
            losses=panels(log.losses),
            of_steps=panels(log.of_steps),
            scores=panels(log.scores),
            links=links,
            kinds=all_kinds(page.samples),
            classes=[] if page.classes is None else list(zip(page.classes.names, page.classes.colours, strict=True)),
            relative=relative_scale(),
            disparity=disparity_scale(),
            configuration=configuration,
        )
    )


def _cards(page: TrainingPage, log: Log) -> list[Card]:
    """What it cost, and how the losses moved."""
    cards = [Card("training", f"{page.steps}", "steps", f"{log.minutes:.1f} minutes of training")]
    for name, series in list(log.losses.items())[:2]:
        first, last = series.values[0], series.values[-1]
        if len(series.values) > 1:
            cards.append(Card(f"loss {name}", f"{last:.3g}", "", f"{first:.3g} in the first line of the log"))
    return cards
