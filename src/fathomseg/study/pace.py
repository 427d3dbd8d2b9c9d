"""How long a study will still take."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from fathomseg.study.grid import Cell

_TAIL: Final = 4096
"""Bytes at the end of a log that hold its last whole line."""


def minutes_left(
    left: Sequence[Cell], finished: Mapping[Cell, float], progress: Mapping[Cell, float], at_once: int
) -> float | None:
    """Minutes until the cells that are left are done; None as long as nothing tells.

    `finished`: minutes of finished cells, of which those of the same arm tell most; `progress`: the part (0..1) that is
    done of those that are running; `at_once`: how many run side by side.
    """
    if not finished:
        return None
    overall = statistics.fmean(finished.values())
    total = 0.0
    for cell in left:
        same = [minutes for other, minutes in finished.items() if other.arm == cell.arm]
        total += (statistics.fmean(same) if same else overall) * (1 - progress.get(cell, 0.0))
    return total / max(1, at_once)


def last_step(metrics: Path) -> int:
    """The last step a run has logged in metrics.jsonl; 0 if there is none."""
    try:
        with metrics.open("rb") as file:
            file.seek(max(0, metrics.stat().st_size - _TAIL))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):  # cut short
            continue
    return 0


def duration(minutes: float | None) -> str:
    """A time to read: 40 s, 12 min, 3 h 05 min, 2 d 4 h."""
    if minutes is None:
        return "an unknown time"
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    whole = round(minutes)
    if whole < 60:
        return f"{whole} min"
    hours, rest = divmod(whole, 60)
    return f"{hours} h {rest:02} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
