"""The log of a run that goes on: lines of lost steps are dropped, and times add up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fathomseg.engine import logging
from fathomseg.engine.logging import METRICS, Log


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(logging.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(logging.time, "process_time", lambda: self.now / 2)


def lines(folder: Path) -> list[tuple[int, float, float]]:
    rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return [(row["step"], row["seconds"], row["cpu_seconds"]) for row in rows]


def test_seconds_go_on_at_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    first = Log(tmp_path, steps=6)
    for step in (2, 4, 5):
        clock.now += 10
        first.write(step, "train", {"loss": 1.0})
    first.close()
    clock.now += 500  # nothing runs
    second = Log(tmp_path, steps=6, first_step=4)
    clock.now += 7
    second.write(6, "train", {"loss": 1.0})
    second.close()
    assert lines(tmp_path) == [(2, 10.0, 5.0), (4, 20.0, 10.0), (6, 27.0, 13.5)]


def test_what_is_left_is_reckoned_from_this_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / METRICS).write_text('{"step": 4, "kind": "train", "seconds": 900.0, "cpu_seconds": 800.0}\n')
    clock = Clock(monkeypatch)
    log = Log(tmp_path, steps=8, first_step=4)
    clock.now += 10
    log.write(6, "train", {"loss": 1.0})
    log.close()
    assert "about 10 s left" in capsys.readouterr().err


def test_an_old_log_without_times_is_taken_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / METRICS).write_text('{"step": 1, "kind": "train"}\n{"step": 2, "ki')
    clock = Clock(monkeypatch)
    log = Log(tmp_path, steps=3, first_step=2)
    clock.now += 3
    log.write(3, "train", {})
    log.close()
    last = json.loads((tmp_path / METRICS).read_text().splitlines()[-1])
    assert (last["seconds"], last["cpu_seconds"]) == (3.0, 1.5)
