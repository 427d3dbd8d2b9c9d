"""The learning curve and the final scores of depth runs, as one result file.

    python benchmarks/depth_curve.py runs/depth-streets --out results/depth_streets.json

Run `fathom pretrain` first, and `fathom evaluate` if the run was not scored at its end. The curve is that of the
averaged weights on the images of `evaluation.limit`; the scores are those of the whole split.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fathomseg.study.folder import scores
from fathomseg.training.run_folder import origin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    result = {
        "what": "self-supervised depth; split val: on images no training saw, all: on those it has learned from",
        "runs": [run(folder) for folder in arguments.runs],
        "origin": origin(),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for row in result["runs"]:
        last = row["curve"][-1] if row["curve"] else {}
        print(f"{row['run']}: {row['cpu_minutes']} CPU-min, {json.dumps(last)}")


def run(folder: Path) -> dict[str, Any]:
    """What one run has logged and scored. Of a run in phases the curve is that of the last, the cost that of all;
    what was scored at the end of an earlier one stands in `phases`."""
    phases = sorted(folder.glob("*/metrics.jsonl"), key=_begun) or [folder / "metrics.jsonl"]
    ends = [json.loads(path.read_text(encoding="utf-8").splitlines()[-1]) for path in phases]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    made = json.loads((folder / "origin.json").read_text(encoding="utf-8"))
    curve = [
        {
            "step": line["step"],
            "cpu_minutes": round(line["cpu_seconds"] / 60, 2),
            "abs_rel": round(line["abs_rel"], 4),
            "delta1": round(line["delta1"], 4),
        }
        for line in lines
        if line["kind"] == "val"
    ]
    found = {split.name: json.loads((split / "scores.json").read_text(encoding="utf-8")) for split in _scored(folder)}
    return {
        "run": folder.name,
        "command": made["command"][:2]
        + [word for word in made["command"][2:] if "/" not in word or "recipes/" in word],
        "commit": made["commit"],
        "steps": sum(end["step"] for end in ends),
        "minutes": round(sum(end["seconds"] for end in ends) / 60, 1),
        "cpu_minutes": _cpu_minutes(ends),
        "curve": curve,
        "phases": {
            path.parent.name: {"cpu_minutes": _cpu_minutes(ends[: number + 1]), **_first_scores(path.parent)}
            for number, path in enumerate(phases[:-1])
        },
        "scores": {
            split: {weights: scores(folder, split, weights)["depth"] for weights in result["scores"]}
            for split, result in found.items()
        },
        "motion": {split: result["motion"] for split, result in found.items() if result.get("motion")},
    }


def _begun(metrics: Path) -> str:
    """When the run with this log began, as text that sorts by it."""
    return str(json.loads((metrics.parent / "origin.json").read_text(encoding="utf-8"))["date"])


def _cpu_minutes(ends: Sequence[Mapping[str, Any]]) -> float:
    return round(sum(end["cpu_seconds"] for end in ends) / 60, 1)


def _first_scores(folder: Path) -> dict[str, Any]:
    """Of the averaged weights, median scaling, by split."""
    return {split.name: scores(folder, split.name, "ema")["depth"]["median"] for split in _scored(folder)}


def _scored(folder: Path) -> list[Path]:
    """The folders with its scores."""
    return sorted(path.parent for path in (folder / "evaluation").glob("*/scores.json"))


if __name__ == "__main__":
    main()
