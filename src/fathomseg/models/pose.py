"""The pose network: how the camera moved between two frames (Godard et al. 2019, supplement, table 5)."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Tag
from torch import Tensor, nn

from fathomseg.config import Part, by_name
from fathomseg.errors import FathomError
from fathomseg.models.blocks import Norm, he_init
from fathomseg.models.encoders import Encoder, FeatureEncoder
from fathomseg.models.norms import FixedNorms
from fathomseg.models.pose_base import PoseNetwork
from fathomseg.models.pose_flow import FlowPose
from fathomseg.models.precision import in_own_precision

_WIDTH: Final = 256
_UNIT: Final = 0.01
"""What an output of 1 stands for, in radians and in units of translation: poses start near "did not move"."""


class PoseConfig(Part):
    """A network for camera motion: an encoder that sees both frames at once, and a small decoder (the papers')."""

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
        self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3"]]:
        """See `PoseNetwork.forward`."""
        frames = [(frame - self.encoder.mean) / self.encoder.std for frame in (first, second)]
        pair = torch.cat(frames, dim=1)
        if self.reduce > 1:
            pair = F.interpolate(pair, scale_factor=1 / self.reduce, mode="bilinear", antialias=True)
        features = self.decoder(self.encoder.net(pair)[-1])
        # The papers average the output of a 1x1 convolution; averaging its input gives the same sum.
        motion = _UNIT * in_own_precision(self.motion, features.mean(dim=(2, 3)))
        return motion[:, :3], motion[:, 3:]


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


AnyPose = Annotated[Annotated[PoseConfig, Tag("stacked")] | Annotated[FlowPose, Tag("flow")], by_name("stacked")]
"""Every pose network. Those saved before there were several have no name."""
