"""A `fathom` that takes no time: `VERB recipes/NAME.yaml --out RUN` or `VERB --resume RUN`.

The recipe is JSON: steps, pause (seconds per step).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.study import fake_train


def main() -> None:
    run = Path(sys.argv[-1])
    recipe = json.loads((Path("recipes") / f"{run.name}.yaml").read_text())
    resume = ["resume"] if "--resume" in sys.argv else []
    sys.argv[1:] = [str(run), str(recipe["steps"]), str(recipe["pause"]), *resume]
    fake_train.main()
    for last in ("selection.html", "evaluation/val/scores.json"):
        path = run / last
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
