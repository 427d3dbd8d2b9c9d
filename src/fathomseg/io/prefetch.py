"""Reading ahead of the work, in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def ahead(
    function: Callable[[A], B], items: Iterable[A], threads: int = 4, most: int | None = None
) -> Iterator[tuple[A, Future[B]]]:
    """Every item with its call, in order; threads work at most `most` items ahead (two for each thread)."""
    most = 2 * threads if most is None else most
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[A, Future[B]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) > most:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            pool.shutdown(cancel_futures=True)
