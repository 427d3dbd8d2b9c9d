"""Learning from few labels: a teacher's answers on unlabelled images teach a student on mixed, strongly changed ones.

One learner with parts to choose from; the published methods are recipes of it:

    mean teacher (Tarvainen & Valpola 2017)   EMA teacher, no mixing
    CutMix-Seg (French et al. 2020), ClassMix (Olsson et al. 2021), DepthMix (Hoyer et al. 2021)   the mixing rule
    UDA (Xie et al. 2020)                     the network as its own teacher, soft targets, RandAugment, annealing
    UniMatch V2 (Yang et al. 2025)            two strong views, complementary channel dropout
    Three Ways (Hoyer et al. 2021)            a joint network, depth from video learned along, DepthMix by its own depth
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import torch
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.data.colour import ColourJitter
from fathomseg.data.transforms import Geometry
from fathomseg.inference.predictor import evaluating
from fathomseg.learners.base import Batches, Learner, to_unit
from fathomseg.learners.consistency import Consistency, complementary
from fathomseg.learners.video import Frames, VideoLoss, ordered, recoloured
from fathomseg.losses.photometric import Photometric
from fathomseg.losses.segmentation import (
    Annealing,
    Ohem,
    annealed_cross_entropy,
    balancing_weights,
    cross_entropy,
    upsample,
)
from fathomseg.models.joint import JointNetwork, only
from fathomseg.models.network import Network
from fathomseg.models.norms import statistics_held
from fathomseg.models.pose import AnyPose, PoseConfig, PoseNetwork
from fathomseg.types import IGNORE, Batch, StepResult, Term

Unit = Annotated[float, Field(ge=0, le=1)]
AnySegmenter = Network | JointNetwork


class Video(Part):
    """Depth learned from video along with the classes, by a joint network."""

    geometry: Geometry = Geometry(scale=(1.0, 1.0))
    """Random crop and flip of the stream of clips; the camera follows."""
    pose: AnyPose = PoseConfig()
    """The network that tells how the camera moved."""
    align: bool = False
    """Improve each motion by direct alignment of the images at the predicted depth, as `fathom pretrain` can."""
    loss: Photometric = Photometric()
    """Photometric error and smoothness."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the photometric loss of each stream that has clips."""
    depth_lr: Annotated[float, Field(ge=0)] = 1.0
    """Learning rate of the depth decoder and its heads, as a factor of optimiser.lr. Those of a depth run want the rate
    they have learned at: classes learn fast at rates that make depth worse again, and with it DepthMix."""
    pose_lr: Annotated[float, Field(ge=0)] = 1.0
    """Learning rate of the pose network, as a factor of optimiser.lr. One that has learned from video before needs
    little: Hoyer et al. (2021) give it 1e-6 where the decoders have 1e-2."""


class SemiSupervised(Part):
    """Labelled images by cross-entropy, unlabelled ones by a teacher, video by the photometric loss, in one step."""

    name: Literal["semi"] = "semi"
    geometry: Geometry = Geometry()
    """Random scale, crop and flip of the labelled and of the unlabelled images."""
    colour: ColourJitter = ColourJitter()
    """Random colours of the labelled images; probability 0 = none."""
    balance: Unit = 0.0
    """Weigh classes by (share of labelled pixels)^-balance in the loss of the labelled images."""
    ohem: Ohem | None = None
    """Hard example mining of the labelled pixels; nothing = all pixels."""
    annealing: Annealing | None = None
    """Training-signal annealing of the labelled pixels; nothing = all count all the time."""
    unlabelled: Consistency = Consistency()
    """The loss of the images without labels."""
    intermediate: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the side output of a joint network on labelled images, beside 1 of the final one; they are averaged."""
    video: Video | None = None
    """Learn depth from clips along with it (needs network.name=joint); nothing = no photometric loss."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the averaged weights: the teacher, and the network that is evaluated and used."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.ohem is not None and (self.balance > 0 or self.annealing is not None):
            raise ValueError(
                "ohem keeps the hardest labelled pixels, each with a weight of 1, so neither balance "
                f"({self.balance:g}) nor annealing, which keeps the least sure ones, can be had beside it; set balance "
                "to 0 and one of ohem and annealing to null"
            )
        if self.unlabelled.balanced and self.balance == 0:
            raise ValueError("unlabelled.balanced has no weights to go by: give learner.balance, or leave it out")
        return self

    def build(
        self,
        network: AnySegmenter,
        pixels: Int64[Tensor, " c"],
        steps: int,
        pose: PoseNetwork | None = None,
        guessed: Mapping[str, int] | None = None,
        foreign_clips: bool = True,
    ) -> SemiLearner:
        """The training step around `network`, which is also what the teacher begins as.

        `pixels` counts the labelled pixels of every class; `steps` is the length of the training; `pose` is a network
        that `video.pose` has built (a new one if it is not given). `guessed`: as for `VideoLoss`.
        `foreign_clips`: whether clips are of another dataset than the images, whose statistics must not be averaged in.
        """
        video = None
        if self.video is not None:
            video = VideoLoss(self.video.loss, pose or self.video.pose.build(), guessed, self.video.align)
        return SemiLearner(self, network, balancing_weights(pixels, self.balance), steps, video, foreign_clips)


class SemiLearner(Learner[AnySegmenter]):
    """One step on the streams `labelled`, `unlabelled` and perhaps `clips`: all losses, to be summed and differentiated
    once. Passes: the student on each stream, the teacher on clean unlabelled images. With a joint network, images that
    come with their neighbouring frames also teach depth; where their depth is learned, that is one pass more.
    """

    weight: Float[Tensor, " c"]

    def __init__(
        self,
        config: SemiSupervised,
        network: AnySegmenter,
        weight: Float[Tensor, " c"],
        steps: int,
        video: VideoLoss | None,
        foreign_clips: bool = True,
    ) -> None:
        super().__init__(network, config.ema_decay)
        self.config, self.steps, self.video = config, steps, video
        self.register_buffer("weight", weight)
        self.done = 0
        self.foreign_clips = foreign_clips

    def forward(self, batches: Batches) -> StepResult:
        """Each stream's losses by name."""
        terms = self._labelled(batches["labelled"])
        unlabelled = self._unlabelled(batches["unlabelled"])
        terms |= unlabelled.terms
        if "clips" in batches:
            seen = recoloured(self.config.colour, ordered(batches["clips"]), batches["clips"].keys)
            with statistics_held(self._classifying):
                terms |= self._depth("clips", batches["clips"], seen)
        return StepResult(terms, unlabelled.logs)

    def after_step(self, step: int) -> None:
        """Average the network; annealing goes by the steps done."""
        super().after_step(step)
        self.done = step + 1

    def get_extra_state(self) -> dict[str, Any]:
        """The steps done, for a resumed run."""
        return {"done": self.done}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Continue from the steps done."""
        self.done = int(state["done"])

    def lr_scales(self, encoder_lr: float) -> dict[int, float]:
        """Depth and pose network have rates of their own; the pose encoder relates to its decoder as the network's."""
        scales = super().lr_scales(encoder_lr)
        if self.video is not None and self.config.video is not None:
            assert isinstance(self.network, JointNetwork)
            depth, factor = self.config.video.depth_lr, self.config.video.pose_lr
            scales |= {id(p): depth for p in self.network.depth_parameters()}
            scales |= {id(p): factor for p in self.video.pose.parameters()}
            scales |= {id(p): factor * encoder_lr for p in self.video.pose.encoder_parameters()}
        return scales

    def counts(self, batches: Batches) -> dict[str, Float[Tensor, ""]]:
        """The labelled pixels unless annealing or mining chooses among them, those of the views if all of them count.

        What a mixing rule or a warp makes of ignored pixels is known only later, so other counts are not named.
        """
        counts, label = {}, batches["labelled"].label
        if self.config.annealing is None and self.config.ohem is None and label is not None:
            names = ("segmentation", "intermediate") if self._share > 0 else ("segmentation",)
            counts = dict.fromkeys(names, (label != IGNORE).sum().float())
        if self.config.unlabelled.over == "all":
            image = batches["unlabelled"].image
            counts["consistency"] = self.weight.new_tensor(float(image[:, 0].numel() * self.config.unlabelled.views))
        return counts

    # ------------------------------------------------------------------------------------------- labelled images

    def _labelled(self, batch: Batch) -> dict[str, Term]:
        """Cross-entropy of the final and the side output, and the photometric loss if there are frames."""
        assert batch.label is not None, "the labelled stream must carry labels"
        learns_depth = self.video is not None and batch.frames is not None
        frames = ordered(batch) if learns_depth else to_unit(batch)[:, None]
        seen = recoloured(self.config.colour, frames, batch.keys)
        outputs = self._answers(seen[:, seen.shape[1] // 2], learns_depth)
        terms = {"segmentation": self._supervised(outputs["segmentation"], batch, 1 - self._share)}
        if "intermediate" in outputs:
            terms["intermediate"] = self._supervised(outputs["intermediate"], batch, self._share)
        if learns_depth:
            terms |= self._photometric("labelled", batch, seen, outputs["disparity"])
        return terms

    def _answers(self, image: Float[Tensor, "b 3 h w"], depth: bool) -> Mapping[str, Any]:
        """The student's classes, the side output if there is one, and disparity if depth is learned."""
        if not isinstance(self.network, JointNetwork):
            outputs: Mapping[str, Any] = self.network(image)
            return outputs
        side = ["intermediate"] if self._share > 0 else []
        wanted = ["segmentation", *side, *(["disparity"] if depth else [])]
        joint: Mapping[str, Any] = self.network(image, wanted)
        return joint

    def _supervised(self, logits: Float[Tensor, "b c _ _"], batch: Batch, weight: float) -> Term:
        assert batch.label is not None
        full = upsample(logits, (batch.label.shape[1], batch.label.shape[2]))
        if self.config.ohem is not None:
            return Term(*self.config.ohem(full, batch.label), weight)
        if self.config.annealing is None:
            return Term(*cross_entropy(full, batch.label, self.weight), weight)
        threshold = self.config.annealing.threshold(self.done / self.steps, full.shape[1])
        return Term(*annealed_cross_entropy(full, batch.label, threshold, self.weight), weight)

    @property
    def _share(self) -> float:
        """What part of the loss of the labelled images is that of the side output."""
        weight = self.config.intermediate if "intermediate" in self.network.heads else 0.0
        return weight / (1 + weight)

    # ----------------------------------------------------------------------------------------- unlabelled images

    def _unlabelled(self, batch: Batch) -> StepResult:
        """The consistency loss, and the photometric loss if there are frames."""
        config = self.config.unlabelled
        pixels, target = config.taught(batch, *self._taught(batch), self.weight)
        images, targets = config.views_of(pixels, target, batch.keys)
        if config.complementary_dropout:
            assert isinstance(self.network, Network), "the recipe refuses complementary dropout for other networks"
            logits = self.network.classified(complementary(self.network.encoder(images)))["segmentation"]
        else:
            logits = only(self.network, "segmentation")(images)["segmentation"]
        terms = {"consistency": config.loss(logits, targets, self.weight)}
        if self.video is not None and batch.frames is not None:
            terms |= self._depth("unlabelled", batch, ordered(batch))
        confidence = torch.cat([one.confidence for one in targets]).mean()
        return StepResult(terms, {"confidence": confidence})

    @torch.no_grad()
    def _taught(self, batch: Batch) -> tuple[Float[Tensor, "b c _ _"], Float[Tensor, "b 1 _ _"] | None]:
        """The teacher's logits on the clean images, and its disparity if mixing needs one and the batch has none."""
        teacher = self.ema.network if self.config.unlabelled.teacher == "ema" else self.network
        with evaluating(teacher):
            if not isinstance(teacher, JointNetwork):
                return teacher(to_unit(batch))["segmentation"], None
            if not self.config.unlabelled.mixing.needs_disparity or batch.disparity is not None:
                return teacher(to_unit(batch), ("segmentation",))["segmentation"], None
            outputs = teacher(to_unit(batch), ("segmentation", "disparity"))
        return outputs["segmentation"], outputs["disparity"][0].float()

    # ------------------------------------------------------------------------------------------------------ depth

    def _depth(self, stream: str, batch: Batch, seen: Frames) -> dict[str, Term]:
        """The photometric loss of a stream whose classes are not asked for."""
        assert isinstance(self.network, JointNetwork)
        return self._photometric(stream, batch, seen, self.network(seen[:, 1], ("disparity",))["disparity"])

    @property
    def _classifying(self) -> list[nn.Module]:
        """What sees foreign clips without keeping their statistics: its own are those of the images."""
        if not self.foreign_clips or not isinstance(self.network, JointNetwork):
            return []
        return self.network.classifying()

    def _photometric(
        self, stream: str, batch: Batch, seen: Frames, disparities: list[Float[Tensor, "b 1 _ _"]]
    ) -> dict[str, Term]:
        assert self.video is not None
        assert self.config.video is not None
        result = self.video(batch, seen, disparities)
        scale = self.config.video.weight
        return {
            f"{name}_{stream}": Term(term.sum, term.count, scale * term.weight) for name, term in result.terms.items()
        }
