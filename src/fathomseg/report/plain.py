"""The section of a task that has none of its own: each of its scores as a number with its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fathomseg.report.section import WEIGHTS, Card, Section, number, table


def plain_section(name: str, scores: Mapping[str, Mapping[str, Any]], meaning: Mapping[str, str]) -> Section:
    """The section of a task's scores by weights, the first ones in front; what is no number is left to scores.json."""
    first, columns = next(iter(scores.values())), [WEIGHTS[one] for one in scores]
    keys = [key for key in meaning if isinstance(first.get(key), int | float)]
    rows = [[key, *(number(one[key]) for one in scores.values())] for key in keys]
    return Section(
        title=name,
        template="plain.html",
        headline=f"{keys[0]} {number(first[keys[0]])}" if keys else name,
        facts=[],
        cards=[Card(key, number(first[key]), "", meaning[key]) for key in keys],
        meaning=meaning,
        shown={"rows": rows, "columns": columns},
        tables=[table("score", columns, rows, name)],
    )
