"""Rows of the table, worked out by hand."""

from __future__ import annotations

import math

import pytest

from fathomseg.study.report import Report
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


class TestDeltaM:
    """A joint arm beside an arm of each task, by hand."""

    CELLS = grid({"labels": [10], "depths": [10], "joint": [10]}, [0, 1])
    IOU = {"labels": [40.0, 50.0], "joint": [42.0, 45.0]}  # noqa: RUF012
    RMSE = {"depths": [5.0, 4.0], "joint": [4.0, 5.0]}  # noqa: RUF012

    def records(self) -> dict[Cell, dict[str, object]]:
        found: dict[Cell, dict[str, object]] = {}
        for cell in self.CELLS:
            main: dict[str, object] = {}
            if (iou := self.IOU.get(cell.arm)) is not None:
                main["segmentation"] = {"name": "miou", "value": iou[cell.seed] / 100, "lower_is_better": False}
            if (rmse := self.RMSE.get(cell.arm)) is not None:
                main["depth"] = {"name": "none.rmse", "value": rmse[cell.seed], "lower_is_better": True}
            miou = None if iou is None else iou[cell.seed]
            shared = {"arm": cell.arm, "budget": 10, "seed": cell.seed, "images": 10, "minutes": 1.0}
            found[cell] = {**shared, "cpu_minutes": 1.0, "commit": "a", "miou": miou, "main_scores": main}
        return found

    def table(self, **changes: object) -> dict[str, Row]:
        singles = {"segmentation": "labels", "depth": "depths"}
        given = {"cells": self.CELLS, "records": self.records(), "failed": {}, "baseline": "labels", "singles": singles}
        return {row.arm: row for row in rows(**{**given, **changes})}  # type: ignore[arg-type]

    def test_it_is_paired_by_seed(self) -> None:
        """Seed 0: (+5 % + 20 %) / 2; seed 1: (-10 % - 25 %) / 2."""
        found = self.table()
        assert found["joint"].delta_m is not None
        assert found["joint"].delta_m.n == 2
        assert found["joint"].delta_m.mean == pytest.approx((12.5 - 17.5) / 2)
        assert found["labels"].delta_m is None
        assert found["depths"].score is None

    def test_a_seed_whose_pair_is_missing_does_not_count(self) -> None:
        records = {cell: one for cell, one in self.records().items() if (cell.arm, cell.seed) != ("depths", 1)}
        row = self.table(records=records)["joint"]
        assert row.delta_m is not None
        assert (row.delta_m.n, row.delta_m.mean) == (1, pytest.approx(12.5))

    def test_unlike_scores_do_not_compare(self) -> None:
        """Depth in metres of one arm, depth up to a scale of the other."""
        records = self.records()
        for seed in (0, 1):
            records[Cell("depths", 10, seed)]["main_scores"] = {
                "depth": {"name": "median.rmse", "value": 4.0, "lower_is_better": True}
            }
        found = self.table(records=records)["joint"]
        assert (found.done, found.delta_m) == (2, None)

    def test_without_arms_to_compare_there_is_none(self) -> None:
        assert self.table(singles={})["joint"].delta_m is None

    def test_the_page_has_a_column(self) -> None:
        singles = {"segmentation": "labels", "depth": "depths"}
        page = Report("", {}, "labels", self.CELLS, self.records(), {}, singles).markdown({})
        assert "| CPU min | Delta_m |" in page
        assert "| -2.5 ± 21.2 |" in page
        assert "segmentation of `labels`, depth of `depths`" in page
        assert "Delta_m" not in Report("", {}, "labels", self.CELLS, self.records(), {}).markdown({})
