"""What every engine offers: objects in other processes, whose methods are called from here.

An actor is made where it lives, from a function and its arguments. What has to be loaded (a network, a shard of
features) is loaded there once and stays. Arguments and results travel between processes by pickle, as the messages of
multiprocessing and of Ray do, or in the files of a job of Slurm (submitit); nobody else's are ever read.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from fathomseg.errors import FathomError

A = TypeVar("A")

RETRIES: Final = 3
"""How often an actor whose process or machine has died is made anew, and its unfinished calls are made again."""


_UNITS: Final = 10_000
"""Shares of a GPU are multiples of 1 / 10,000: Ray rounds to them, and six of 0.16667 would be more than one."""


class LostError(FathomError):
    """An actor has died, and is not or no longer made anew."""


class Actor(ABC):
    """An object in another process."""

    @abstractmethod
    def call(self, method: str, *arguments: Any) -> Future[Any]:
        """Call a method; what it returns or raises is in the future. Never waits."""

    @property
    def begun(self) -> bool:
        """Whether it has its place, and does not wait for one."""
        return True

    @abstractmethod
    def close(self) -> None:
        """End it; calls that are not finished are lost. May be called twice."""

    def __call__(self, method: str, *arguments: Any) -> Any:
        """Call a method and wait for what it returns."""
        return self.call(method, *arguments).result()


class Engine(ABC):
    """Makes actors."""

    name: str

    @abstractmethod
    def actor(self, make: Callable[..., object], *arguments: Any, gpus: float = 0, retries: int = RETRIES) -> Actor:
        """The object `make(*arguments)`, in a process of its own that does one call after the other.

        `gpus`: its share of a GPU. `retries`: 0 for one whose calls depend on earlier calls.
        """

    @abstractmethod
    def job(self, make: Callable[..., object], *arguments: Any, gpus: float = 0) -> Actor:
        """The object `make(*arguments, environment)` whose calls run side by side and mostly wait for programs.

        `environment`: the variables its programs need beside those of their machine.
        """

    @property
    @abstractmethod
    def gpus(self) -> int:
        """How many GPUs there are."""

    @abstractmethod
    def room(self, gpus: float) -> int:
        """How many jobs with this share of a GPU are best requested at once."""

    @contextmanager
    def crew(self, count: int, make: Callable[..., object], *arguments: Any) -> Iterator[list[Actor]]:
        """`count` equal actors, each with its share of the GPUs if there are any."""
        actors = [self.actor(make, *arguments, gpus=self.share(count)) for _ in range(count)]
        try:
            yield actors
        finally:
            for actor in actors:
                actor.close()

    def share(self, count: int) -> float:
        """The part of a GPU that each of so many actors gets: a whole one, or what lets all be on the GPUs there are.

        Each lives on one GPU: of 6 on 4 GPUs two share one.
        """
        if not self.gpus:
            return 0.0
        return (_UNITS // math.ceil(count / self.gpus)) / _UNITS

    def crew_size(self, count: int) -> int:
        """How many of so many actors can be there at the same time, at least 1."""
        return count

    def job_share(self, asked: float | None) -> float:
        """The share of a GPU that each job gets, if so much is asked for; None = a whole one, where there are any.

        Raises `FathomError` for more than one, of which a job would use one.
        """
        if asked is None:
            return float(self.gpus > 0)
        if asked > 1:
            raise FathomError(
                f"--gpus {asked:g}: a training of a study uses one GPU. Give 1, 0, or 0.5: two share one. One training "
                "on several GPUs is for torchrun (docs/scaling.md)."
            )
        return asked

    @abstractmethod
    def close(self) -> None:
        """End all actors."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Team:
    """An engine, and how many actors share each piece of work."""

    engine: Engine
    size: int

    def of(self, make: Callable[..., object], *arguments: Any) -> AbstractContextManager[list[Actor]]:
        """Equal actors, for as long as they are needed."""
        return self.engine.crew(self.size, make, *arguments)


def spread(actors: Sequence[Actor], method: str, items: Iterable[A], waiting: int = 2) -> Iterator[tuple[A, Any]]:
    """Every item with what the method of one of the actors returns for it, in the order in which they are done.

    Each actor has `waiting` items at most, so that the quick ones get more. Raises what a method raises.
    """
    source, calls = iter(items), dict[Future[Any], tuple[Actor, A]]()

    def give(actor: Actor) -> None:
        for item in source:
            calls[actor.call(method, item)] = actor, item
            return

    for _ in range(waiting):
        for actor in actors:
            give(actor)
    while calls:
        for future in wait(calls, return_when=FIRST_COMPLETED).done:
            actor, item = calls.pop(future)
            give(actor)
            yield item, future.result()


def all_of(actors: Sequence[Actor], method: str, *arguments: Any) -> list[Any]:
    """What a method of every actor returns, all at once."""
    return [future.result() for future in [actor.call(method, *arguments) for actor in actors]]
