"""The report of an evaluation: one self-contained HTML file with a section for every task, readable on a phone too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fathomseg.data.datasets.base import Dataset
from fathomseg.evaluation.motion import Drive
from fathomseg.io.files import write_text
from fathomseg.report.depth import depth_section
from fathomseg.report.html import environment
from fathomseg.report.motion import motion_section
from fathomseg.report.multitask import multitask_section
from fathomseg.report.normals import normals_section
from fathomseg.report.plain import plain_section
from fathomseg.report.scenes import scenes_section
from fathomseg.report.section import NO_EXAMPLES, WEIGHTS, Examples, Section
from fathomseg.report.segmentation import segmentation_section
from fathomseg.text import read_text

PAGE: Final = "report.html"
"""What the page is called."""

SECTIONS: Final[Mapping[str, Callable[[Mapping[str, Mapping[str, Any]], Dataset, Examples], Section]]] = {
    "segmentation": segmentation_section,
    "depth": depth_section,
    "normals": normals_section,
}
"""By `Task.section` what makes it, from a task's scores by weights, the dataset, and examples."""


def sections(
    result: Mapping[str, Any],
    dataset: Dataset,
    examples: Mapping[str, Examples] | None = None,
    drives: Sequence[Drive] = (),
) -> list[Section]:
    """A section for each task that was scored, one for camera motion, one for a scene model, and one for baselines.
    `result` is what scores.json holds; before it had `sections`, tasks were called as theirs."""
    scores, kinds, found = result["scores"], result.get("sections", {}), list[Section]()
    names = dict.fromkeys(name for tasks in scores.values() for name in tasks)
    for kind, section in SECTIONS.items():
        for number, name in enumerate(name for name in names if kinds.get(name, name) == kind):
            by_weights = {weights: tasks[name] for weights, tasks in scores.items() if name in tasks}
            made = section(by_weights, dataset, (examples or {}).get(name, NO_EXAMPLES))
            found.append(replace(made, title=name) if number else made)
    for name in (name for name in names if kinds.get(name, name) not in SECTIONS):
        by_weights = {weights: tasks[name] for weights, tasks in scores.items() if name in tasks}
        found.append(plain_section(name, by_weights, result["meaning"].get(name, {})))
    if result["motion"]:
        found.append(motion_section(result["motion"], drives))
    if result.get("scenes"):
        found.append(scenes_section(result["scenes"]))
    return [*found, multitask_section(result["delta_m"])] if result.get("delta_m") else found


def write_page(folder: Path, result: Mapping[str, Any], sections: Sequence[Section], configuration: Path) -> Path:
    """Write report.html beside scores.json; `configuration` is the run's file, shown if there is one."""
    path = folder / PAGE
    text = read_text(configuration) if configuration.is_file() else None
    write_text(path, render(result, sections, text))
    return path


def render(result: Mapping[str, Any], sections: Sequence[Section], configuration: str | None = None) -> str:
    """The page as text; all text from outside is escaped."""
    return (
        environment()
        .get_template("page.html")
        .render(
            result=result,
            sections=sections,
            title=Path(result["against"] or result["run"]).name,
            weights=WEIGHTS,
            configuration=configuration,
        )
    )
