"""Guards of the loop: stop on a non-finite loss before the optimiser sees it, and stop politely when asked to."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, NoReturn

import torch
from torch import Tensor

from fathomseg.errors import FathomError
from fathomseg.io.progress import say


class FiniteGuard:
    """Checks the loss of a step without leaving the device idle.

    The verdict is copied to the host right after the forward pass and read only once the backward pass has been queued:
    the host then waits for the forward alone, while the device works through the backward.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._flag = torch.ones((), dtype=torch.bool, pin_memory=self._cuda)
        self._verdict: Tensor | None = None
        self._event = torch.cuda.Event() if self._cuda else None

    def note(self, loss: Tensor) -> None:
        """Take note of one micro-batch's loss (over all ranks, so that all ranks stop together)."""
        finite = torch.isfinite(loss.detach())
        self._verdict = finite if self._verdict is None else self._verdict & finite
        self._flag.copy_(self._verdict, non_blocking=True)
        if self._event is not None:
            self._event.record()

    def demand(self, step: int) -> None:
        """Raise `FathomError` if a loss noted since the last call was infinite or NaN."""
        if self._event is not None:
            self._event.synchronize()
        self._verdict = None
        if not bool(self._flag):
            raise FathomError(
                f"The loss became infinite or NaN in step {step + 1}, so training stopped before changing the weights."
                " Start again with a lower optimiser.lr, a smaller train.clip, or train.precision=fp32."
            )


class Interrupted(SystemExit):
    """Raised after the checkpoint was written, when Ctrl-C or SIGTERM asked the run to stop."""


class StopRequest:
    """Turns the first Ctrl-C or SIGTERM into a wish to stop after the current step; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self._signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # not in the main thread: the caller handles signals
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self._signal:
            raise KeyboardInterrupt
        self._signal = number

    def anywhere(self, accelerate: Any, together: bool) -> bool:
        """Whether any process was asked to stop; several processes look only at steps where they meet (`together`)."""
        if accelerate.num_processes == 1:
            return self._signal != 0
        if not together:
            return False
        flag = torch.tensor(self._signal, device=accelerate.device)
        return int(accelerate.reduce(flag, "sum")) != 0

    def leave(self, step: int) -> NoReturn:
        """End the program; the stage, which knows its command, prints how to resume."""
        say(f"Stopped after step {step}.")
        raise Interrupted(128 + (self._signal or signal.SIGTERM))
