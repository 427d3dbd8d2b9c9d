"""A pose network that is shown optical flow: how everything moves between the frames, read out as camera motion.

Networks that see two stacked frames (`pose.py`) must first learn to find correspondences, which takes them tens of
thousands of steps. Shown the true motions of 400 pairs of the generated streets for 300 steps, such a network still
told nothing of the rotation of other pairs. Here the flow is computed, and motion is nearly a linear function of it.
"""

from __future__ import annotations

from typing import Final, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.geometry.flow import optical_flow
from fathomseg.models.blocks import he_init
from fathomseg.models.pose_base import PoseNetwork
from fathomseg.models.precision import in_own_precision

_CELL: Final = 4
_CHANNELS: Final = 11
_WIDTHS: Final = (48, 64, 96)
_UNIT: Final = 0.01
"""What an output of 1 stands for, in radians and in units of translation: poses start near "did not move"."""
_SCALE: Final = 50.0
"""Brings flow to the size of the outputs it stands for: a turn by 0.01 moves a picture by about 0.015 halves of it."""


class FlowPose(Part):
    """A small network on optical flow that is computed, not learned: precise after few steps; no pretrained weights."""

    name: Literal["flow"] = "flow"

    def build(self, pretrained: bool = True) -> FlowPoseNetwork:
        """The network, which always starts from random weights."""
        return FlowPoseNetwork()


class FlowPoseNetwork(PoseNetwork):
    """Two frames -> flow with its confidence, in cells of 4 x 4 pixels -> axis-angle, translation."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = _CHANNELS
        for width in _WIDTHS:
            layers += [nn.Conv2d(inputs, width, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
            inputs = width
        self.decoder = nn.Sequential(*layers)
        he_init(self.decoder)
        self.motion = nn.Linear(inputs + _CHANNELS, 6)

    def forward(
        self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3"]]:
        """See `PoseNetwork.forward`."""
        fields, weight = seen_motion(first, second)
        # The decoder sees where things are; the mean fields alone are already a first guess of the motion.
        seen = self.decoder(fields).mean(dim=(2, 3))
        told = (fields * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1e-6)
        motion = _UNIT * in_own_precision(self.motion, torch.cat([seen, told], dim=1))
        return motion[:, :3], motion[:, 3:]


@torch.no_grad()
def seen_motion(
    first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"]
) -> tuple[Float[Tensor, "b 11 h2 w2"], Float[Tensor, "b 1 h2 w2"]]:
    """(u, v, ux, vx, uy, vy, x, y, xx, xy, confidence) of every cell of 4 x 4 pixels, and the confidence again.

    Flow and positions are in halves of the width, flow times 50. Turning by small angles about y and x moves all cells
    nearly alike, about z it gives (-y, x), and driving ahead (x, y), by depth: the means of these fields say most.
    """
    grey = [image.mean(dim=1, keepdim=True) for image in (first, second)]
    flow, confidence = optical_flow(grey[0], grey[1])
    half = first.shape[3] / 2
    weight = F.interpolate(confidence, scale_factor=1 / _CELL, mode="area")
    scaled = F.interpolate(flow * confidence, scale_factor=1 / _CELL, mode="area") / weight.clamp(min=1e-6)
    u, v = (_SCALE / half * scaled).split(1, dim=1)
    x, y = (field.expand_as(u) for field in _positions(u))
    return torch.cat([u, v, u * x, v * x, u * y, v * y, x, y, x * x, x * y, weight], dim=1), weight


def _positions(like: Float[Tensor, "b 1 h w"]) -> tuple[Float[Tensor, "w"], Float[Tensor, "h 1"]]:
    """x of every column and y of every row from the centre, in halves of the width."""
    height, width = like.shape[2:]
    half = width / 2
    x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5 - half) / half
    y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5 - height / 2) / half
    return x, y[:, None]
