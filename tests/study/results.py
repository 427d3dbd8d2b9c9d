"""A small study with results made up by hand, for the tests of table and plot."""

from __future__ import annotations

from fathomseg.study.folder import Record
from fathomseg.study.table import Cell, grid

CELLS = grid({"plain": [10, "all"], "mixed": [10]}, [0, 1, 2])
SCORES = {
    ("plain", 10): [40.0, 44.0, 42.0],
    ("plain", "all"): [50.0, 55.0, 60.0],
    ("mixed", 10): [45.0, 50.0, 50.0],
}


def record(cell: Cell, **others: object) -> Record:
    score = SCORES[cell.arm, cell.budget][cell.seed]
    known = {"arm": cell.arm, "budget": cell.budget, "seed": cell.seed, "miou": score, "commit": "abc123"}
    return {**known, "images": 367 if cell.budget == "all" else 10, "minutes": 2.0, "cpu_minutes": 1.5, **others}


RECORDS = {cell: record(cell) for cell in CELLS}
