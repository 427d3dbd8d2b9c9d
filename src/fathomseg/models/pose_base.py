"""What every pose network is to the rest: two frames in, axis-angle and translation out."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn


class PoseNetwork(nn.Module, ABC):
    """How the camera moved between two frames."""

    @abstractmethod
    def forward(
        self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3"]]:
        """(axis_angle in radians, translation in units of the depth's scale) for RGB frames 0..1 in temporal order.

        `se3(axis_angle, translation)` is second_T_first: it takes points from the first camera's frame to the second's.
        Stack all pairs of a step into one batch, each earlier frame first, and invert what is needed the other way.
        """

    def encoder_parameters(self) -> list[nn.Parameter]:
        """The parameters that were (or could have been) pretrained, for their own learning rate."""
        return []
