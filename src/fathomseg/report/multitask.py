"""The section on Delta_m: a run of several tasks beside its baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from fathomseg.evaluation.baselines import MEANING
from fathomseg.report.section import WEIGHTS, Card, Section, number


def multitask_section(compared: Mapping[str, Mapping[str, Any]]) -> Section:
    """The section of `evaluation.baselines.compared`, the first weights in front."""
    first = next(iter(compared.values()))
    table = Table("weights", "task", "score", title=Text("several tasks at once"))
    for name in ("run", "baseline", "change, %"):
        table.add_column(name, justify="right")
    for weights, found in compared.items():
        for task, part in found["tasks"].items():
            numbers = number(part["value"]), number(part["baseline"]), signed(part["change"])
            table.add_row(WEIGHTS[weights], task, part["score"], *numbers)
        table.add_row(WEIGHTS[weights], "Delta_m", "", "", "", signed(found["delta_m"]))
    return Section(
        title="Several tasks at once",
        template="multitask.html",
        headline=f"Delta_m {signed(first['delta_m'])} %",
        facts=[f"{task} beside {part['run']}" for task, part in first["tasks"].items()],
        cards=[
            Card("Delta_m", signed(first["delta_m"]), "%", MEANING["delta_m"]),
            *(
                Card(
                    f"{task}, {part['score']}",
                    signed(part["change"]),
                    "%",
                    "change against the baseline, > 0 is better",
                )
                for task, part in first["tasks"].items()
            ),
        ],
        meaning=MEANING,
        shown={"compared": compared},
        tables=[table],
        notes=[f"Baseline of {task}: {part['run']}" for task, part in first["tasks"].items()],
    )


def signed(value: float | None) -> str:
    """A change in per cent; a dash where it is undefined."""
    return "–" if value is None else f"{100 * value:+.2f}"
