"""A study of fake trainings in a process of its own; arguments: FOLDER CELLS PAUSE."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

from fathomseg.study.folder import JobFolder
from fathomseg.study.runner import Job, Runner
from fathomseg.study.table import Cell, Record

STEPS = 4


def cells(count: int) -> list[Cell]:
    return [Cell("arm", budget + 1, 0) for budget in range(count)]


def job(folder: JobFolder, name: str, pause: float, how: str = "", *after: str, steps: int = STEPS) -> Job:
    run = folder.run(name)
    words = (str(run), str(steps), str(pause), *how.split())

    def result() -> Record | None:
        path = run / "scores.json"
        return json.loads(path.read_text()) if path.exists() else None

    return Job(name, words, (*words, "resume"), result, after)


def runner(folder: Path, count: int, pause: float, how: dict[Cell, str] | None = None, **options: Any) -> Runner:
    place = JobFolder(folder)
    jobs = [job(place, str(cell), pause, (how or {}).get(cell, "")) for cell in cells(count)]
    return Runner(place, jobs, poll_s=0.05, program="tests.study.fake_train", **options)


def main() -> None:
    doing = runner(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    signal.signal(signal.SIGTERM, lambda *_: doing.stop())
    doing.start(workers=2)
    while not doing.wait():
        pass


if __name__ == "__main__":
    main()
