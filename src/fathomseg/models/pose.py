"""Pose networks: how the camera moved between two frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Final, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Tag
from torch import Tensor, nn

from fathomseg.config import Part, by_name
from fathomseg.errors import FathomError
from fathomseg.geometry.flow import optical_flow
from fathomseg.models.blocks import Norm, he_init
from fathomseg.models.encoders import Encoder, FeatureEncoder
from fathomseg.models.norms import FixedNorms, in_own_precision

_WIDTH: Final = 256
_UNIT: Final = 0.01
"""What an output of 1 stands for, in radians and in units of translation: poses start near "did not move"."""
_CELL: Final = 4
_CHANNELS: Final = 11
_WIDTHS: Final = (48, 64, 96)
_SCALE: Final = 60.0
"""Brings flow to the size of the outputs it stands for: a turn by 0.01 moves a picture by 0.01 focal lengths."""


class PoseNetwork(nn.Module, ABC):
    """How the camera moved between two frames."""

    @abstractmethod
    def forward(
        self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"], K: Float[Tensor, "b 3 3"]
    ) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3"]]:
        """(axis_angle in radians, translation in units of the depth's scale) for RGB frames 0..1 in temporal order.

        `se3(axis_angle, translation)` is second_T_first: it takes points from the first camera's frame to the second's.
        Stack all pairs of a step into one batch, each earlier frame first, and invert what is needed the other way.
        `K`: the camera of both frames, at their size.
        """

    def encoder_parameters(self) -> list[nn.Parameter]:
        """The parameters that were (or could have been) pretrained, for their own learning rate."""
        return []


class PoseConfig(Part):
    """A network for camera motion: an encoder that sees both frames at once, and a small decoder.

    As Godard et al. 2019, supplement, table 5.
    """

    name: Literal["stacked"] = "stacked"

    encoder: Encoder = Encoder()
    """The timm model; its stem is widened to six channels. The papers use resnet18."""
    reduce: Literal[1, 2, 4] = 1
    """Frames are made this many times smaller first: 2 takes a quarter of the time. Six numbers need few pixels."""
    norm: Norm = "batch"
    """batch: BatchNorm with batch statistics. frozen, group: its statistics never move (the decoder has no norms)."""

    def build(self, pretrained: bool = True) -> StackedPoseNetwork:
        """The network; `pretrained=False` skips the encoder's weights (a saved file brings them).

        Raises `FathomError` if the encoder or its weights cannot be had, or it does not begin with a convolution.
        """
        encoder = self.encoder.build(pretrained)
        widen_stem(encoder)
        return StackedPoseNetwork(encoder, self.norm, self.reduce)


class StackedPoseNetwork(FixedNorms, PoseNetwork):
    """Two frames, stacked, -> axis-angle and translation."""

    def __init__(self, encoder: FeatureEncoder, norm: Norm = "batch", reduce: int = 1) -> None:
        """`encoder`: one whose stem takes six channels (`widen_stem`)."""
        super().__init__(norm)
        self.encoder = encoder
        self.reduce = reduce
        self.decoder = nn.Sequential(
            nn.Conv2d(encoder.pyramid.channels[-1], _WIDTH, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        he_init(self.decoder)
        self.motion = nn.Linear(_WIDTH, 6)
        self.train(self.training)

    def forward(
        self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"], K: Float[Tensor, "b 3 3"]
    ) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3"]]:
        """See `PoseNetwork.forward`; the camera is not looked at."""
        frames = [(frame - self.encoder.mean) / self.encoder.std for frame in (first, second)]
        pair = torch.cat(frames, dim=1)
        if self.reduce > 1:
            pair = F.interpolate(pair, scale_factor=1 / self.reduce, mode="bilinear", antialias=True)
        features = self.decoder(self.encoder.net(pair)[-1])
        # The papers average the output of a 1x1 convolution; averaging its input gives the same sum.
        motion = _UNIT * in_own_precision(self.motion, features.mean(dim=(2, 3)))
        return motion[:, :3], motion[:, 3:]

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Those of the encoder."""
        return list(self.encoder.parameters())


def widen_stem(encoder: FeatureEncoder) -> None:
    """Make the encoder's first convolution take two frames, in place: its weights twice, halved.

    The same frame twice then gives what the frame alone gave. Raises `FathomError` for an encoder that does not begin
    with a convolution of the three colours, or whose maps are not channels first.
    """
    stem = next((m for m in encoder.net.modules() if isinstance(m, nn.Conv2d)), None)
    if stem is None or stem.in_channels != 3 or "NHWC" in str(getattr(encoder.net, "output_fmt", "")):
        raise FathomError(
            f"Encoder {encoder.pyramid.model!r} cannot see two frames: it does not begin with a convolution of the "
            "three colours. Choose a convolutional network for the pose, for example resnet18 or tf_efficientnet_lite0."
        )
    stem.weight = nn.Parameter(torch.cat([stem.weight.detach()] * 2, dim=1) / 2)
    stem.in_channels = 6


class FlowPose(Part):
    """A small network on optical flow that is computed, not learned: precise after few steps; no pretrained weights.

    Networks that see two stacked frames must first learn to find correspondences, which takes them tens of thousands of
    steps. Shown the true motions of 400 pairs of the generated streets for 300 steps, such a network still told nothing
    of the rotation of other pairs. Here the flow is computed, and motion is nearly a linear function of it.
    """

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
        self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"], K: Float[Tensor, "b 3 3"]
    ) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3"]]:
        """See `PoseNetwork.forward`."""
        fields, weight = seen_motion(first, second, K)
        # The decoder sees where things are; the mean fields alone are already a first guess of the motion.
        seen = self.decoder(fields).mean(dim=(2, 3))
        told = (fields * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1e-6)
        motion = _UNIT * in_own_precision(self.motion, torch.cat([seen, told], dim=1))
        return motion[:, :3], motion[:, 3:]


@torch.no_grad()
def seen_motion(
    first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"], K: Float[Tensor, "b 3 3"]
) -> tuple[Float[Tensor, "b 11 h2 w2"], Float[Tensor, "b 1 h2 w2"]]:
    """(u, v, ux, vx, uy, vy, x, y, xx, xy, confidence) of every cell of 4 x 4 pixels, and the confidence again.

    Flow and positions are in focal lengths, positions from the principal point, so that a crop or a zoom of the view
    changes nothing; flow times 60. Turning by small angles about y and x moves all cells nearly alike, about z it gives
    (-y, x), and driving ahead (x, y), by depth: the means of these fields say most.
    """
    grey = [image.mean(dim=1, keepdim=True) for image in (first, second)]
    flow, confidence = optical_flow(grey[0], grey[1])
    weight = F.interpolate(confidence, scale_factor=1 / _CELL, mode="area")
    scaled = F.interpolate(flow * confidence, scale_factor=1 / _CELL, mode="area") / weight.clamp(min=1e-6)
    K = K.to(scaled.dtype)
    focal, centre = (one[..., None, None] for one in (torch.diagonal(K, dim1=1, dim2=2)[:, :2], K[:, :2, 2]))
    u, v = (_SCALE * scaled / focal).split(1, dim=1)
    x, y = ((_places(scaled, *first.shape[2:]) - centre) / focal).split(1, dim=1)
    return torch.cat([u, v, u * x, v * x, u * y, v * y, x, y, x * x, x * y, weight], dim=1), weight


def _places(cells: Float[Tensor, "b 2 h2 w2"], height: int, width: int) -> Float[Tensor, "2 h2 w2"]:
    """(u, v) of the centre of every cell, in pixels of the image."""
    axes = (
        (torch.arange(n, device=cells.device, dtype=cells.dtype) + 0.5) * (pixels / n) - 0.5
        for n, pixels in zip(cells.shape[2:], (height, width), strict=True)
    )
    v, u = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([u, v])


AnyPose = Annotated[Annotated[PoseConfig, Tag("stacked")] | Annotated[FlowPose, Tag("flow")], by_name("stacked")]
"""Every pose network. Those saved before there were several have no name."""
