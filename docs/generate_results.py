"""The page docs/results.md from results/*.json, for docs/generate.py: nothing in it is typed by hand but the titles."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fathomseg.study.sheets import NAMES

RESULTS = Path(__file__).resolve().parent.parent / "results"
_WORDS = {
    "labels alone": "supervised only",
    "averaged teacher": "mean teacher",
    "chosen": "selected",
    "nothing": "random weights",
    "answers": "predictions",
}
"""Titles of old studies in today's words."""


_LUCK = {"camvid_supervised", "camvid_supervised_1600_steps", "selection_camvid", "transfer_camvid"}
"""Scores on CamVid's val, seven seconds of one drive, in which seeds differ by ten points: linked, not shown."""


def results_page() -> str:
    """Everything measured, file by file."""
    found = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}
    lines = [
        "# Results",
        "",
        "<!-- Written by docs/generate.py: change the source, not this page. -->",
        "",
        "Mean±deviation over seeds; in studies the difference to the baseline, paired by seed, follows: `*` is",
        "p < 0.05 (t test, Holm's correction). mIoU in per cent, averaged weights after the last step, native size of",
        "labels. Each file holds machine, commit and command. Until 2026-11-28 views were padded and zoomed out, and",
        "one confidence weighed a batch of pseudo-labels: compare within a table.",
        "",
        "Conclusions: [the log](log.md). ",
    ]
    others = []
    for path, content in found.items():
        kinds = (kind for kind, is_one in _KINDS.items() if path.stem not in _LUCK and is_one(content))
        kind = next(kinds, None)
        if kind is None:
            others.append(f"[{path.stem}](../results/{path.name})")
        else:
            lines += ["", *kind(path, content)]
    lines += ["", "## Others", "", ", ".join(others)]
    return "\n".join(lines) + "\n"


def title(path: Path, text: str) -> list[str]:
    """A heading that links the file."""
    return [f"## [{text}](../results/{path.name})", ""]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A table in Markdown."""
    names = list(head)
    return [
        f"|{'|'.join(names)}|",
        "|" + "---|" * len(names),
        *(f"|{'|'.join(cells)}|" for cells in rows),
    ]


def study(path: Path, content: dict[str, Any]) -> list[str]:
    """Arms in rows, budgets in columns."""
    cells: dict[str, dict[str, str]] = {}
    for row in content["rows"]:
        if row["score"]:
            cells.setdefault(row["arm"], {})[str(row["budget"])] = with_difference(row)
    budgets = sorted({budget for arm in cells.values() for budget in arm}, key=lambda b: (b == "all", b.zfill(9)))
    arms = content["study"]["arms"]
    seeds, done, wanted = len(content["seeds"]), len(content["cells"]), content["cells_wanted"]
    how = f"{seeds} seed{'s' * (seeds > 1)}" if done == wanted else f"{done} of {wanted} trainings"
    text = f"{today(content['study']['title'])} ({how}, {max(cell['date'][:10] for cell in content['cells'])})"
    rows = (
        [today(arms[arm]["title"] or arm), *(by.get(budget, "") for budget in budgets)] for arm, by in cells.items()
    )
    miou = table(["mIoU by labels", *budgets], rows) if cells else []
    return title(path, text) + miou + other_tasks(content)


def other_tasks(content: dict[str, Any]) -> list[str]:
    """Scores of depth and the like, of the arms that have any; studies before these were recorded have none."""
    rows = [row for row in content["rows"] if row.get("others")]
    keys = list(dict.fromkeys((task, key) for row in rows for task, found in row["others"].items() for key in found))
    arms = content["study"]["arms"]

    def cells(row: dict[str, Any]) -> list[str]:
        means = [row["others"].get(task, {}).get(key) for task, key in keys]
        texts = [three_digits(mean["mean"], mean["spread"]) if mean else "" for mean in means]
        return [today(arms[row["arm"]]["title"] or row["arm"]), str(row["budget"]), *texts]

    heads = [f"{task} {NAMES.get(key, key)}" for task, key in keys]
    return ["", *table(["other tasks", "labels", *heads], map(cells, rows))] if rows else []


def three_digits(mean: float, deviation: float | None) -> str:
    """A score and its deviation."""
    return f"{mean:.3f}" + ("" if deviation is None else f"±{deviation:.3f}")


def with_difference(row: dict[str, Any]) -> str:
    """A score, and what it is above the baseline."""
    text = spread(row["score"]["mean"], row["score"]["spread"])
    if not row["against"]:
        return text
    shown = row["verdict"] in ("better", "worse")  # p is rounded in the file
    return f"{text} {row['against']['difference']:+.1f}{'*' * shown}"


def pool(path: Path, content: dict[str, Any]) -> list[str]:
    """The scores of a study's runs on the rest of their pool."""
    rows = ([today(row["arm"]), spread(row["miou"], row["spread"])] for row in content["rows"])
    return title(path, f"{content['study']}, scored on the rest of the pool") + table(["arm", "mIoU"], rows)


def supervised(path: Path, content: dict[str, Any]) -> list[str]:
    """Budgets of one recipe."""
    rows = ([name, spread(row["miou_mean"], row["miou_std"]), str(row["n"])] for name, row in content["rows"].items())
    steps = next((text.split("=")[1] for text in content["overrides"] if text.startswith("train.steps=")), 400)
    return title(path, f"{content['recipe']}, {steps} steps") + table(["labels", "mIoU", "seeds"], rows)


def demo(path: Path, content: dict[str, Any]) -> list[str]:
    """The rows of the demo."""
    rows = (
        [today(row["title"]), spread(row["miou"], row["miou_std"]), " ".join(f"{x:+.1f}" for x in row["gain_by_seed"])]
        for row in content["rows"]
    )
    names = ["row", "mIoU", "above the first row, by seed"]
    labels = content["rows"][0]["title"].split()[0]
    return title(path, f"The demo, {labels} labels ({content['origin']['date'][:10]})") + table(names, rows)


def depth(path: Path, content: dict[str, Any]) -> list[str]:
    """Depth and camera motion of runs."""
    rows = []
    for run in content["runs"]:
        scored = run["scores"].get("val", {}).get("ema", {}).get("median", {})
        motion = next(iter(run.get("motion", {}).values()), {}).get("all", {})
        rows.append(
            [
                run["run"],
                str(run["steps"]),
                f"{run['cpu_minutes']:.0f}",
                number(scored.get("abs_rel"), 3),
                number(scored.get("delta1"), 3),
                number(motion.get("rotation_deg"), 2),
                number(motion.get("ate_m"), 3),
            ]
        )
    names = ["run", "steps", "CPU min", "AbsRel", "δ1", "rotation, °", "ATE, m"]
    return title(path, f"Self-supervised depth, {path.stem.removeprefix('depth_')}") + table(names, rows)


def spread(mean: float, deviation: float | None) -> str:
    """50.0±0.4; of one seed 50.0."""
    if deviation is None:
        return f"{mean:.1f}"
    return f"{mean:.1f}±{deviation:.1f}"


def number(value: float | None, digits: int) -> str:
    """A number, or nothing."""
    return "" if value is None else f"{value:.{digits}f}"


def today(text: str) -> str:
    """A title in today's words."""
    for old, new in _WORDS.items():
        text = text.replace(old, new)
    return text


_KINDS: dict[Callable[[Path, Any], list[str]], Callable[[Any], bool]] = {
    study: lambda content: "cells_wanted" in content,
    pool: lambda content: isinstance(content.get("rows"), list) and "difference" in content["rows"][0],
    supervised: lambda content: isinstance(content.get("rows"), dict),
    demo: lambda content: "minutes_asked" in content,
    depth: lambda content: isinstance(content.get("runs"), list) and "curve" in content["runs"][0],
}
"""How a file is shown, by what it holds."""
