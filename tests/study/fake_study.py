"""One of several processes at a study of fake trainings; arguments: FOLDER CELLS STALE_S PAUSE."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from fathomseg.study.claims import Claims
from fathomseg.study.folder import Record, StudyFolder
from fathomseg.study.grid import Cell
from fathomseg.study.work import Work

STEPS = 4


def cells(count: int) -> list[Cell]:
    return [Cell("arm", budget + 1, 0) for budget in range(count)]


def work(folder: Path, count: int, stale_s: float, pause: float, how: dict[Cell, str] | None = None) -> Work:
    place = StudyFolder(folder)

    def command(cell: Cell) -> list[str]:
        return [
            "tests.study.fake_train",
            str(place.run(cell)),
            str(STEPS),
            str(pause),
            *(how or {}).get(cell, "").split(),
        ]

    def result(cell: Cell) -> Record | None:
        path = place.run(cell) / "scores.json"
        return {**json.loads(path.read_text()), "images": cell.budget} if path.exists() else None

    claims = Claims(folder / "claims", beat_s=stale_s / 10, stale_s=stale_s)
    return Work(place, cells(count), command, result, claims, poll_s=0.05)


def main() -> None:
    doing = work(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
    signal.signal(signal.SIGTERM, lambda *_: doing.stop())
    doing.start(workers=2)
    while not doing.wait(0.2):
        pass


if __name__ == "__main__":
    main()
