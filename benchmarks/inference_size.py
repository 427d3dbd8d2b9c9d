"""What a run scores at another size than that of its training views.

    python benchmarks/inference_size.py RUN [RUN ...] --split blocks --out results/inference_size.json

Views are zoomed in on by 1 to 2, so that in training things are 1.4 times as large on average as in a test at the
working size (the train-test resolution discrepancy, Touvron et al. 2019, arXiv:1906.06423).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import fathomseg
from fathomseg.inference.card import load_card
from fathomseg.io.files import write_text
from fathomseg.training.run_folder import origin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--factors", type=float, nargs="+", default=(1.0, 2**0.5), help="of the working size")
    parser.add_argument("--split", default="val")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [
        {"run": str(run), "split": arguments.split, "factor": factor, **scores_at(run, arguments.split, factor)}
        for run in arguments.runs
        for factor in arguments.factors
    ]
    for row in rows:
        print(json.dumps(row))
    claim = "main score of every task at a multiple of the working size"
    write_text(arguments.out, json.dumps({"claim": claim, "rows": rows, "origin": origin()}, indent=1) + "\n")


def scores_at(run: Path, split: str, factor: float) -> dict[str, object]:
    """The size, and by task the first of its scores; averaged weights."""
    size = [round(factor * side) for side in load_card(run).size]
    at = [f"evaluation.inference.size=[{size[0]},{size[1]}]"] if factor != 1 else []
    found = fathomseg.evaluate(run, split=split, weights="ema", report=False, overrides=at)
    return {"size": size, **{task: next(iter(scores.values())) for task, scores in found.headlines.items()}}


if __name__ == "__main__":
    main()
