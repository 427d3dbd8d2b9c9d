"""The scores of finished runs: the one place that knows what evaluation/SPLIT/scores.json looks like."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def scores_file(run: Path, split: str) -> Path:
    """Where a run keeps the scores of a split."""
    return run / "evaluation" / split / "scores.json"


def scores(run: Path, split: str, weights: str = "ema") -> Mapping[str, Mapping[str, Any]]:
    """The scores of one set of weights by task, `segmentation` and `depth`, as far as the run was scored on them."""
    found: dict[str, Any] = json.loads(scores_file(run, split).read_text(encoding="utf-8"))["scores"][weights]
    return found
