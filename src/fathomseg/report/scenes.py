"""The section on a scene model: how often the partner of a map is found, beside what chance would find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from fathomseg.metrics.retrieval import MEANING
from fathomseg.report.section import Card, Section, percent

ROWS: Final = {
    "depth_to_segmentation": "depth → segmentation",
    "segmentation_to_depth": "segmentation → depth",
    "chance": "chance",
}


def scenes_section(scenes: Mapping[str, Any]) -> Section:
    """The section of `retrieval_scores`."""
    table = Table("retrieval", title=Text("scene model"))
    for name in ("top 1 (%)", "top 5 (%)"):
        table.add_column(name, justify="right")
    for key, text in ROWS.items():
        table.add_row(text, percent(scenes[key]["top1"]), percent(scenes[key]["top5"]))
    pool = (
        f"a pool of {scenes['pool']} pairs; {scenes['left_out']} more, fewer than {scenes['apart']} frames from one of "
        "them, left out"
    )
    top1 = percent(scenes["depth_to_segmentation"]["top1"])
    return Section(
        title="Scene model",
        template="scenes.html",
        headline=f"retrieval {top1} %",
        facts=[f"{scenes['pool']} pairs of depth and segmentation"],
        cards=[
            Card(f"{text}, top 1", percent(scenes[key]["top1"]), "%", MEANING["top1" if key != "chance" else key])
            for key, text in ROWS.items()
        ],
        meaning=MEANING,
        shown={"scenes": scenes, "rows": ROWS},
        settings=[("pool", pool)],
        tables=[table],
        notes=[f"Scene model: {pool}."],
    )
