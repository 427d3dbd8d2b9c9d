"""What the networks of a study predict when the links they were trained with are switched off.

    python benchmarks/links_off.py runs/studies/sync-streets --out results/links_off.json

Every finished run with links between networks is scored without them on the split it was scored on with them (`fathom
evaluate --links off`), averaged weights. A task that has come to rely on the other falls; one that used the link in
training alone stays.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fathomseg
from fathomseg.inference.card import load_card
from fathomseg.models.links.encoder_links import EncoderLinkPart
from fathomseg.training.run_folder import origin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="the folder of a study")
    parser.add_argument("--split", default="val")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    cells = []
    for path in sorted(arguments.study.glob("cells/*.json")):
        run, record = arguments.study / "runs" / path.stem, json.loads(path.read_text(encoding="utf-8"))
        if isinstance(load_card(run).network.links, EncoderLinkPart):
            off = fathomseg.evaluate(run, split=arguments.split, weights="ema", links="off", report=False)
            scores = {"on": first_scores(record["headlines"]), "off": first_scores(off.headlines)}
            cells.append({key: record[key] for key in ("arm", "budget", "seed", "steps", "commit")} | scores)
            print(json.dumps(cells[-1]), flush=True)
    result = {
        "claim": "main score of every task (mIoU, AbsRel) on val with the links of the network and without",
        "study": arguments.study.name,
        "rows": rows(cells),
        "cells": cells,
        "origin": origin(),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for row in result["rows"]:
        print(json.dumps(row))


def first_scores(headlines: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """By task, the first of its scores to look at."""
    return {task: next(iter(scores.values())) for task, scores in headlines.items()}


def rows(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread over seeds of every arm and task."""
    groups: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for cell in cells:
        for task, value in cell["on"].items():
            groups[cell["arm"], task].append((value, cell["off"][task]))
    return [{"arm": arm, "task": task, "n": len(pairs), **_mean(pairs)} for (arm, task), pairs in groups.items()]


def _mean(pairs: list[tuple[float, float]]) -> dict[str, float | None]:
    changes = [off - on for on, off in pairs]
    on, off = (statistics.fmean(side) for side in zip(*pairs, strict=True))
    spread = statistics.stdev(changes) if len(changes) > 1 else None
    return {"on": on, "off": off, "change": statistics.fmean(changes), "spread": spread}


if __name__ == "__main__":
    main()
