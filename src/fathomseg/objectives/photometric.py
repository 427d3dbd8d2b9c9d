"""The objective `photometric`: depth and camera motion from video, by view synthesis (Godard et al. 2019).

Each frame is synthesised from the one before and the one after, by predicted disparity and camera motion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fathomseg.geometry.alignment import align
from fathomseg.geometry.numerics import full_precision
from fathomseg.geometry.pose import invert, se3
from fathomseg.losses.disparity import means
from fathomseg.losses.moving import AnyMoving, Anything, Views
from fathomseg.losses.photometric import PhotometricLoss
from fathomseg.models.network import Network, Outputs
from fathomseg.models.norms import evaluating
from fathomseg.models.pose import AnyPose, PoseConfig, PoseNetwork
from fathomseg.objectives.base import Base, Nets, Objective, ObjectiveModule, Request, Setup, Shown, ordered
from fathomseg.tasks.base import nothing
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import Batch, ClassList, StepResult, Term

_FOCAL_UNIT: Final = 10.0
"""What a parameter of 1 stands for in log focal length, so that it moves as fast as it must at a network's rate."""


class Photometric(Objective):
    """Settings of joint or pure self-supervised depth."""

    name: Literal["photometric"] = "photometric"
    stream: str | tuple[str, ...] = "clips"
    pose: AnyPose = PoseConfig()
    """The network that predicts how the camera moved; used in training only."""
    align: bool = False
    """Improve each motion by direct alignment of the images at the predicted depth (`geometry/alignment.py`): several
    times as precise. The pose network learns to predict what alignment finds."""
    loss: PhotometricLoss = PhotometricLoss()
    """Photometric error and smoothness."""
    moving: AnyMoving = Anything()
    """Which pixels move in the world and are left out: `classes` (by labels, or a teacher's), `residual_flow` (by what
    the camera's motion does not explain). The loss assumes that nothing moves."""

    single: ClassVar[str | None] = "pose network"

    def learns(self, network: NetworkConfig) -> frozenset[str]:
        """Depth."""
        return frozenset({"depth"})

    def needs(self, network: NetworkConfig) -> frozenset[str]:
        """The frames before and after, and the camera."""
        return frozenset({"frames", "camera"})

    def uses(self, network: NetworkConfig) -> frozenset[str]:
        """Classes, if moving pixels are found by them."""
        return self.moving.uses()

    def misfit(self, network: NetworkConfig) -> str | None:
        """Video does not tell metres, and images are synthesised by disparity."""
        depth = network.tasks.get("depth")
        if isinstance(depth, Depth) and depth.output != "disparity":
            return f"it learns disparity, but network.tasks.depth.output={depth.output}: set it to disparity"
        return None

    def refuse(self, classes: ClassList | None) -> None:
        """Classes that move, if the data has none of them."""
        self.moving.indices(classes)

    def brings(self, network: Network, pretrained: bool) -> nn.ModuleDict:
        """The pose network."""
        return nn.ModuleDict({"pose": self.pose.build(pretrained)})

    def build(self, setup: Setup, network: Network, brought: nn.ModuleDict) -> PhotometricObjective:
        """Learns the focal lengths the setup names along with it."""
        depth_range = setup.network.tasks["depth"].depth_range
        assert depth_range is not None
        pose = brought["pose"]
        assert isinstance(pose, PoseNetwork)
        moving = self.moving.indices(setup.classes)
        cameras = setup.focal_cameras
        return PhotometricObjective(self, pose, depth_range, setup.focal_ids, setup.focal_factors, moving, cameras)


class PhotometricObjective(ObjectiveModule):
    """The photometric loss with its pose network and learned cameras."""

    def __init__(
        self,
        config: Photometric,
        pose: PoseNetwork,
        depth_range: tuple[float, float],
        focal_ids: Mapping[str, int] | None = None,
        focal_factors: Sequence[float] = (),
        moving: tuple[int, ...] = (),
        focal_cameras: Sequence[tuple[str, float]] = (),
    ) -> None:
        """`focal_ids`: by sample id the number of its camera, if that camera's focal length is to be learned; it begins
        at `focal_factors` (by camera) times what it is given as. `moving`: the classes that move. `focal_cameras`: by
        camera the name it is logged by and what it is given as, in pixels."""
        super().__init__()
        self.moving = moving
        self.config, self.pose, self.depth_range, self.focal_ids = config, pose, depth_range, focal_ids or {}
        self.focal = nn.Parameter(torch.tensor(focal_factors).log() / _FOCAL_UNIT) if focal_ids else None
        self.focal_names = tuple(name for name, _ in focal_cameras) if focal_ids else ()
        self.given_px: Tensor
        self.register_buffer("given_px", torch.tensor([px for _, px in focal_cameras]), persistent=False)

    def request(self, batch: Batch, base: Base, nets: Nets) -> Request:
        """Disparity of the images."""
        return Request(lambda outputs, _: self._losses(batch, base, outputs), frozenset({"depth"}))

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Those of the pose network."""
        return self.pose.encoder_parameters()

    def _losses(self, batch: Batch, base: Base, outputs: Outputs) -> StepResult:
        """The terms of the samples that have neighbours and a camera."""
        disparities: Sequence[Float[Tensor, "b 1 _ _"]] = outputs["depth"]
        if "frames" not in batch.targets or "camera" not in batch.targets:
            return self._nothing(disparities)
        rows = batch.rows("frames", "camera")
        none = not rows
        rows = rows or [0]  # a batch in which no sample has them still gives every term, with a count of zero
        assert base.frames is not None
        assert base.clean_frames is not None
        if len(rows) < len(batch):
            index = torch.tensor(rows).to(batch.image.device, non_blocking=True)
            seen, clean = base.frames[index], base.clean_frames[index]
            disparities = [disparity[index] for disparity in disparities]
        else:
            seen, clean = base.frames, base.clean_frames
        result = self.losses(batch.take(rows), seen, clean, disparities)
        terms = {}
        for name, term in result.terms.items():
            total, count = (0 * term.sum, 0 * term.count) if none else (term.sum, term.count)
            own = "" if name == "photometric" else name  # the main term goes by the objective's own name
            terms[own] = Term(total, count, term.weight)
        return StepResult(terms, {**result.logs, **self.focal_logs()})

    def _nothing(self, disparities: Sequence[Float[Tensor, "b 1 _ _"]]) -> StepResult:
        """Every term of a batch without frames, in the usual order, with a gradient of zero for every parameter."""
        total, count = nothing(disparities)
        total = total + sum(0 * parameter.sum() for parameter in self.parameters())
        names = ("", "smoothness", *self.config.loss.extra_terms, *(["motion"] if self.config.align else []))
        moving = {} if isinstance(self.config.moving, Anything) else {"moving": count}
        logs = {"automasked": count, **moving, **self.focal_logs()}
        return StepResult({name: Term(total, count) for name in names}, logs)

    def losses(
        self,
        batch: Batch,
        seen: Float[Tensor, "b s 3 h w"],
        clean: Float[Tensor, "b s 3 h w"],
        disparities: Sequence[Float[Tensor, "b 1 _ _"]],
    ) -> StepResult:
        """The photometric terms of a batch with frames and cameras.

        `seen`: the frames in the order of time, the images in the middle, as the networks see them; `clean`: as they
        are stored, which the loss compares. `disparities` are those of the images. Pixels of padding are not compared.
        """
        before, target, after = seen.unbind(dim=1)
        camera = self.corrected(batch.targets["camera"], batch.ids)
        src_T_tgt = self.motions(before, target, after, camera.detach())
        valid = None if batch.valid is None else batch.valid[:, None]
        images, sources = clean[:, 1], _neighbours(clean)
        loss, depths = self.config.loss, self.depth_range
        inverse_depth = loss.inverse_depth(disparities[0].detach(), images, depths)
        views = Views(images, sources, inverse_depth, camera.detach(), src_T_tgt.detach(), batch.targets)
        aligned, weight = self._still(views, valid)
        used = aligned if self.config.align else src_T_tgt
        result: StepResult = loss(images, sources, disparities, camera, used, depths, valid=valid, weight=weight)
        logs = dict(result.logs)
        if not isinstance(self.config.moving, Anything):
            moving = torch.zeros_like(clean[:, 1, :1]) if weight is None else (weight < 1).to(weight.dtype)
            logs["moving"] = means(moving, valid).mean()
        if not self.config.align:
            return StepResult(result.terms, logs)
        return StepResult({**result.terms, "motion": motion_error(src_T_tgt, used, inverse_depth)}, logs)

    @torch.no_grad()
    def _still(
        self, views: Views, valid: Bool[Tensor, "b 1 h w"] | None
    ) -> tuple[Float[Tensor, "b s 4 4"], Float[Tensor, "b 1 h w"] | None]:
        """The motions, aligned by what does not move if that is asked for; and how much each pixel counts, None = 1."""
        config = self.config

        def aligned(views: Views, valid: Bool[Tensor, "b 1 h w"] | None) -> Views:
            motion = align(views.image, views.sources, views.inverse_depth, views.K, views.src_T_tgt, valid)
            return replace(views, src_T_tgt=motion)

        if config.align and config.moving.by_motion:  # the better it is, the less of the world seems to move
            views = aligned(views, valid)
        weight = config.moving.weight(views, self.moving)
        if config.align:
            if weight is not None:
                valid = weight > 0 if valid is None else valid & (weight > 0)
            views = aligned(views, valid)
        return views.src_T_tgt, weight

    @torch.no_grad()
    def shown(self, batch: Batch, base: Base, nets: Nets) -> list[Shown]:
        """Frames, their depth by the averaged network, the frame before warped onto them, and the error that leaves."""
        if not (rows := batch.rows("frames", "camera")):
            return []
        batch = batch.take(rows)
        clean = ordered(batch)
        before, target, after = clean.unbind(dim=1)
        disparity = nets.averaged(target, ("depth",))["depth"][0]
        inverse_depth = self.config.loss.inverse_depth(disparity, target, self.depth_range)
        camera, sources = self.corrected(batch.targets["camera"], batch.ids), _neighbours(clean)
        with evaluating(self.pose):
            moved = self.motions(before, target, after, camera)
        if self.config.align:
            views = Views(target.contiguous(), sources, inverse_depth, camera, moved, batch.targets)
            moved, _ = self._still(views, None if batch.valid is None else batch.valid[:, None])
        warped, error = self.config.loss.look(target, sources, disparity, camera, moved, self.depth_range)
        return [
            Shown("frame", "image", target, batch.ids),
            Shown("learned depth", "depth", 1 / inverse_depth, batch.ids),
            Shown("the frame before, warped by depth and motion", "image", warped[:, 0], batch.ids),
            Shown("photometric error of the better neighbour", "share", error, batch.ids),
        ]

    def motions(
        self,
        before: Float[Tensor, "b 3 h w"],
        target: Float[Tensor, "b 3 h w"],
        after: Float[Tensor, "b 3 h w"],
        K: Float[Tensor, "b 3 3"],
    ) -> Float[Tensor, "b 2 4 4"]:
        """before_T_target and after_T_target from one call of the pose network, which sees frames in order of time."""
        motion = self.pose(torch.cat([before, target]), torch.cat([target, after]), torch.cat([K, K]))
        target_T_before, after_T_target = se3(*motion).chunk(2)
        return torch.stack([invert(target_T_before), after_T_target], dim=1)

    def corrected(self, camera: Float[Tensor, "b 3 3"], ids: tuple[str, ...]) -> Float[Tensor, "b 3 3"]:
        """The cameras with the learned focal lengths in the place of the assumed ones."""
        if self.focal is None:
            return camera
        factors = torch.cat([_FOCAL_UNIT * self.focal, self.focal.new_zeros(1)]).exp()  # the last: a known camera
        number = torch.tensor([self.focal_ids.get(id, -1) for id in ids]).to(camera.device, non_blocking=True)
        scale = torch.stack([factors, factors, torch.ones_like(factors)], dim=1)[number]
        focal = torch.diag_embed(torch.diagonal(camera, dim1=1, dim2=2) * scale)
        return focal + camera * (1 - torch.eye(3, device=camera.device))

    def focal_logs(self) -> dict[str, Float[Tensor, ""]]:
        """The focal length of each camera that is learned, in pixels of its stored images."""
        if self.focal is None or not self.focal_names:
            return {}
        lengths = self.given_px * (_FOCAL_UNIT * self.focal.detach()).exp()
        return {f"focal_px.{name}": px for name, px in zip(self.focal_names, lengths.unbind(), strict=True)}

    def focal_factors(self) -> list[float]:
        """By what each learned focal length has grown since the beginning; empty if none is learned."""
        return [] if self.focal is None else (_FOCAL_UNIT * self.focal.detach()).exp().tolist()


def _neighbours(frames: Float[Tensor, "b 3 c h w"]) -> Float[Tensor, "b 2 c h w"]:
    """The frames before and after; indexing by a list would copy it to the device, and wait."""
    return frames[:, ::2].contiguous()


@full_precision
def motion_error(
    predicted: Float[Tensor, "b s 4 4"], aligned: Float[Tensor, "b s 4 4"], inverse_depth: Float[Tensor, "b 1 h w"]
) -> Term:
    """How far predicted motions are from aligned ones: the sum over the rotation's entries and the translation in units
    of the median depth, so that each counts by how far it moves the picture.
    """
    difference = (predicted - aligned).abs()
    median = inverse_depth.flatten(1).median(dim=1).values[:, None]
    angle = difference[..., :3, :3].sum((2, 3)) + difference[..., :3, 3].sum(2) * median
    return Term(angle.sum(), angle.new_full((), angle.numel()))
