"""A `fathom` that takes no time: `VERB recipes/NAME.yaml --out RUN` or `VERB --resume RUN`, as its recipe says.

The recipe is JSON: steps, pause (seconds a step), how ("fail", "crash" or nothing).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    run = Path(sys.argv[-1])
    recipe = json.loads((Path("recipes") / f"{run.name}.yaml").read_text())
    checkpoint = run / "checkpoint.pt"
    if "--resume" not in sys.argv:
        run.mkdir(parents=True)  # fails if it is there
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    note(run, f"from {first}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        behave(recipe.get("how"))
        for step in range(first, recipe["steps"]):
            time.sleep(recipe["pause"])
            checkpoint.write_text(str(step + 1))
            with (run / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": step + 1}) + "\n")
    finally:
        note(run, "ended")


def behave(how: str | None) -> None:
    if how == "fail":
        print("all was well\n\nerror: the images are too green")
        sys.exit(2)
    if how == "crash":
        print("and then")
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def note(run: Path, text: str) -> None:
    with Path("notes.txt").open("a") as file:
        file.write(f"{run.name} {text}\n")


if __name__ == "__main__":
    main()
