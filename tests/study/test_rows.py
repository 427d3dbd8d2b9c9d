"""Rows of the table, worked out by hand."""

from __future__ import annotations

import math

import pytest

from fathomseg.study.table import Cell, Row, grid, reference, rows
from tests.study.results import CELLS, RECORDS, record


def table(**changes: object) -> dict[tuple[str, object], Row]:
    given = {"cells": CELLS, "records": RECORDS, "failed": {}, "baseline": "plain", **changes}
    return {(row.arm, row.budget): row for row in rows(**given)}  # type: ignore[arg-type]


def test_the_grid_has_every_cell_once_whole_seeds_first() -> None:
    assert [str(cell) for cell in CELLS[:3]] == ["plain-10-0", "mixed-10-0", "plain-all-0"]
    assert len(CELLS) == len(set(CELLS)) == 9
    assert [cell.seed for cell in CELLS] == [0] * 3 + [1] * 3 + [2] * 3
    ordered = [cell.budget for cell in grid({"a": ["all", 100, 9]}, [0])]
    assert ordered == [9, 100, "all"]


def test_means_and_spread() -> None:
    row = table()["plain", 10]
    assert row.score is not None
    assert (row.score.n, row.score.mean, row.score.spread) == (3, 42.0, 2.0)
    assert (row.wanted, row.failed, row.images) == (3, 0, 10)
    assert row.minutes is not None
    assert row.minutes.mean == 2.0
    assert row.against is None
    assert row.verdict is None


def test_differences_are_paired_by_seed() -> None:
    row = table()["mixed", 10]
    assert row.against is not None
    assert row.against.difference == pytest.approx((5 + 6 + 8) / 3)
    spread = math.sqrt(((5 - 19 / 3) ** 2 + (6 - 19 / 3) ** 2 + (8 - 19 / 3) ** 2) / 2)
    t = (19 / 3) / (spread / math.sqrt(3))
    assert row.against.p == pytest.approx(1 - t / math.sqrt(2 + t * t), abs=1e-9)  # 0.0190
    assert row.p_holm == row.against.p  # the only comparison
    assert row.verdict == "better"


def test_per_cent_of_all_labels_with_the_same_seed() -> None:
    found = table()
    mixed, whole = found["mixed", 10].relative, found["plain", "all"].relative
    assert mixed is not None
    assert mixed.mean == pytest.approx((90 + 100 * 50 / 55 + 100 * 50 / 60) / 3)
    assert whole is not None
    assert (whole.mean, whole.spread) == (100.0, 0.0)
    assert reference(CELLS, "plain") == "all"
    assert reference(CELLS, "mixed") == 10


def test_seeds_without_their_partner_count_for_the_mean_and_not_for_the_difference() -> None:
    records = {cell: one for cell, one in RECORDS.items() if cell != Cell("plain", 10, 1)}
    row = table(records=records, failed={Cell("plain", 10, 1): "no"})["mixed", 10]
    assert row.score is not None
    assert row.score.n == 3
    assert row.against is not None
    assert (row.against.n, row.against.difference, row.against.p) == (2, 6.5, None)
    assert row.verdict == "too few seeds"
    assert table(records=records, failed={Cell("plain", 10, 1): "no"})["plain", 10].failed == 1


def test_more_comparisons_ask_for_more() -> None:
    cells = grid({"plain": [10], "mixed": [10], "other": [10]}, [0, 1, 2])
    records = {cell: one for cell, one in RECORDS.items() if cell.budget == 10}
    for seed, score in enumerate((41.0, 40.0, 44.0)):
        records[Cell("other", 10, seed)] = {**record(Cell("plain", 10, seed)), "miou": score}
    found = {row.arm: row for row in rows(cells, records, {}, "plain")}
    alone, one_of_two = table()["mixed", 10].p_holm, found["mixed"].p_holm
    assert alone is not None
    assert one_of_two == pytest.approx(2 * alone)
    assert found["other"].verdict == "not shown"


def test_nothing_finished_yet() -> None:
    row = table(records={})["mixed", 10]
    assert (row.wanted, row.images, row.score, row.relative, row.against, row.minutes) == (
        3,
        None,
        None,
        None,
        None,
        None,
    )


def test_minutes_that_are_not_known_are_left_out() -> None:
    first = CELLS[0]
    row = table(records={**RECORDS, first: record(first, minutes=None, cpu_minutes=None)})[first.arm, first.budget]
    assert row.minutes is not None
    assert (row.minutes.n, row.minutes.mean) == (2, 2.0)
