"""The log as charts: what it tells, and what is cut short."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from fathomseg.report.curves import panels, read_log, readable


def line(step: int, kind: str = "train", seconds: float = 0.0, **values: float) -> str:
    return json.dumps({"step": step, "kind": kind, **values, "seconds": seconds, "cpu_seconds": 1.0}) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    text = line(10, seconds=30, supervised=2.0, lr=0.1, gradient_norm=3.0, **{"links.a.norm": 1.0})
    text += line(10, "val", seconds=31, miou=0.25)
    text += line(20, seconds=50, supervised=1.0, lr=0.05, gradient_norm=2.0, photometric=0.5)
    path = tmp_path / "metrics.jsonl"
    path.write_text(text + '{"step": 30, "ki', encoding="utf-8")
    return path


def test_numbers_are_sorted_by_what_they_are(log: Path) -> None:
    found = read_log(log)
    assert set(found.losses) == {"supervised", "photometric"}
    assert list(found.losses["supervised"].values) == [2.0, 1.0]
    assert list(found.losses["photometric"].steps) == [20]
    assert list(found.of_steps) == ["lr", "gradient_norm", "seconds of a step"]
    assert list(found.of_steps["seconds of a step"].values) == [2.0]
    assert found.scores["miou"].values == (0.25,)
    assert found.minutes == pytest.approx(50 / 60)


def test_without_a_log_there_is_nothing(tmp_path: Path) -> None:
    found = read_log(tmp_path / "metrics.jsonl")
    assert (found.losses, found.of_steps, found.scores, found.minutes) == ({}, {}, {}, 0.0)


def test_steps_on_the_axis_are_whole_numbers(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(line(4, supervised=2.0), encoding="utf-8")
    (chart,) = panels(read_log(tmp_path / "metrics.jsonl").losses)
    assert re.findall(r"<text[^>]*text-anchor: middle[^>]*>([^<]*)<", chart.picture) == ["4"]


def test_a_chart_is_drawn_to_scale_with_its_last_value(log: Path) -> None:
    (chart, other) = panels(read_log(log).losses)
    assert (chart.title, chart.last, other.last) == ("supervised", "1", "0.5")
    (path,) = re.findall(
        r'<path d="(M [^"]*)"[^>]*style="[^"]*rgb\(var\(--accent\)\)[^"]*stroke-width: 1.8', chart.picture
    )
    (x0, y0), (x1, y1) = np.array(re.findall(r"[ML] (\S+) (\S+)", path), float)
    assert x0 < x1
    assert y0 < y1  # down the page is down
    assert readable("pseudo_labels.confidence") == "pseudo labels: confidence"
