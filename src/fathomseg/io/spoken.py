"""Progress in lines, where no terminal shows a bar: long waits say how far they are, short ones nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 20.0
"""Seconds between two lines."""


class ProgressLines:
    """The lines of one wait."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.what, self._clock = what, clock
        self._said = clock()
        self._first: tuple[int, float] | None = None
        """How many were done when this was called first, and when."""

    def tell(self, done: int, total: int) -> None:
        """Say how many are done and about how long the others take, if it is time for a line.

        The pace is that since the first call: before it things were loaded, or done by an earlier attempt.
        """
        now = self._clock()
        before, began = self._first = self._first or (done, now)
        if now - self._said < EVERY_S or not 0 < done < total:
            return
        self._said = now
        known = done > before
        left = f", about {_time((now - began) / (done - before) * (total - done))} left" if known else ""
        print(f"{self.what}: {done} of {total}{left}", file=sys.stderr, flush=True)


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
