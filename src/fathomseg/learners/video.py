"""What video teaches a depth network, for every learner that uses it: motion, cameras and the photometric loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fathomseg.data.colour import ColourJitter
from fathomseg.geometry.alignment import align
from fathomseg.geometry.numerics import full_precision
from fathomseg.geometry.pose import invert, se3
from fathomseg.losses.photometric import Photometric
from fathomseg.models.pose import PoseNetwork
from fathomseg.types import Batch, StepResult, Term

_FOCAL_UNIT: Final = 10.0
"""What a parameter of 1 stands for in log focal length, so that it moves as fast as it must at a network's rate."""

Frames = Float[Tensor, "b s 3 h w"]


class VideoLoss(nn.Module):
    """Redraws each frame from the one before and the one after, with a pose network of its own."""

    def __init__(
        self, loss: Photometric, pose: PoseNetwork, guessed: Mapping[str, int] | None = None, align: bool = False
    ) -> None:
        """`guessed`: by sample id the number of its camera, if that camera's focal length is to be learned.

        `align`: motions are improved by direct alignment at the predicted depth, and the network learns to tell them.
        """
        super().__init__()
        self.loss, self.pose, self.guessed, self.align = loss, pose, guessed or {}, align
        self.focal = nn.Parameter(torch.zeros(1 + max(guessed.values()))) if guessed else None

    def forward(self, batch: Batch, seen: Frames, disparities: Sequence[Float[Tensor, "b 1 _ _"]]) -> StepResult:
        """The photometric terms of a batch with frames and cameras.

        `seen`: the frames in the order of time, the images in the middle, as the networks see them (`ordered`, perhaps
        in other colours); the loss compares the frames as they are. `disparities` are those of the images. Pixels of
        padding are not compared.
        """
        assert batch.camera is not None, "the stream of clips must carry cameras"
        clean = ordered(batch)
        before, target, after = seen.unbind(dim=1)
        src_T_tgt = self.motions(before, target, after)
        camera = self.corrected(batch.camera, batch.ids)
        valid = None if batch.valid is None else batch.valid[:, None]
        images, sources = clean[:, 1], clean[:, [0, 2]]
        if not self.align:
            return self.loss(images, sources, disparities, camera, src_T_tgt, valid=valid)
        inverse_depth = self.loss.inverse_depth(disparities[0].detach(), images)
        aligned = align(images, sources, inverse_depth, camera.detach(), src_T_tgt.detach(), valid)
        result: StepResult = self.loss(images, sources, disparities, camera, aligned, valid=valid)
        return StepResult({**result.terms, "motion": told(src_T_tgt, aligned, inverse_depth)}, result.logs)

    def motions(
        self, before: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"], after: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b 2 4 4"]:
        """before_T_target and after_T_target from one call of the pose network, which sees frames in order of time."""
        motion = self.pose(torch.cat([before, target]), torch.cat([target, after]))
        target_T_before, after_T_target = se3(*motion).chunk(2)
        return torch.stack([invert(target_T_before), after_T_target], dim=1)

    def corrected(self, camera: Float[Tensor, "b 3 3"], ids: tuple[str, ...]) -> Float[Tensor, "b 3 3"]:
        """The cameras with the learned focal lengths in the place of the guessed ones."""
        if self.focal is None:
            return camera
        factors = torch.cat([_FOCAL_UNIT * self.focal, self.focal.new_zeros(1)]).exp()  # the last: a known camera
        number = torch.tensor([self.guessed.get(id, -1) for id in ids]).to(camera.device, non_blocking=True)
        scale = torch.stack([factors, factors, torch.ones_like(factors)], dim=1)[number]
        focal = torch.diag_embed(torch.diagonal(camera, dim1=1, dim2=2) * scale)
        return focal + camera * (1 - torch.eye(3, device=camera.device))

    def learn_focals(self, guessed: Mapping[str, int], factors: Sequence[float]) -> None:
        """Learn the focal lengths of these cameras (their number by sample id), which begin at `factors` of what they
        are given as. Must be called before the optimiser is made.
        """
        self.guessed = guessed
        self.focal = nn.Parameter(torch.tensor(factors).log() / _FOCAL_UNIT)

    def focal_factors(self) -> list[float]:
        """By what each learned focal length has grown since the beginning; empty if none is learned."""
        return [] if self.focal is None else (_FOCAL_UNIT * self.focal.detach()).exp().tolist()


@full_precision
def told(
    predicted: Float[Tensor, "b s 4 4"], aligned: Float[Tensor, "b s 4 4"], inverse_depth: Float[Tensor, "b 1 h w"]
) -> Term:
    """How far predicted motions are from aligned ones: the sum over the rotation's entries and the translation in units
    of the median depth, so that each counts by how far it moves the picture.
    """
    difference = (predicted - aligned).abs()
    median = inverse_depth.flatten(1).median(dim=1).values[:, None]
    angle = difference[..., :3, :3].sum((2, 3)) + difference[..., :3, 3].sum(2) * median
    return Term(angle.sum(), angle.new_tensor(float(angle.numel())))


def ordered(batch: Batch) -> Frames:
    """The frame before, the image and the frame after, 0..1."""
    assert batch.frames is not None, "the stream of clips must carry neighbouring frames"
    assert batch.frames.shape[1] == 2, "one frame before and one after"
    return torch.cat([batch.frames[:, :1], batch.image[:, None], batch.frames[:, 1:]], dim=1).float() / 255


def recoloured(colour: ColourJitter, frames: Frames, keys: Sequence[int]) -> Frames:
    """All frames of a sample in the same random colours."""
    count = frames.shape[1]
    return colour(frames.flatten(0, 1), [key for key in keys for _ in range(count)]).view(frames.shape)
