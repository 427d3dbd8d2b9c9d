"""The folder of a study: which files a cell has, and what they say about its state."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fathomseg.io.files import write_text
from fathomseg.study.grid import Cell

Record = dict[str, Any]
"""What is known of a finished cell: its place in the grid, its scores in per cent, minutes, commit, machine."""

SETTINGS, LABELLED_HASH = "settings", "labelled"
"""Keys of a record: settings of the training by dotted key, the same for all of an arm; which images had labels."""


class StudyFolder:
    """Files below `path`: `runs/CELL/` (the run), and in `cells/` its log, its costs, and its result or its error.

    A cell is finished when `cells/CELL.json` is there. Nothing appears under its name before it is complete.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, cell: Cell) -> Path:
        """The run folder."""
        return self.path / "runs" / str(cell)

    def log(self, cell: Cell) -> Path:
        """What the training printed, all attempts after one another."""
        return self.path / "cells" / f"{cell}.log"

    def record(self, cell: Cell) -> Record | None:
        """The result; None while there is none."""
        return _read(self._record(cell))

    def finish(self, cell: Cell, record: Record) -> None:
        """Write the result."""
        write_json(self._record(cell), record)

    def failure(self, cell: Cell) -> str | None:
        """Why the cell failed; None if it did not."""
        told = _read(self._failure(cell))
        return None if told is None else str(told["error"])

    def fail(self, cell: Cell, error: str) -> None:
        """Note that the cell failed; it is not tried again before `forgive`."""
        write_json(self._failure(cell), {"error": error})

    def forgive(self, cell: Cell) -> None:
        """Forget that the cell failed."""
        self._failure(cell).unlink(missing_ok=True)

    def settled(self, cell: Cell) -> bool:
        """Whether there is nothing to do: the cell is finished or failed."""
        return self._record(cell).is_file() or self._failure(cell).is_file()

    def spend(self, cell: Cell, minutes: float, cpu_minutes: float) -> None:
        """Note what an attempt has cost, however it ended."""
        path = self._costs(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([minutes, cpu_minutes]) + "\n")

    def spent(self, cell: Cell) -> tuple[float, float] | None:
        """Minutes and CPU minutes of all attempts; None if they are not known."""
        if not self._costs(cell).is_file():
            return None
        attempts = [json.loads(line) for line in self._costs(cell).read_text(encoding="utf-8").splitlines()]
        return sum(minutes for minutes, _ in attempts), sum(cpu for _, cpu in attempts)

    def records(self, cells: Iterable[Cell]) -> dict[Cell, Record]:
        """The results there are."""
        return {cell: record for cell in cells if (record := self.record(cell)) is not None}

    def failures(self, cells: Iterable[Cell]) -> dict[Cell, str]:
        """The cells that failed, and why."""
        return {cell: error for cell in cells if (error := self.failure(cell)) is not None}

    def _record(self, cell: Cell) -> Path:
        return self.path / "cells" / f"{cell}.json"

    def _failure(self, cell: Cell) -> Path:
        return self.path / "cells" / f"{cell}.failed.json"

    def _costs(self, cell: Cell) -> Path:
        return self.path / "cells" / f"{cell}.minutes.jsonl"


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file that appears under its name only when complete."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _read(path: Path) -> Record | None:
    try:
        found: Record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found
