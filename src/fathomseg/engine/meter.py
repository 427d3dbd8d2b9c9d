"""Running averages of what is logged, kept on the device so that no step waits for the host."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fathomseg.errors import FathomError


class Meter:
    """Averages since the last `take`: losses as sum / count, other scalars and the gradient norm over the steps."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self._lr = self._ema_decay = 0.0
        self._broken = False

    def add_term(self, name: str, total: Tensor, count: Tensor) -> None:
        """Add a loss term's sum and count over all ranks."""
        zero = torch.zeros((), device=self.device)
        self._sums[name] = self._sums.get(name, zero) + total
        self._counts[name] = self._counts.get(name, zero) + count

    def add_logs(self, logs: Mapping[str, Tensor]) -> None:
        """Add scalars that are only logged."""
        for name, value in logs.items():
            self.add_term(name, value.detach().float(), torch.ones((), device=self.device))

    def add_step(self, lr: float, ema_decay: float, gradient_norm: Tensor) -> None:
        """Note the end of an optimiser step, with the decay that the averaged weights had in it."""
        self._lr, self._ema_decay = lr, ema_decay
        self.add_term("gradient_norm", gradient_norm.detach().float(), torch.ones((), device=self.device))

    def demand_finite(self, step: int) -> None:
        """Stop before a checkpoint is written whose weights a non-finite gradient has reached."""
        norm = self._sums.get("gradient_norm")
        if self._broken or (norm is not None and not bool(torch.isfinite(norm))):
            raise FathomError(
                f"The gradient became infinite or NaN before step {step}; the checkpoint before it was kept."
                " Lower optimiser.lr, or use train.precision=fp32."
            )

    def take(self) -> dict[str, float]:
        """The averages so far as plain numbers, and a fresh start. This is where the host waits for the device."""
        if not (names := list(self._sums)):
            return {}
        sums = torch.stack([self._sums[name] for name in names])
        counts = torch.stack([self._counts[name] for name in names])
        values = (sums / counts.clamp(min=1)).tolist()
        self._sums, self._counts = {}, {}
        found = dict(zip(names, values, strict=True))
        # A line of the log comes right before a checkpoint, which must know of what has gone into the line.
        self._broken |= not math.isfinite(found.get("gradient_norm", 0.0))
        return {**found, "lr": self._lr, "ema_decay": self._ema_decay}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs, so that an average that spans an interruption comes out the same."""
        return {"sums": dict(self._sums), "counts": dict(self._counts), "lr": self._lr, "ema_decay": self._ema_decay}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue averaging where `state` stopped."""
        self._sums = {name: value.to(self.device) for name, value in state["sums"].items()}
        self._counts = {name: value.to(self.device) for name, value in state["counts"].items()}
        self._lr, self._ema_decay = state["lr"], state["ema_decay"]
