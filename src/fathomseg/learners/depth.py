"""Learning depth and camera motion from video alone (Godard et al. 2019): no label, no depth sensor."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.data.colour import ColourJitter
from fathomseg.data.transforms import Geometry
from fathomseg.geometry.pose import invert, se3
from fathomseg.learners.base import Batches, Learner, to_unit
from fathomseg.losses.photometric import Photometric
from fathomseg.models.depth_network import DepthNetwork
from fathomseg.models.pose import PoseConfig, PoseNetwork
from fathomseg.types import StepResult


class SelfSupervisedDepth(Part):
    """Each frame is redrawn from the frame before and the one after, by predicted disparity and camera motion."""

    name: Literal["depth"] = "depth"
    geometry: Geometry = Geometry(scale=(1.0, 1.0))
    """Random crop and flip; the camera follows."""
    colour: ColourJitter = ColourJitter(probability=0.5, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
    """Colours the networks see, alike in all frames of a sample; the loss compares the frames as they are."""
    pose: PoseConfig = PoseConfig()
    """The network that tells how the camera moved; used in training only."""
    loss: Photometric = Photometric()
    """Photometric error and smoothness."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the averaged weights of the depth network."""

    def build(self, network: DepthNetwork, pretrained: bool = True) -> DepthLearner:
        """The training step around `network`, with a pose network of its own."""
        return DepthLearner(self, network, self.pose.build(pretrained))


class DepthLearner(Learner[DepthNetwork]):
    """One step of self-supervised depth on the stream `clips`, whose samples have the frames before and after."""

    def __init__(self, config: SelfSupervisedDepth, network: DepthNetwork, pose: PoseNetwork) -> None:
        super().__init__(network, config.ema_decay)
        self.config, self.pose = config, pose

    def forward(self, batches: Batches) -> StepResult:
        """Predict disparity and both motions on jittered frames, then compare the frames as they are."""
        batch = batches["clips"]
        assert batch.frames is not None, "the stream of clips must carry neighbouring frames"
        assert batch.camera is not None, "the stream of clips must carry cameras"
        assert batch.frames.shape[1] == 2, "one frame before and one after"
        clean = torch.cat([batch.frames[:, :1], batch.image[:, None], batch.frames[:, 1:]], dim=1).float() / 255
        before, target, after = self._jittered(clean, batch.keys).unbind(dim=1)
        disparities = self.network(target)["disparity"]
        src_T_tgt = self._motions(before, target, after)
        return self.config.loss(to_unit(batch), clean[:, [0, 2]], disparities, batch.camera, src_T_tgt)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Those of the depth and of the pose network."""
        return [*self.network.encoder_parameters(), *self.pose.encoder_parameters()]

    def _jittered(self, frames: Float[Tensor, "b s 3 h w"], keys: tuple[int, ...]) -> Float[Tensor, "b s 3 h w"]:
        """All frames of a sample in the same colours."""
        count = frames.shape[1]
        jittered = self.config.colour(frames.flatten(0, 1), [key for key in keys for _ in range(count)])
        return jittered.view(frames.shape)

    def _motions(
        self, before: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"], after: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b 2 4 4"]:
        """before_T_target and after_T_target from one call of the pose network, which sees frames in order of time."""
        motion = self.pose(torch.cat([before, target]), torch.cat([target, after]))
        target_T_before, after_T_target = se3(*motion).chunk(2)
        return torch.stack([invert(target_T_before), after_T_target], dim=1)
