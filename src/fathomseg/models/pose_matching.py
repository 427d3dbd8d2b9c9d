"""A pose network that compares the frames: where each patch of the first lies in the second, read out as motion.

Networks that see two stacked frames (`pose.py`) must first learn to find correspondences, which takes them tens of
thousands of steps; until then they predict hardly any rotation. Here correspondences are computed, as in networks for
optical flow (Dosovitskiy et al., ICCV 2015; Sun et al., CVPR 2018), and motion is nearly a linear function of them.
"""

from __future__ import annotations

from typing import Final, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.models.blocks import he_init
from fathomseg.models.encoders import Encoder, FeatureEncoder
from fathomseg.models.pose_base import PoseNetwork
from fathomseg.models.precision import in_own_precision

_WIDTHS: Final = (64, 96, 128)
_UNIT: Final = 0.01
"""What an output of 1 stands for, in radians and in units of translation: poses start near "did not move"."""
_SHARPNESS: Final = 20.0
"""Factor of the cosine similarity before the softmax over displacements."""


class MatchingPose(Part):
    """A network for camera motion from correspondences between the frames' features at 1/4 of their size."""

    name: Literal["matching"] = "matching"
    encoder: Encoder = Encoder()
    """The timm model whose first two feature maps (strides 2 and 4) are used as they are; the rest is not built."""
    reach: int = Field(default=4, ge=1, le=8)
    """Displacements compared, in cells of 4 pixels each way: 4 = up to 16 pixels."""

    def build(self, pretrained: bool = True) -> MatchingPoseNetwork:
        """The network; `pretrained=False` skips the encoder's weights (a saved file brings them).

        Raises `FathomError` if the encoder or its weights cannot be had.
        """
        return MatchingPoseNetwork(self.encoder.build(pretrained, maps=2), self.reach)


class MatchingPoseNetwork(PoseNetwork):
    """Two frames -> features -> similarity of every cell to its neighbourhood -> flow -> axis-angle, translation.

    The features are not trained: they match well enough as they are, and a step costs a third of what it would.
    """

    def __init__(self, encoder: FeatureEncoder, reach: int) -> None:
        super().__init__(encoder.requires_grad_(False), "frozen")
        self.reach = reach
        inputs = (2 * reach + 1) ** 2 + 8
        layers: list[nn.Module] = []
        for width in _WIDTHS:
            layers += [nn.Conv2d(inputs, width, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
            inputs = width
        self.decoder = nn.Sequential(*layers)
        he_init(self.decoder)
        self.motion = nn.Linear(inputs + 8, 6)
        self.train(self.training)

    def forward(
        self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3"]]:
        """See `PoseNetwork.forward`."""
        similarity, moments = self.compared(first, second)
        # The decoder sees where things are; the mean of the moments alone is already a first guess of the motion.
        seen = self.decoder(torch.cat([similarity, moments], dim=1)).mean(dim=(2, 3))
        told = torch.cat([seen, moments.mean(dim=(2, 3))], dim=1)
        motion = _UNIT * in_own_precision(self.motion, told)
        return motion[:, :3], motion[:, 3:]

    @torch.no_grad()
    def compared(
        self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b d h2 w2"], Float[Tensor, "b 8 h2 w2"]]:
        """The similarities of the cells of the first frame to those of the second, and the flow they tell."""
        features = self.encoder(torch.cat([first, second]))[-1].float()
        features = F.normalize(features - features.mean((2, 3), keepdim=True), dim=1)
        before, after = features.chunk(2)
        similarity = correlation(before, after, self.reach)
        return similarity, flow_moments(flow(similarity, self.reach))


def correlation(
    first: Float[Tensor, "b c h w"], second: Float[Tensor, "b c h w"], reach: int
) -> Float[Tensor, "b d h w"]:
    """The scalar product of each cell of `first` with the cells of `second` up to `reach` away, row by row of offsets.

    Channel (dy + reach) (2 reach + 1) + dx + reach belongs to the offset (dx, dy); beyond the border it is 0.
    """
    height, width = first.shape[2:]
    padded = F.pad(second, [reach] * 4)
    offsets = range(2 * reach + 1)
    return torch.stack(
        [(first * padded[..., y : y + height, x : x + width]).sum(1) for y in offsets for x in offsets], dim=1
    )


def flow(similarity: Float[Tensor, "b d h w"], reach: int) -> Float[Tensor, "b 2 h w"]:
    """The mean displacement (x, y) of each cell under the softmax of its similarities, in cells."""
    span = torch.arange(-reach, reach + 1, device=similarity.device, dtype=similarity.dtype)
    y, x = torch.meshgrid(span, span, indexing="ij")
    offsets = torch.stack([x.flatten(), y.flatten()])
    return torch.einsum("bdhw,nd->bnhw", (_SHARPNESS * similarity).softmax(1), offsets)


def flow_moments(displacement: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b 8 h w"]:
    """Flow, flow times position, position: (u, v, ux, vx, uy, vy, x, y), positions and flow in halves of the width.

    Turning by small angles about y and x moves all cells alike, about z it gives (-y, x), and driving ahead (x, y): so
    the means of these fields say most of the motion.
    """
    height, width = displacement.shape[2:]
    half = width / 2
    x = (torch.arange(width, device=displacement.device, dtype=displacement.dtype) + 0.5 - half) / half
    y = (torch.arange(height, device=displacement.device, dtype=displacement.dtype) + 0.5 - height / 2) / half
    position = torch.stack(torch.broadcast_tensors(x, y[:, None])).expand_as(displacement)
    scaled = displacement / half
    return torch.cat([scaled, scaled * position[:, :1], scaled * position[:, 1:], position], dim=1)
