"""Learning depth and camera motion from video alone (Godard et al. 2019): no label, no depth sensor."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Final, Literal

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
from fathomseg.models.encoders import FeatureEncoder
from fathomseg.models.pose import PoseConfig, PoseNetwork
from fathomseg.types import StepResult, Term

_FOCAL_UNIT: Final = 10.0
"""What a parameter of 1 stands for in log focal length, so that it moves as fast as it must at a network's rate."""


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
        return DepthLearner(self, network, self.pose.build(pretrained), guessed or {})


class DepthLearner(Learner[DepthNetwork]):
    """One step of self-supervised depth on the stream `clips`, whose samples have the frames before and after."""

    def __init__(
        self, config: SelfSupervisedDepth, network: DepthNetwork, pose: PoseNetwork, guessed: Mapping[str, int]
    ) -> None:
        super().__init__(network, config.ema_decay)
        self.config, self.pose = config, pose
        network.encoder.requires_grad_(config.train_encoder)
        keeps = config.feature_distance > 0
        self.original = copy.deepcopy(network.encoder).requires_grad_(False) if keeps else None
        self.guessed = guessed
        self.focal = nn.Parameter(torch.zeros(1 + max(guessed.values()))) if guessed else None

    def forward(self, batches: Batches) -> StepResult:
        """Predict disparity and both motions on jittered frames, then compare the frames as they are."""
        batch = batches["clips"]
        assert batch.frames is not None, "the stream of clips must carry neighbouring frames"
        assert batch.camera is not None, "the stream of clips must carry cameras"
        assert batch.frames.shape[1] == 2, "one frame before and one after"
        clean = torch.cat([batch.frames[:, :1], batch.image[:, None], batch.frames[:, 1:]], dim=1).float() / 255
        before, target, after = self._jittered(clean, batch.keys).unbind(dim=1)
        maps = self.network.encoder(target)
        disparities = self.network.disparities(maps)
        src_T_tgt = self._motions(before, target, after)
        camera = self._corrected(batch.camera, batch.ids)
        result = self.config.loss(to_unit(batch), clean[:, [0, 2]], disparities, camera, src_T_tgt)
        if self.original is None:
            return result
        distance = self._feature_distance(self.original, target, maps[-1])
        return StepResult({**result.terms, "feature_distance": distance}, result.logs)

    def focal_factors(self) -> list[float]:
        """By what each learned focal length has grown since the beginning; empty if none is learned."""
        return [] if self.focal is None else (_FOCAL_UNIT * self.focal.detach()).exp().tolist()

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Those of the depth and of the pose network."""
        return [*self.network.encoder_parameters(), *self.pose.encoder_parameters()]

    def train(self, mode: bool = True) -> DepthLearner:
        """The original encoder stays in eval mode."""
        super().train(mode)
        if self.original is not None:
            self.original.eval()
        return self

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

    def _corrected(self, camera: Float[Tensor, "b 3 3"], ids: tuple[str, ...]) -> Float[Tensor, "b 3 3"]:
        """The cameras with the learned focal lengths in the place of the guessed ones."""
        if self.focal is None:
            return camera
        factors = torch.cat([_FOCAL_UNIT * self.focal, self.focal.new_zeros(1)]).exp()  # the last: a known camera
        number = torch.tensor([self.guessed.get(id, -1) for id in ids]).to(camera.device, non_blocking=True)
        one = torch.ones_like(factors)
        scale = torch.stack([factors, factors, one], dim=1)[number]
        focal = torch.diag_embed(torch.diagonal(camera, dim1=1, dim2=2) * scale)
        return focal + camera * (1 - torch.eye(3, device=camera.device))

    def _feature_distance(
        self, encoder: FeatureEncoder, image: Float[Tensor, "b 3 h w"], deepest: Float[Tensor, "b c h2 w2"]
    ) -> Term:
        with torch.no_grad():
            wanted = encoder(image)[-1]
        norms = torch.linalg.vector_norm((deepest.float() - wanted.float()).flatten(1), dim=1)
        return Term(norms.sum(), norms.new_tensor(float(len(norms))), weight=self.config.feature_distance)
