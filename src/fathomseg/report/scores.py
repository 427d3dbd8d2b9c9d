"""Scores as files for programs (scores.json, images.csv) and as tables for the terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from fathomseg.io.files import write_text
from fathomseg.report.section import Section
from fathomseg.tasks.scores import Row

Rows = Mapping[str, Mapping[str, Mapping[str, Row]]]
"""By weights, task and image id an image's own scores."""


def write_scores(folder: Path, result: Mapping[str, Any], ids: Sequence[str], rows: Rows) -> None:
    """Write scores.json and images.csv: a row for each image that has scores, a column for each weights and measure."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "scores.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    columns: dict[str, dict[str, Any]] = {}
    for weights, tasks in rows.items():
        for by_id in tasks.values():
            for id, row in by_id.items():
                for name, value in _flat(row):
                    columns.setdefault(f"{name}_{weights}", {})[id] = value
    scored = set().union(*columns.values())
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["id", *columns])
    writer.writerows([id, *(column.get(id) for column in columns.values())] for id in ids if id in scored)
    write_text(folder / "images.csv", table.getvalue())


def show(result: Mapping[str, Any], sections: Sequence[Section], out: Path, console: Console | None = None) -> None:
    """Print the tables of every task, and what they were taken over."""
    console = console or Console()
    for table in (table for section in sections for table in section.tables):
        if table.title is not None:
            table.title = Text(f"{result['dataset']} {result['split']}: {table.title}")
        console.print(table)
    notes = [*(note for section in sections for note in section.notes), f"Written to {out}"]
    console.print("\n".join(notes), highlight=False, soft_wrap=True, markup=False)


def _flat(row: Row, group: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers of a row by name, those of a group with its name behind: abs_rel_median."""
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"_{name}")
        else:
            yield f"{name}{group}", value
