"""Learning depth and camera motion from video alone (Godard et al. 2019): no label, no depth sensor."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.data.colour import ColourJitter
from fathomseg.data.transforms import Geometry
from fathomseg.learners.base import Batches, Learner
from fathomseg.learners.video import VideoLoss, ordered, recoloured
from fathomseg.losses.photometric import Photometric
from fathomseg.models.depth_network import DepthNetwork
from fathomseg.models.encoders import FeatureEncoder
from fathomseg.models.pose import AnyPose, PoseConfig, PoseNetwork
from fathomseg.types import StepResult, Term


class SelfSupervisedDepth(Part):
    """Each frame is redrawn from the frame before and the one after, by predicted disparity and camera motion."""

    name: Literal["depth"] = "depth"
    geometry: Geometry = Geometry(scale=(1.0, 1.0))
    """Random crop and flip; the camera follows."""
    colour: ColourJitter = ColourJitter(probability=0.5, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
    """Colours the networks see, alike in all frames of a sample; the loss compares the frames as they are."""
    pose: AnyPose = PoseConfig()
    """The network that tells how the camera moved; used in training only."""
    align: bool = False
    """Improve each motion by direct alignment of the images at the predicted depth (`geometry/alignment.py`): several
    times as precise. The pose network learns to tell what alignment finds."""
    loss: Photometric = Photometric()
    """Photometric error and smoothness."""
    train_encoder: bool = True
    """false: the encoder keeps its weights (its BatchNorm statistics still move, unless norm=frozen)."""
    feature_distance: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the distance of the deepest features from those of the encoder as `network.encoder.pretrained` gives it
    (whatever `start` loads), so that what ImageNet taught is not forgotten: the mean over images of the L2 norm. Hoyer
    et al. (2021) take 0.01 times the norm over a whole batch of 4, which is 0.02 here: norms of a batch grow with the
    square root of its images."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the averaged weights of the depth network."""

    def build(
        self, network: DepthNetwork, pretrained: bool = True, guessed: Mapping[str, int] | None = None
    ) -> DepthLearner:
        """The training step around `network`, with a pose network of its own.

        `guessed`: by sample id the number of its camera, if that camera's focal length is to be learned.
        """
        return DepthLearner(self, network, VideoLoss(self.loss, self.pose.build(pretrained), guessed, self.align))


class DepthLearner(Learner[DepthNetwork]):
    """One step of self-supervised depth on the stream `clips`, whose samples have the frames before and after."""

    def __init__(self, config: SelfSupervisedDepth, network: DepthNetwork, video: VideoLoss) -> None:
        super().__init__(network, config.ema_decay)
        self.config, self.video = config, video
        network.encoder.requires_grad_(config.train_encoder)
        keeps = config.feature_distance > 0
        self.original = copy.deepcopy(network.encoder).requires_grad_(False) if keeps else None

    def forward(self, batches: Batches) -> StepResult:
        """Predict disparity and both motions on jittered frames, then compare the frames as they are."""
        batch = batches["clips"]
        seen = recoloured(self.config.colour, ordered(batch), batch.keys)
        target = seen[:, 1]
        maps = self.network.encoder(target)
        result: StepResult = self.video(batch, seen, self.network.disparities(maps))
        if self.original is None:
            return result
        distance = self._feature_distance(self.original, target, maps[-1])
        return StepResult({**result.terms, "feature_distance": distance}, result.logs)

    @property
    def pose(self) -> PoseNetwork:
        """The network that tells how the camera moved."""
        return self.video.pose

    def focal_factors(self) -> list[float]:
        """By what each learned focal length has grown since the beginning; empty if none is learned."""
        return self.video.focal_factors()

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Those of the depth and of the pose network."""
        return [*self.network.encoder_parameters(), *self.pose.encoder_parameters()]

    def train(self, mode: bool = True) -> DepthLearner:
        """The original encoder stays in eval mode."""
        super().train(mode)
        if self.original is not None:
            self.original.eval()
        return self

    def _feature_distance(
        self, encoder: FeatureEncoder, image: Float[Tensor, "b 3 h w"], deepest: Float[Tensor, "b c h2 w2"]
    ) -> Term:
        with torch.no_grad():
            wanted = encoder(image)[-1]
        norms = torch.linalg.vector_norm((deepest.float() - wanted.float()).flatten(1), dim=1)
        return Term(norms.sum(), norms.new_tensor(float(len(norms))), weight=self.config.feature_distance)
