"""An actor that is no process: the object lies here, and is called at once."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from fathomseg.parallel.base import Actor


class Inline(Actor):
    """An object of this process, for those who are indifferent to where it lives."""

    def __init__(self, held: object) -> None:
        self.held = held

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        """Call it now; what it raises is raised here."""
        future: Future[Any] = Future()
        future.set_result(getattr(self.held, method)(*arguments))
        return future

    def close(self) -> None:
        """Nothing is to be ended."""
