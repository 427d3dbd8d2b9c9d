"""What a study shows: a table for the terminal, and results.json, .md, .svg and .png, whole after every cell."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fathomseg.io.chart import png, svg
from fathomseg.io.files import write_bytes, write_text
from fathomseg.study.folder import SETTINGS, JobFolder
from fathomseg.study.plot import label_efficiency
from fathomseg.study.sheets import Sheet, sheets, with_classes
from fathomseg.study.table import Cell, Record, Row, reference, rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHAT = "mIoU (%) over the classes present, averaged weights after the last step, at the native size of the labels"

WHAT_ELSE = "Scores of the averaged weights after the last step"

SPREAD = "± is the sample standard deviation over seeds."

STATISTICS = (
    f"{SPREAD} Differences to the baseline are paired by seed, with 95 % "
    "intervals of Student's t; p is that of the paired t test, Holm-corrected for all comparisons of the table. "
    "`*`: p < 0.05. With fewer than 3 seeds no p is given. `% of all`, with several budgets, is the mIoU in per "
    "cent of the baseline's with its largest budget and the same seed."
)

DELTA_M = (
    "Delta_m: per cent by which the tasks are better (> 0) on average than in the arm each is compared with, at the "
    "same budget and seed (Maninis et al. 2019):"
)

_PATH: Final = re.compile(
    r"(?<![\w.:/\\~-])(?:~|\.\.|[A-Za-z]:)?(?:[/\\](?:[\w.@+~-]+[/\\])+|(?<=~)[/\\]|(?<=\.\.)[/\\])([\w.@+~-]+)"
)
"""Somewhere in a text: an absolute path of two parts or more, or one that begins with ~ or .. ; group 1 is its name."""

_MARK: Final = r"PATH/TO/\1"


@dataclass(frozen=True)
class Report:
    """The results of a study so far."""

    title: str
    titles: Mapping[str, str]
    """How each arm is called."""
    baseline: str
    cells: Sequence[Cell]
    records: Mapping[Cell, Record]
    failed: Mapping[Cell, str]
    singles: Mapping[str, str] = field(default_factory=dict)
    """By task the arm that Delta_m compares it with; empty = no Delta_m."""

    @property
    def rows(self) -> list[Row]:
        """The table."""
        return rows(self.cells, self.records, self.failed, self.baseline, self.singles)

    def tree(self, study: Mapping[str, Any], origin: Mapping[str, Any]) -> dict[str, Any]:
        """Everything, for programs; without paths of this machine."""
        tree = {
            "what": self.what,
            "statistics": self.statistics,
            "study": study,
            "baseline": self.baseline,
            "reference": {"arm": self.baseline, "budget": reference(self.cells, self.baseline)},
            "cells_wanted": len(self.cells),
            "seeds": sorted({cell.seed for cell in self.cells}),
            "commits": sorted({str(record["commit"]) for record in self.records.values()}),
            "rows": [{**asdict(row), "verdict": row.verdict} for row in self.rows],
            "cells": [{k: v for k, v in record.items() if k != SETTINGS} for record in self.records.values()],
            "failed": [{**asdict(cell), "error": error} for cell, error in self.failed.items()],
            "origin": origin,
        }
        recipes = {cell.arm: record[SETTINGS] for cell, record in self.records.items() if SETTINGS in record}
        found: dict[str, Any] = redact_paths({**_rounded(tree), "recipes": recipes})
        return found

    def markdown(self, origin: Mapping[str, Any]) -> str:
        """A page with the table, the plot and where it all comes from."""
        lines = [
            f"# {self.title}",
            "",
            f"{self.what}. {len(self.records)} of {len(self.cells)} trainings are finished.",
            "",
        ]
        for number, sheet in enumerate(self.sheets):
            lines += [f"{sheet.title}, mean ± spread over seeds:", ""] if number else []
            lines += [*_rows_of(sheet), ""]
        if self.with_classes:
            lines += ["![mIoU against the number of labelled images](results.svg)", ""]
        lines += [self.statistics, ""]
        if self.singles:
            lines += [f"{DELTA_M} {', '.join(f'{t} of `{arm}`' for t, arm in self.singles.items())}.", ""]
        if self.failed:
            found = [f"- `{cell}`: {_cell(redact_paths(error, 'error'))}" for cell, error in self.failed.items()]
            lines += ["Failed:", "", *found, ""]
        machine = origin.get("gpu") or origin.get("processor") or origin.get("machine")
        commits = ", ".join(sorted({str(record["commit"]) for record in self.records.values()})) or "none yet"
        command = " ".join(redact_paths(list(origin.get("command", ()))))
        lines += [f"`{command}`, {origin.get('date')}, {machine}, commits of the trainings: {commits}.", ""]
        return "\n".join(lines)

    def show(self, console: Console) -> None:
        """Print the tables, but for the one of classes, and what failed."""
        for sheet in self.sheets:
            if sheet.wide:
                continue
            table = Table(title=Text(f"{self.title}: {sheet.title}"))
            for i, column in enumerate(sheet.columns):
                table.add_column(Text(column), justify="right" if i else "left")
            for cells in sheet.cells:
                table.add_row(*(Text(cell) for cell in cells))
            console.print(table)
        for cell, error in self.failed.items():
            console.print(f"failed: {cell}: {error}", markup=False, highlight=False, soft_wrap=True)

    def write(self, folder: JobFolder, study: Mapping[str, Any], origin: Mapping[str, Any]) -> None:
        """Write results.json, results.md, results.svg and results.png; each is always whole."""
        path = folder.path / "results.json"
        write_text(path, json.dumps(self.tree(study, origin), indent=1, allow_nan=False) + "\n")
        write_text(path.with_suffix(".md"), self.markdown(origin))
        drawing = self.plot()
        write_text(path.with_suffix(".svg"), svg(drawing))
        write_bytes(path.with_suffix(".png"), png(drawing))

    def plot(self, titled: bool = True) -> Figure:
        """The label-efficiency plot, with the title over it or without."""
        table, full = self.rows, reference(self.cells, self.baseline)
        whole = next((row for row in table if (row.arm, row.budget) == (self.baseline, full)), None)
        return label_efficiency(table, self.records, self.titles, self.title if titled else "", whole)

    @property
    def sheets(self) -> list[Sheet]:
        """The tables as text: of the mIoU, of the scores of other tasks, and of classes."""
        return sheets(self.rows, dict(self.titles), bool(self.singles))

    @property
    def with_classes(self) -> bool:
        """Whether there is an mIoU, or may be one yet: not in a study of depth alone."""
        return with_classes(self.rows)

    @property
    def what(self) -> str:
        """What the tables show."""
        return WHAT if self.with_classes else WHAT_ELSE

    @property
    def statistics(self) -> str:
        """What the numbers mean."""
        return STATISTICS if self.with_classes else SPREAD


def _rows_of(sheet: Sheet) -> list[str]:
    """A table in Markdown."""
    lines = [
        "| " + " | ".join(sheet.columns) + " |",
        "|" + "|".join(["---", *["---:"] * (len(sheet.columns) - 1)]) + "|",
    ]
    return lines + ["| " + " | ".join(map(_cell, cells)) + " |" for cells in sheet.cells]


def _cell(text: str) -> str:
    """Text that stays inside one cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def _rounded(value: Any) -> Any:
    """Numbers with the digits that mean something: four after the point, three of those that are small."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 4) if abs(value) >= 0.1 else float(f"{value:.3g}")
    return value


def redact_paths(value: Any, key: str = "") -> Any:
    """The same tree of mappings, lists and values, with PATH/TO/name for every path outside the working folder.

    Whatever a setting `root` holds is taken for such a path, since it says where somebody keeps the data. What
    is called `error` is prose, where a path ends at a space; anywhere else it may have spaces in it.
    """
    if isinstance(value, dict):
        return {name: redact_paths(inner, name) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_paths(inner, key) for inner in value]
    if not isinstance(value, str) or key == "error":
        return _PATH.sub(_MARK, value) if isinstance(value, str) else value
    setting, equals, given = value.partition("=")
    if equals and " " not in setting:  # of a command line
        return f"{setting}={redact_paths(given, setting.rpartition('.')[2])}"
    if key == "root" or PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute():
        return f"PATH/TO/{PureWindowsPath(value).name}"
    return _PATH.sub(_MARK, value)
