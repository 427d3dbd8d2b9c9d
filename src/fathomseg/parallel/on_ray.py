"""A Ray cluster: the one RAY_ADDRESS names, or one that is started here for as long as this process lives.

Everybody who reaches a Ray cluster may run code on it: it belongs into a network that is trusted.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from fathomseg.errors import FathomError
from fathomseg.parallel.base import RETRIES, Actor, Engine, LostError


class RayEngine(Engine):
    """Ray's actors, each with one processor and its share of a GPU."""

    name = "ray"

    def __init__(self) -> None:
        """Raises `FathomError` if there is no cluster where RAY_ADDRESS says."""
        self._ours = not ray.is_initialized()
        self._actors: list[RayActor] = []
        if not self._ours:
            return
        address = os.environ.get("RAY_ADDRESS")
        try:
            ray.init(
                address or "local",  # null joins a cluster of this machine, that somebody else may have started
                logging_level=logging.WARNING,
                log_to_driver=False,
                **({} if address else _OF_THIS_MACHINE),
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise FathomError(
                f"There is no Ray cluster at RAY_ADDRESS={address} ({error}). Start one with `ray start --head`, or "
                "unset the variable: then one is started on this machine alone."
            ) from None

    @property
    def gpus(self) -> int:
        """Those of all nodes."""
        return int(_resources().get("GPU", 0))

    def room(self, gpus: float) -> int:
        """As many as all nodes hold: one a processor, or what the GPUs hold, each job on one."""
        places = _resources().get("CPU", 1)
        return max(1, int(min(places, self.gpus * int(1 / gpus)) if gpus > 0 else places))

    def crew_size(self, count: int) -> int:
        """As many as the nodes hold, counted node by node: one without a place would keep its work for ever."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        fits = (size for size in range(count, 1, -1) if _places(nodes, self.share(size)) >= size)
        return next(fits, 1)

    def actor(self, make: Callable[..., object], *arguments: Any, gpus: float = 0, retries: int = RETRIES) -> Actor:
        """An actor of Ray."""
        return self._actor(make, arguments, gpus, retries, 1)

    def job(self, make: Callable[..., object], *arguments: Any, gpus: float = 0) -> Actor:
        """The same with two calls at a time, of which one may stop the other."""
        return self._actor(make, (*arguments, {}), gpus, RETRIES, 2)  # Ray sets CUDA_VISIBLE_DEVICES itself

    def close(self) -> None:
        """End all actors, and the instance if it was started here."""
        for actor in self._actors:
            actor.close()
        if self._ours:
            ray.shutdown()

    def _actor(
        self, make: Callable[..., object], arguments: Sequence[Any], gpus: float, retries: int, at_once: int
    ) -> Actor:
        # A call is tried as long as its actor is: every failed connection to a dead node counts as a try.
        tries = -1 if retries else 0
        how = {"num_cpus": 1, "num_gpus": gpus, "max_restarts": retries, "max_task_retries": tries}
        actor = RayActor(_HELD.options(**how, max_concurrency=at_once).remote(str(Path.cwd()), make, *arguments))
        self._actors.append(actor)
        return actor


class RayActor(Actor):
    """A handle of an actor of Ray."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._ready: Future[Any] = handle.ready.remote().future()

    @property
    def begun(self) -> bool:
        """Whether some node has room for it."""
        return self._ready.done()

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        """Raises what the method raised, or `LostError` (in the future) if its node died too often."""
        found: Future[Any] = Future()

        def done(call: Future[Any]) -> None:
            error = call.exception()
            if error is None:
                found.set_result(call.result())
            elif isinstance(error, RayActorError):
                found.set_exception(LostError(f"A worker or a node of the Ray cluster has died ({error})."))
            else:
                cause = error.cause if isinstance(error, RayTaskError) else error
                found.set_exception(cause if isinstance(cause, Exception) else error)

        self._handle.call.remote(method, *arguments).future().add_done_callback(done)
        return found

    def close(self) -> None:
        """End its process."""
        if ray.is_initialized():
            ray.kill(self._handle)


class _Held:
    """What Ray keeps in the process of an actor."""

    def __init__(self, folder: str, make: Callable[..., object], *arguments: Any) -> None:
        self.held: object = None
        self.error: Exception | None = None
        try:
            os.chdir(folder)  # paths are those of the command
            self.held = make(*arguments)
        except Exception as error:  # raised by the first call, since Ray would only say that the actor has died
            self.error = error

    def ready(self) -> None:
        """Returns once it is there."""

    def call(self, method: str, *arguments: Any) -> Any:
        if self.error is not None:
            raise self.error
        return getattr(self.held, method)(*arguments)


_HELD: Any = ray.remote(_Held)
_OF_THIS_MACHINE: dict[str, Any] = {"include_dashboard": False}


def _places(nodes: Sequence[Mapping[str, float]], gpus: float) -> int:
    """How many actors with a processor and this share of one GPU the nodes hold."""
    on_gpus = (int(1 / gpus) * int(node.get("GPU", 0)) if gpus else math.inf for node in nodes)
    return sum(int(min(node.get("CPU", 0), most)) for node, most in zip(nodes, on_gpus, strict=True))


def _resources() -> dict[str, float]:
    found: dict[str, float] = ray.cluster_resources()
    return found
