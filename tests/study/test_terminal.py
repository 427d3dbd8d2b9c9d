"""Time left, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from fathomseg.study.table import Cell
from fathomseg.study.terminal import duration, last_step, minutes_left

SLOW, FAST, NEW = (Cell(arm, 10, 5) for arm in ("slow", "fast", "new"))
FINISHED = {Cell("slow", 10, 0): 30.0, Cell("slow", 10, 1): 50.0, Cell("fast", 10, 0): 4.0}


def test_each_arm_has_its_own_pace() -> None:
    assert minutes_left([SLOW], FINISHED, {}, 1) == 40.0
    assert minutes_left([SLOW, FAST], FINISHED, {}, 1) == 44.0
    assert minutes_left([NEW], FINISHED, {}, 1) == 28.0  # the mean of all
    assert minutes_left([SLOW, FAST], FINISHED, {SLOW: 0.75}, 2) == 7.0
    assert minutes_left([], FINISHED, {}, 0) == 0.0
    assert minutes_left([SLOW], {}, {SLOW: 0.5}, 1) is None


def test_the_last_step_of_a_log_that_is_being_written(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    assert last_step(log) == 0
    log.write_text('{"step": 10}\n{"step": 20}\n{"st')
    assert last_step(log) == 20
    log.write_text("".join(f'{{"step": {i}, "text": "{"x" * 100}"}}\n' for i in range(1000)))
    assert last_step(log) == 999
    log.write_text("\n7\n")
    assert last_step(log) == 0


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        (0.5, "30 s"),
        (59.4, "59 min"),
        (59.6, "1 h 00 min"),
        (185, "3 h 05 min"),
        (3120, "2 d 4 h"),
        (None, "an unknown time"),
    ],
)
def test_durations(minutes: float | None, text: str) -> None:
    assert duration(minutes) == text
