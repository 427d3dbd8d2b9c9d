"""What do chosen images, pseudo-labels and depth add in the demo? Runs it for several seeds and writes one result file.

    python benchmarks/demo.py --seeds 0 1 2 --minutes 10 --out results/demo.json

Each seed is one `fathom demo` in RUNS/seed-N, with a cache of its own, so that every one renders its images. What is
finished is not done again, so the command can be repeated until it is through; minutes of all attempts add up.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fathomseg.demo.plan import LABELS
from fathomseg.study.report import redact_paths
from fathomseg.training.run_folder import origin


def main() -> None:
    arguments = parse()
    demos = [demo(arguments.runs / f"seed-{seed}", seed, arguments.minutes) for seed in arguments.seeds]
    result = redact_paths(summary(demos, arguments.minutes, arguments.seeds) | {"origin": origin()})
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in result["rows"]:
        print(f"{row['title']:>20}  mIoU {row['miou']} +- {row['miou_std']}  gain {row['gain']} +- {row['gain_std']}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--runs", type=Path, default=Path("runs/demo"), help="folder of the demos")
    parser.add_argument("--out", type=Path, default=Path("results/demo.json"))
    return parser.parse_args()


def demo(folder: Path, seed: int, minutes: float) -> dict[str, Any]:
    """The results of one demo, which is run, or gone on with, unless it is finished."""
    cost, results = folder.with_name(f"{folder.name}.json"), folder / "results.json"
    spent = json.loads(cost.read_text()) if cost.is_file() else {"minutes": 0.0, "cpu_minutes": 0.0, "attempts": 0}
    if not results.is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = ["demo", "--out", str(folder), "--minutes", f"{minutes:g}", "--seed", str(seed)]
        environment = {**os.environ, "FATHOM_CACHE": str(folder.with_name(f"{folder.name}-cache").resolve())}
        began, used = time.monotonic(), cpu_seconds()
        done = subprocess.run([sys.executable, "-m", "fathomseg.cli", *command], env=environment)
        spent["minutes"] += (time.monotonic() - began) / 60
        spent["cpu_minutes"] += (cpu_seconds() - used) / 60
        spent["attempts"] += 1
        cost.write_text(json.dumps(spent) + "\n", encoding="utf-8")
        if done.returncode:
            sys.exit(done.returncode)
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
    if found["asked"] != {"minutes": minutes, "seed": seed}:
        sys.exit(f"{folder} holds a demo of {found['asked']}; give another --runs")
    return found | {"spent": spent}


def cpu_seconds() -> float:
    """Processor time of all processes that were started from here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def summary(demos: Sequence[dict[str, Any]], minutes: float, seeds: Sequence[int]) -> dict[str, Any]:
    """Mean and sample standard deviation over the seeds, in per cent."""
    rows = []
    for cells in zip(*(one["rows"] for one in demos), strict=True):
        miou, gain = ([100 * cell[name] for cell in cells] for name in ("miou", "gain"))
        rows.append(
            {
                "name": cells[0]["name"],
                "title": cells[0]["title"],
                "miou": mean(miou),
                "miou_std": deviation(miou),
                "miou_by_seed": [round(value, 2) for value in miou],
                "gain": mean(gain),
                "gain_std": deviation(gain),
                "gain_by_seed": [round(value, 2) for value in gain],
                "boundary_miou": mean([100 * cell["boundary_miou"] for cell in cells]),
                "pixel_accuracy": mean([100 * cell["pixel_accuracy"] for cell in cells]),
            }
        )
    return {
        "claim": f"mIoU (%) with {LABELS} labels on drives of the generated city that nothing was learned from; "
        "averaged weights after the last step; gain over the first row, paired by seed; std is the sample deviation "
        "over seeds",
        "minutes_asked": minutes,
        "seeds": list(seeds),
        "images": demos[0]["images"],
        "rows": rows,
        "depth_abs_rel": mean([one["depth_abs_rel"] for one in demos], 4),
        "minutes": [round(one["spent"]["minutes"], 2) for one in demos],
        "cpu_minutes": [round(one["spent"]["cpu_minutes"], 2) for one in demos],
        "attempts": [one["spent"]["attempts"] for one in demos],
        "tasks": [
            {
                "name": tasks[0]["name"],
                "command": tasks[0]["command"],
                "steps": tasks[0]["steps"],
                "minutes": mean([task["minutes"] for task in tasks]),
                "cpu_minutes": mean([task["cpu_minutes"] for task in tasks]),
            }
            for tasks in zip(*(one["tasks"] for one in demos), strict=True)
        ],
        "made": [{key: one["origin"][key] for key in ("date", "commit", "processor")} for one in demos],
    }


def mean(values: Sequence[float], digits: int = 2) -> float:
    return round(statistics.fmean(values), digits)


def deviation(values: Sequence[float]) -> float | None:
    return round(statistics.stdev(values), 2) if len(values) > 1 else None


if __name__ == "__main__":
    main()
