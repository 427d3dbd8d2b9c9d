"""What the trainer knows of a learner: a module whose forward is one whole training step's losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fathomseg.models.ema import Ema
from fathomseg.models.norms import EncoderNetwork
from fathomseg.types import Batch, StepResult

Batches = Mapping[str, Batch]
"""One batch from each stream the learner asked for, by the stream's name."""


N = TypeVar("N", bound=EncoderNetwork)


class Learner(nn.Module, ABC, Generic[N]):
    """A training step. Everything a checkpoint must hold, the averaged network included, is in its `state_dict`."""

    def __init__(self, network: N, ema_decay: float) -> None:
        super().__init__()
        self.network: N = network
        self.ema = Ema(network, ema_decay)

    @abstractmethod
    def forward(self, batches: Batches) -> StepResult:
        """The losses of one (micro-)batch of every stream."""

    def counts(self, batches: Batches) -> dict[str, Float[Tensor, ""]]:
        """Counts of loss terms that can be read off the data before the forward pass.

        With them, accumulating micro-batches gives exactly the gradient of the whole batch. Terms that are not named
        here are averaged within each micro-batch first.
        """
        return {}

    def after_step(self, step: int) -> None:
        """Called after every optimiser step."""
        self.ema.update(self.network, step)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """The parameters that get the encoder's learning rate."""
        return self.network.encoder_parameters()

    def lr_scales(self, encoder_lr: float) -> dict[int, float]:
        """The factors of the learning rate of the parameters that have one, by the `id` of the parameter."""
        return {id(parameter): encoder_lr for parameter in self.encoder_parameters()}

    def parameter_groups(self, encoder_lr: float) -> Sequence[dict[str, Any]]:
        """Optimiser groups: `lr_scale` for the encoder, no weight decay on vectors (biases, normalisation layers).

        Every trainable parameter of the learner is in one group, also those of parts beside the network.
        """
        scales = self.lr_scales(encoder_lr)
        groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
        for parameter in self.parameters():
            if parameter.requires_grad:
                group = (id(parameter) in scales, scales.get(id(parameter), 1.0), parameter.ndim > 1)
                groups.setdefault(group, []).append(parameter)
        return [
            {"params": parameters, "lr_scale": scale, "decays": decays}
            for (_, scale, decays), parameters in sorted(groups.items(), reverse=True)
        ]


def to_unit(batch: Batch) -> Float[Tensor, "b 3 h w"]:
    """Images as float32 in 0..1, converted on the device so that a quarter of the bytes travels there."""
    return batch.image.to(torch.float32).div_(255.0)
