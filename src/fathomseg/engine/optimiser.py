"""Optimiser and learning rate: a pure function of the step, so there is no scheduler state to save."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from fathomseg.config import Part


class Optimiser(Part):
    """Which optimiser, how large its steps are, and how they shrink."""

    name: Literal["adamw", "sgd"] = "adamw"
    """AdamW (betas 0.9, 0.999) or SGD with momentum 0.9."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate of everything but the encoder, after the warm-up."""
    encoder_lr: Annotated[float, Field(ge=0)] = 0.3
    """The encoder's learning rate as a factor of `lr`; pretrained ones want smaller steps. 0 freezes its weights."""
    factors: Mapping[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Further factors of the learning rate: of `encoder` (the network's), of a task's decoder and head by the task's
    name, of `links`, and of what an objective brings by the objective's name (`photometric`: the pose network, its
    encoder included, to which `encoder_lr` then does not apply). Not named = 1; 0 freezes. What comes from a depth run
    wants the rate it has learned at: classes learn fast at rates that make depth worse again, and with it DepthMix.
    Hoyer et al. (2021) give the pose network 1e-6 where decoders have 1e-2."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled for AdamW, L2 for SGD; never on biases and normalisation layers."""
    schedule: Literal["poly", "cosine", "constant"] = "poly"
    """poly: (1 - t)^0.9; cosine: half a cosine to zero; t = step / steps."""
    drops: tuple[Annotated[int, Field(gt=0)], ...] = ()
    """Steps from which on the learning rate is a tenth of what it would be, as many papers train."""
    warmup: Annotated[int, Field(ge=0)] = 20
    """Steps over which the learning rate grows linearly from zero."""

    def build(self, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimiser over groups with the keys `params`, `lr_scale` and `decays`; `set_lr` sets their rates."""
        prepared = [
            {**group, "lr": self.lr * group["lr_scale"], "weight_decay": self.weight_decay if group["decays"] else 0.0}
            for group in groups
        ]
        if self.name == "adamw":
            return torch.optim.AdamW(prepared, fused=True)
        return torch.optim.SGD(prepared, momentum=0.9, fused=True)

    def factor(self, step: int, steps: int) -> float:
        """The learning rate of optimiser step `step` (0 = first) of `steps`, as a factor of `lr`; 0..1."""
        warm = min(1.0, (step + 1) / (self.warmup + 1)) * 0.1 ** sum(step >= drop for drop in self.drops)
        t = step / max(1, steps)
        if self.schedule == "poly":
            return warm * math.pow(1.0 - t, 0.9)
        if self.schedule == "cosine":
            return warm * 0.5 * (1.0 + math.cos(math.pi * t))
        return warm

    def set_lr(self, optimiser: torch.optim.Optimizer, step: int, steps: int) -> float:
        """Set the learning rate for one step in every group; returns that of the groups with scale 1."""
        lr = self.lr * self.factor(step, steps)
        for group in optimiser.param_groups:
            group["lr"] = lr * group["lr_scale"]
        return lr
