"""Processes of this machine. Needs nothing but Python; GPUs are shared out by CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, Final

from fathomseg.parallel.base import RETRIES, Actor, Engine, LostError

_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"

Environment = Mapping[str, str]


class LocalEngine(Engine):
    """Actors are processes, jobs are threads. An actor gets the GPU that has the fewest so far."""

    name = "local"

    def __init__(self) -> None:
        self._devices = visible_gpus()
        self._threads = os.cpu_count() or 1
        self._users: Counter[str] = Counter()
        self._actors: list[Actor] = []

    @property
    def gpus(self) -> int:
        """Those CUDA_VISIBLE_DEVICES lets this process see."""
        return len(self._devices)

    def room(self, gpus: float) -> int:
        """As many as the GPUs hold, each job on one; without GPUs one, since a job has threads of its own."""
        return max(1, self.gpus * int(1 / gpus)) if gpus > 0 else 1

    @contextmanager
    def crew(self, count: int, make: Callable[..., object], *arguments: Any) -> Iterator[list[Actor]]:
        """The processors are shared out as well, unless OMP_NUM_THREADS says how many each process uses."""
        self._threads = max(1, (os.cpu_count() or 1) // count)
        with super().crew(count, make, *arguments) as actors:
            yield actors

    def actor(self, make: Callable[..., object], *arguments: Any, gpus: float = 0, retries: int = RETRIES) -> Actor:
        """A process, started by `spawn`."""
        environment, free = self._environment(gpus)
        threads = os.environ.get("OMP_NUM_THREADS", str(self._threads))
        environment = {"OMP_NUM_THREADS": threads, **environment}
        actor = ProcessActor(lambda: _process(environment, make, arguments), retries, free)
        self._actors.append(actor)
        return actor

    def job(self, make: Callable[..., object], *arguments: Any, gpus: float = 0) -> Actor:
        """A thread for each call; it dies with this process alone, so nothing is retried."""
        environment, free = self._environment(gpus)
        actor = ThreadActor(make(*arguments, environment), free)
        self._actors.append(actor)
        return actor

    def close(self) -> None:
        """End all processes."""
        for actor in self._actors:
            actor.close()

    def _environment(self, gpus: float) -> tuple[Environment, Callable[[], None]]:
        """What lets a process see its GPU, and a function that gives it back."""
        if not self._devices:
            return {}, lambda: None
        if gpus <= 0:
            return {_VISIBLE: ""}, lambda: None
        device = min(self._devices, key=lambda one: self._users[one])
        self._users[device] += 1
        return {_VISIBLE: device}, lambda: self._users.subtract([device])


class ProcessActor(Actor):
    """An object in a process of this machine, made anew when that dies."""

    def __init__(self, start: Callable[[], Executor], retries: int, closed: Callable[[], None]) -> None:
        """`start` starts the process; `closed` is called at the end."""
        self._start, self._retries, self._closed = start, retries, closed
        self._lock, self._open = threading.RLock(), True
        self._process = start()

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        """Raises `LostError` (in the future) if the process died more often than it is retried."""
        found: Future[Any] = Future()
        self._call(found, self._retries, method, arguments)
        return found

    def close(self) -> None:
        """End the process at once."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            self._end(self._process)
        self._closed()

    def _call(self, found: Future[Any], left: int, method: str, arguments: tuple[Any, ...]) -> None:
        with self._lock:
            process = self._process
            try:
                call = process.submit(_call, method, arguments)
            except BrokenProcessPool:
                call = Future()
                call.set_exception(BrokenProcessPool())

        def done(call: Future[Any]) -> None:
            error = call.exception()
            if not isinstance(error, BrokenProcessPool):
                found.set_exception(error) if error else found.set_result(call.result())
            elif left and self._open:
                self._renew(process)
                self._call(found, left - 1, method, arguments)
            else:
                found.set_exception(LostError("A worker process has died, perhaps for lack of memory. Start again."))

        call.add_done_callback(done)

    def _renew(self, dead: Executor) -> None:
        with self._lock:
            if self._process is dead:  # several calls may have been lost with it
                dead.shutdown(wait=False)
                self._process = self._start()

    @staticmethod
    def _end(process: Executor) -> None:
        workers = list((getattr(process, "_processes", None) or {}).values())
        process.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()


class ThreadActor(Actor):
    """An object of this process whose calls run side by side."""

    def __init__(self, held: object, closed: Callable[[], None]) -> None:
        self._held, self._closed, self._open = held, closed, True
        self._threads = ThreadPoolExecutor(2)

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        """In a thread."""
        return self._threads.submit(getattr(self._held, method), *arguments)

    def close(self) -> None:
        """The threads end with their calls."""
        if self._open:
            self._open = False
            self._threads.shutdown(wait=False)
            self._closed()


def visible_gpus() -> tuple[str, ...]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (given := os.environ.get(_VISIBLE)) is not None:
        return tuple(one.strip() for one in given.split(",") if one.strip())
    import torch  # heavy, and rarely needed

    return tuple(map(str, range(torch.cuda.device_count())))


_held: object = None
_error: Exception | None = None
"""In the process of an actor: its object, or why it could not be made."""


def _process(environment: Environment, make: Callable[..., object], arguments: tuple[Any, ...]) -> Executor:
    process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    process.submit(_make, environment, make, arguments)
    return process


def _make(environment: Environment, make: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    global _held, _error
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal; the parent ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    inherited = "OMP_NUM_THREADS" in os.environ
    os.environ.update(environment)
    if not inherited and (torch := sys.modules.get("torch")) is not None:  # came with `make`, and looks no more
        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    try:
        _held = make(*arguments)
    except Exception as error:
        _error = error


def _call(method: str, arguments: tuple[Any, ...]) -> Any:
    if _error is not None:
        raise _error
    return getattr(_held, method)(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
