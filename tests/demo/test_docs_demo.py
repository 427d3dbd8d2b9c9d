"""docs/demo.md says what the plan does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fathomseg.demo.plan import ROWS, plan
from fathomseg.errors import FathomError

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "demo.md").read_text(encoding="utf-8")


def test_steps_and_drives_of_some_times() -> None:
    lines = re.findall(r"^\|(\d+)\|(\d+), (\d+)\|(\d+)\|(\d+)\|$", PAGE, flags=re.MULTILINE)
    assert len(lines) == 3
    for minutes, *numbers in ([int(number) for number in line] for line in lines):
        tasks = {task.name: task for task in plan(minutes)}
        drives = tasks["depth"].drives
        assert numbers == [drives, 4 * drives, tasks["depth"].steps, tasks["joint"].steps]


def test_rows_and_the_least_time() -> None:
    titles = re.findall(r"^\|([^|]+)\|[^|]+\|`fathom [^|]+`\|$", PAGE, flags=re.MULTILINE)
    assert titles == [row.title for row in ROWS]
    with pytest.raises(FathomError) as error:
        plan(0.1)
    least = str(error.value).split()[-2]
    assert f"below {least} minutes it is refused" in PAGE
