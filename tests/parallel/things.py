"""What actors of the tests hold."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from fathomseg.errors import DataError, FathomError, Problem


class Thing:
    """Knows its process, and dies on request as often as a file says."""

    def __init__(self, add: int = 0, dies: Path | None = None) -> None:
        if add < 0:
            raise FathomError("Nothing is added by less than 0.")
        self.add, self.dies = add, dies

    def plus(self, number: int) -> int:
        if self.dies is not None and (left := len(list(self.dies.glob("life-*")))):
            (self.dies / f"life-{left}").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return number + self.add

    def bad(self, where: str) -> None:
        raise DataError((Problem(where, "is broken"),))

    def process(self) -> int:
        return os.getpid()

    def visible(self) -> str | None:
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    def slow(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds


def lives(folder: Path, count: int) -> Path:
    """A folder that lets a `Thing` die so often."""
    folder.mkdir()
    for number in range(1, count + 1):
        (folder / f"life-{number}").touch()
    return folder
