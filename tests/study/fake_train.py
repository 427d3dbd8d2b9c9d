"""A training that takes no time: what a `fathom train` does to its folder, without any network.

python -m fathomseg.study.child tests.study.fake_train FOLDER STEPS SECONDS_PER_STEP [crash|fail|silent] [resume]
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    folder, steps, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    checkpoint, how = folder / "checkpoint.pt", sys.argv[4:]
    saved = [checkpoint] if checkpoint.exists() else list(folder.glob("*/checkpoint.pt"))  # else of a phase
    first = int(saved[0].read_text()) if "resume" in how else 0
    note(folder, f"from {first}")
    busy = os.open(folder / "busy", os.O_CREAT | os.O_EXCL)  # fails if two train in one folder
    try:
        behave(how)
        for step in range(first, steps):
            time.sleep(pause)
            replace(checkpoint, str(step + 1))
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": step + 1}) + "\n")
        if "silent" not in how:
            replace(folder / "scores.json", json.dumps({"miou": 50.0 + steps}))
    finally:
        os.close(busy)
        (folder / "busy").unlink()
    note(folder, "done")


def behave(how: list[str]) -> None:
    if "fail" in how:
        print("all was well\nerror: the images are too green\n  label them again")
        sys.exit(2)
    if "crash" in how:
        os.kill(os.getpid(), signal.SIGKILL)


def note(folder: Path, text: str) -> None:
    with (folder.parent / "notes.txt").open("a") as file:
        file.write(f"{folder.name} {text}\n")


def replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
