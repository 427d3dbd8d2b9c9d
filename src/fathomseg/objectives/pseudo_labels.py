"""The objective `pseudo_labels`: the student learns a teacher's predictions on unlabelled images, on mixed, augmented
ones.

The published methods are settings of it:

    mean teacher (Tarvainen & Valpola 2017)   EMA teacher, no mixing
    CutMix-Seg (French et al. 2020), ClassMix (Olsson et al. 2021), DepthMix (Hoyer et al. 2021)   the mixing rule
    UDA (Xie et al. 2020)                     the network as its own teacher, soft targets, RandAugment
    UniMatch V2 (Yang et al. 2025)            two augmented views, complementary channel dropout
    DACS (Tranheden et al. 2021)              ClassMix of a `partner` stream, the source, with the target
    cross-domain DepthMix (Hoyer et al. 2023, IJCV)   DepthMix with a `partner`, the margin of either sign
    MIC (Hoyer et al. 2023, CVPR)             no mixing, `masking`
    CorDA (Wang et al. 2021, ICCV)            DACS with `depth_agreement`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from fathomseg.augment import AnyAugmentation, Colours, Masking
from fathomseg.errors import FathomError
from fathomseg.geometry.camera import disparity_to_depth
from fathomseg.geometry.numerics import full_precision
from fathomseg.losses.depth_agreement import DepthAgreement
from fathomseg.losses.distribution import DistributionAlignment, shares_of, together
from fathomseg.losses.ego_vehicle import EgoVehicle, counted
from fathomseg.losses.segmentation import upsample
from fathomseg.losses.targets import (
    AnyTarget,
    AnyWeighting,
    ConfidentFraction,
    HardTarget,
    Lesson,
    SoftTarget,
    Target,
    consistency,
    with_truth,
)
from fathomseg.mixing import AnyMixing, ClassMix, NoMix, Pixels, mix, mix_pairs, subkeys, unit_disparity
from fathomseg.models.network import Network, Outputs
from fathomseg.models.norms import evaluating, has_batch_norm
from fathomseg.objectives.base import (
    Base,
    Nets,
    Objective,
    ObjectiveModule,
    Request,
    Setup,
    Shown,
    View,
    Weight,
    to_unit,
)
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.network import NetworkConfig
from fathomseg.tasks.source_depth import SOURCE_DEPTH
from fathomseg.types import IGNORE, Batch, ClassList, Size, StepResult, Term


class PseudoLabels(Objective):
    """Settings of the loss of the images without labels."""

    name: Literal["pseudo_labels"] = "pseudo_labels"
    stream: str | tuple[str, ...] = "unlabelled"
    teacher: Literal["ema", "self"] = "ema"
    """ema: the averaged network. self: the network as it is, as in UDA. Either in eval mode and without a gradient."""
    target: AnyTarget = HardTarget()
    """hard: the teacher's best class. soft: its sharpened probabilities, which cannot be mixed."""
    teacher_sees: Literal["whole", "view"] = "whole"
    """whole: the whole image at working size, whatever part of it the student is shown. view: what the student is shown
    before it is mixed and recoloured (as published); cheaper, if the crop is much smaller than the image."""
    weighting: AnyWeighting = ConfidentFraction()
    """How much each pixel counts by how sure the teacher is."""
    normalize_by: Literal["valid", "all", "kept"] = "valid"
    """What the loss is divided by: pixels not ignored, all pixels (Hoyer et al. 2021), or the weights of the pixels."""
    truth: bool = True
    """Ground truth takes the place of the pseudo-label on images of the stream that are among the labelled ones."""
    mixing: AnyMixing = ClassMix()
    """none, cutmix, classmix, depthmix, or several of them."""
    partner: str | None = None
    """A labelled stream, the source, whose images are mixed into those of this one, image i into image i: the rule
    decides which pixels of the source are seen. These count with their labels and a weight of 1, whatever the weight of
    the pseudo-labels around them. BatchNorm statistics are those of this stream's images, unmixed, from a pass of their
    own, and no view of the stream moves them. null = images of this stream are mixed with each other."""
    depth_scale: Literal["given", "image"] = "given"
    """Disparity that DepthMix compares: as it comes, or min-max in each crop (Hoyer et al. 2021, online)."""
    augment: AnyAugmentation = Colours()
    """Strong augmentation of the mixed image."""
    masking: Masking | None = None
    """Blocks of the strong view that are hidden (MIC, Hoyer et al. 2023, CVPR: `{block: 0.125, ratio: 0.7}`)."""
    ego_vehicle: EgoVehicle | None = None
    """Parts of the images whose pseudo-labels do not count (DAFormer, Hoyer et al. 2022)."""
    depth_agreement: DepthAgreement | None = None
    """Weighs pseudo-labels by how well `depth` and `source_depth` of the teacher agree (CorDA, Wang et al. 2021)."""
    views: Annotated[int, Field(ge=1, le=2)] = 1
    """Differently mixed and augmented versions of each image; two share one pass of the teacher."""
    complementary_dropout: bool = False
    """With two views: on half of the images each view sees half of the encoder's channels, the other view the rest."""
    weight: Weight = 1.0
    """Weight beside the other objectives."""
    logit_adjusted: bool = False
    """Where the supervised loss weighs classes (`balance`), learn from pseudo-labels as from labels: the teacher
    predicts without these weights (logits - log weight: where the weighted cross-entropy is smallest, softmax(logits)
    is proportional to weight * P(class | image); Menon et al. 2021, arXiv:2007.07314, section 4.1), and each
    pseudo-label counts by the weight of its class."""
    alignment: DistributionAlignment | None = None
    """Bring the classes that the teacher predicts to the shares they have in the labels; with `logit_adjusted` in the
    place of log weight."""

    @model_validator(mode="after")
    def _agree(self) -> PseudoLabels:
        if isinstance(self.target, SoftTarget) and not isinstance(self.mixing, NoMix):
            raise ValueError("soft targets cannot be mixed: give target.name=hard, or mixing.name=none")
        if self.complementary_dropout and self.views != 2:
            raise ValueError("complementary_dropout shares the channels out between two views: give views=2")
        if self.partner is not None and isinstance(self.mixing, NoMix):
            raise ValueError("a partner is there to be mixed with: give mixing.name=classmix, or partner=null")
        if self.partner is not None and len(self.streams) > 1:
            raise ValueError("images of several streams cannot all be paired with one partner's: give one stream")
        if self.partner in self.streams:
            raise ValueError("the partner must be another stream; partner=null mixes images of the same one")
        return self

    def learns(self, network: NetworkConfig) -> frozenset[str]:
        """The classes."""
        return frozenset({"segmentation"})

    def needs(self, network: NetworkConfig) -> frozenset[str]:
        """Disparity, if the mixing rule compares depths and the network predicts none."""
        own = "depth" in network.tasks
        return frozenset({"disparity"}) if self.mixing.needs_disparity and not own else frozenset()

    def misfit(self, network: NetworkConfig) -> str | None:
        """`depth_agreement` compares two depth tasks of one range."""
        if self.depth_agreement is None:
            return None
        if lacking := [task for task in ("depth", SOURCE_DEPTH) if task not in network.tasks]:
            return (
                f"depth_agreement compares depth with {SOURCE_DEPTH}, but the network lacks {' and '.join(lacking)}: "
                f"give network.tasks.{lacking[0]}={{decoder: shared}}, or depth_agreement=null"
            )
        ranges = [network.tasks[task].depth_range for task in ("depth", SOURCE_DEPTH)]
        if ranges[0] != ranges[1]:
            return (
                f"depth_agreement compares depths of one range, but depth has {ranges[0]} and {SOURCE_DEPTH} "
                f"{ranges[1]}: give both the same min_depth and max_depth"
            )
        return None

    def refuse(self, classes: ClassList | None) -> None:
        """An ego vehicle that cannot be read, or is everywhere."""
        if self.ego_vehicle is not None:
            self.ego_vehicle.shown()

    @property
    def partners(self) -> tuple[str, ...]:
        """The stream that is mixed in."""
        return () if self.partner is None else (self.partner,)

    def partner_needs(self, network: NetworkConfig) -> frozenset[str]:
        """Labels, and disparity as of the stream itself."""
        return frozenset({"label"}) | self.needs(network)

    def partner_uses(self, network: NetworkConfig) -> frozenset[str]:
        """Disparity from elsewhere in the place of the network's own."""
        return frozenset({"disparity"}) if self.mixing.needs_disparity else frozenset()

    def uses(self, network: NetworkConfig) -> frozenset[str]:
        """Labels in the place of pseudo-labels, disparity from elsewhere in the place of the network's own, and the
        whole images for the teacher."""
        compared = self.depth_agreement is not None and self.depth_agreement.target == "disparity"
        wanted = {
            "label": self.truth,
            "disparity": self.mixing.needs_disparity or compared,
            "whole": self.teacher_sees == "whole" or self.ego_vehicle is not None,
        }
        return frozenset(name for name, there in wanted.items() if there)

    def build(self, setup: Setup, network: Network, brought: nn.ModuleDict) -> PseudoLabelsObjective:
        """With the class weights of the supervised loss, for `logit_adjusted`."""
        found = {name: task for name, task in setup.network.tasks.items() if isinstance(task, Depth)}
        shares = shares_of(together([*setup.label_pixels.values()])) if setup.label_pixels else None
        depths, tracks = (found.get("depth"), found.get(SOURCE_DEPTH)), has_batch_norm(network)
        return PseudoLabelsObjective(self, setup.class_weights, *depths, shares, tracks)

    @torch.no_grad()
    def pseudo_labelled(
        self,
        batch: Batch,
        image: Float[Tensor, "b 3 h w"],
        logits: Float[Tensor, "b c _ _"],
        disparity: Float[Tensor, "b 1 _ _"] | None,
        correction: Float[Tensor, " c"] | None = None,
        shown: Float[Tensor, "1 1 _ _"] | None = None,
        depths: tuple[Float[Tensor, "b 1 _ _"], Float[Tensor, "b 1 _ _"]] | None = None,
    ) -> tuple[Pixels, Target]:
        """The clean images 0..1 with pseudo-labels and their weights, and the predictions these were made of.

        `logits` and `disparity` (0..1) are of `seen_by_teacher`, of any size; the latter is used where the batch brings
        none. `correction`: what is taken off the logits (`logit_adjusted`, `alignment`). `shown`: where pseudo-labels
        count in whole images (`EgoVehicle.shown`); ground truth counts everywhere. `depths`: of source and target, for
        `depth_agreement`, in the unit of its target.
        """
        if correction is not None:
            logits = logits - correction.to(logits.dtype).view(1, -1, 1, 1)
        size = (image.shape[2], image.shape[3])
        target = self.target(self._in_view(logits, batch, size))
        truth = torch.zeros(len(batch), dtype=torch.bool, device=image.device)
        if self.truth and "label" in batch.targets:
            truth = batch.present["label"].to(image.device, non_blocking=True)
            target = with_truth(target, batch.targets["label"], truth)
        valid = torch.ones_like(target.label, dtype=torch.bool) if batch.valid is None else batch.valid
        label, confidence = target.label.masked_fill(~valid, IGNORE), target.confidence.masked_fill(~valid, 0.0)
        target = Target(label, confidence, target.probabilities)
        # Of the whole image, before mixing, so that a pixel takes the weight of its image along.
        weight = self.weighting(target, truth, valid)
        if shown is not None and "view" in batch.targets:
            weight = weight * torch.where(truth[:, None, None], 1.0, counted(shown, batch.targets["view"], size))
        if self.depth_agreement is not None and depths is not None:
            source, own = (self._in_view(one, batch, size) for one in depths)
            known = batch.targets.get(self.depth_agreement.target, own)
            weight = weight * self.depth_agreement.weight(source, own, known, valid & ~truth[:, None, None])
        if "disparity" in batch.targets:
            disparity = batch.targets["disparity"]
        elif disparity is not None:
            disparity = self._in_view(disparity, batch, size)
        return Pixels(image, label, weight, valid, self._disparity(disparity, valid)), target

    @torch.no_grad()
    def true_pixels(self, batch: Batch, disparity: Float[Tensor, "b 1 _ _"] | None) -> Pixels:
        """The images of the partner with their labels, each of which counts fully; what has none is ignored.

        `disparity` (0..1, of any size) is used where the batch brings none.
        """
        image = to_unit(batch.image)
        valid = torch.ones_like(image[:, 0], dtype=torch.bool) if batch.valid is None else batch.valid
        unknown = torch.full_like(batch.image[:, 0], IGNORE)
        label = batch.targets.get("label", unknown).masked_fill(~valid, IGNORE)
        if "disparity" in batch.targets:
            disparity = batch.targets["disparity"]
        elif disparity is not None:
            disparity = upsample(disparity, (image.shape[2], image.shape[3]))
        return Pixels(image, label, (label != IGNORE).float(), valid, self._disparity(disparity, valid))

    def seen_by_teacher(self, batch: Batch, clean: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 _ _"]:
        """The images, 0..1, that the teacher is shown: the whole ones if they come along, else the clean views."""
        return to_unit(batch.targets["whole"]) if self.shows_whole(batch) else clean

    @torch.no_grad()
    def view(
        self, pixels: Pixels, target: Target, keys: Sequence[int], partner: Pixels | None = None
    ) -> tuple[Float[Tensor, "b 3 h w"], Lesson]:
        """One strong view of the images, and what is to be predicted in it: mixed, recoloured, moved, all alike, then
        perhaps masked. `partner`: the images that are mixed in; None = those of the batch itself."""
        if partner is None:
            mixed, _ = mix(self.mixing, pixels, keys)
        else:
            mixed, _ = mix_pairs(self.mixing, partner, pixels, keys)
        seen = self.augment(mixed, keys)
        if (probabilities := target.probabilities) is not None:
            motion = self.augment.motion(keys, (seen.image.shape[2], seen.image.shape[3]), seen.image)
            probabilities = probabilities if motion is None else motion.bilinear(probabilities)
        image = seen.image if self.masking is None else self.masking(seen.image, keys)
        return image, Lesson(seen.label.to(torch.uint8), seen.weight.float(), probabilities)

    def views_of(
        self, pixels: Pixels, target: Target, keys: Sequence[int], partner: Pixels | None = None
    ) -> tuple[Float[Tensor, "n 3 h w"], list[Lesson]]:
        """All strong views in one batch, view by view, and what is to be learned of each."""
        made = [self.view(pixels, target, subkeys(keys, number), partner) for number in range(self.views)]
        return torch.cat([image for image, _ in made]), [wanted for _, wanted in made]

    def loss(
        self, logits: Float[Tensor, "n c _ _"], targets: Sequence[Lesson], classes: Float[Tensor, " c"] | None = None
    ) -> Term:
        """The student's loss over all views; its weight is that of this part. `classes`: as for `pseudo_labelled`."""
        classes = classes if self.logit_adjusted else None
        size = (targets[0].label.shape[1], targets[0].label.shape[2])
        parts = [
            consistency(one, target, self.normalize_by, classes)
            for one, target in zip(upsample(logits, size).chunk(len(targets)), targets, strict=True)
        ]
        total, count = (torch.stack(column).sum() for column in zip(*parts, strict=True))
        return Term(total, count, self.weight)

    def shows_whole(self, batch: Batch) -> bool:
        """Whether the teacher is shown whole images of this batch."""
        return self.teacher_sees == "whole" and "whole" in batch.targets

    @full_precision  # autocast would multiply the positions in bfloat16, which is off by pixels
    def _in_view(self, maps: Float[Tensor, "b c _ _"], batch: Batch, size: Size) -> Float[Tensor, "b c h w"]:
        """What the teacher says of the images, at the pixels of the views; beyond the image the border is repeated."""
        if not self.shows_whole(batch):
            return upsample(maps, size)
        grid = F.affine_grid(batch.targets["view"], [len(batch), 1, *size], align_corners=False)
        return F.grid_sample(maps.float(), grid, padding_mode="border", align_corners=False)

    def _disparity(
        self, disparity: Float[Tensor, "b 1 h w"] | None, valid: Bool[Tensor, "b h w"]
    ) -> Float[Tensor, "b 1 h w"] | None:
        """The disparity the mixing rule compares, at the size of the images; None if the rule needs none."""
        if not self.mixing.needs_disparity or disparity is None:
            return None
        # What a network sees in the padding must not decide the scale of the image.
        full = disparity.masked_fill(~valid[:, None], torch.nan)
        return unit_disparity(full) if self.depth_scale == "image" else full


class PseudoLabelsObjective(ObjectiveModule):
    """The loss of one batch: a pass of the teacher on the clean images, one of the student on all views.

    Objectives of one stream whose teachers see the same share the teacher's pass.
    """

    classes: Float[Tensor, " c"] | None
    shares: Float[Tensor, " c"] | None
    predicted: Float[Tensor, " c"] | None
    shown_pixels: Float[Tensor, "1 1 _ _"] | None

    def __init__(
        self,
        config: PseudoLabels,
        classes: Float[Tensor, " c"] | None,
        depth: Depth | None = None,
        source_depth: Depth | None = None,
        shares: Float[Tensor, " c"] | None = None,
        tracks: bool = True,
    ) -> None:
        """`classes`: their weights in the supervised loss; `depth`, `source_depth`: the network's tasks, if it has
        them; `shares`: those of the classes in the labels; `tracks`: whether the network has BatchNorms."""
        super().__init__()
        self.config, self.depth, self.source_depth, self.tracks = config, depth, source_depth, tracks
        self.register_buffer("classes", classes, persistent=False)
        aligned = None if config.alignment is None else shares
        self.register_buffer("shares", aligned, persistent=False)
        self.register_buffer("predicted", None if aligned is None else aligned.clone())
        shown = None if config.ego_vehicle is None else config.ego_vehicle.shown()
        self.register_buffer("shown_pixels", shown, persistent=False)

    def request(self, batch: Batch, base: Base, nets: Nets) -> Request:
        """The augmented views, for their classes."""
        config = self.config
        if config.alignment is not None and self.predicted is not None:
            valid = None if config.shows_whole(batch) else batch.valid
            config.alignment.observe(self.predicted, self._outputs(batch, base, nets)["segmentation"], valid)
        _, target, images, lessons = self._views(batch, base, nets)
        change = complementary if config.complementary_dropout else None
        foreign = config.partner is not None or config.masking is not None
        view = View(images, frozenset({"segmentation"}), change, foreign)
        if view.foreign:
            self._move_statistics(base, nets)

        def losses(_: object, views: Sequence[Mapping[str, Tensor]]) -> StepResult:
            term = config.loss(views[0]["segmentation"], lessons, self.classes)
            confidence = target.confidence.sum() / (target.label != IGNORE).sum().clamp(min=1)
            return StepResult({"": term}, {"confidence": confidence})

        return Request(losses, views=[view])

    @torch.no_grad()
    def shown(self, batch: Batch, base: Base, nets: Nets) -> list[Shown]:
        """The images with their pseudo-labels, and the first strong view with its targets."""
        pixels, _, images, lessons = self._views(batch, base, nets)
        weight = lessons[0].weight.expand(lessons[0].label.shape)
        found = [
            Shown("image", "image", pixels.image, batch.ids),
            Shown("pseudo-label", "label", pixels.label, batch.ids),
        ]
        if pixels.disparity is not None:
            found.append(Shown("disparity", "disparity", pixels.disparity, batch.ids))
        return [
            *found,
            Shown("mixed and augmented image", "image", images[: len(batch)], batch.ids),
            Shown("targets of the strong view", "label", lessons[0].label, batch.ids),
            Shown("how much each pixel counts", "share", weight, batch.ids),
        ]

    def _views(
        self, batch: Batch, base: Base, nets: Nets
    ) -> tuple[Pixels, Target, Float[Tensor, "n 3 h w"], list[Lesson]]:
        """The images with pseudo-labels, what these were made of, and all strong views with what they teach."""
        predicted, depths = self._teacher(batch, base, nets), self._depths(batch, base, nets)
        pixels, target = self.config.pseudo_labelled(
            batch, base.clean, *predicted, self._correction(), self.shown_pixels, depths
        )
        name = self.config.partner
        partner = None if name is None else self._partner(base.beside[name], batch, nets)
        return pixels, target, *self.config.views_of(pixels, target, batch.keys, partner)

    def _correction(self) -> Float[Tensor, " c"] | None:
        """What is taken off the teacher's logits."""
        if self.config.alignment is not None and self.predicted is not None and self.shares is not None:
            return self.config.alignment.correction(self.predicted, self.shares)
        return self.classes.log() if self.config.logit_adjusted and self.classes is not None else None

    def counts(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """All pixels of the views, if all count; what mixing or a warp makes of ignored pixels is known only later."""
        if self.config.normalize_by != "all":
            return {}
        pixels = float(batch.image[:, 0].numel() * self.config.views)
        return {"": torch.full((), pixels, device=batch.image.device)}

    @torch.no_grad()
    def _teacher(
        self, batch: Batch, base: Base, nets: Nets
    ) -> tuple[Float[Tensor, "b c _ _"], Float[Tensor, "b 1 _ _"] | None]:
        """The teacher's logits of what it is shown, and its disparity if mixing needs one and the batch has none."""
        outputs = self._outputs(batch, base, nets)
        if not self._mixes_by_own_depth(batch):
            return outputs["segmentation"], None
        assert self.depth is not None, "checked: mixing by depth has a disparity from somewhere"
        return outputs["segmentation"], self.depth.disparity(outputs["depth"])

    @torch.no_grad()
    def _depths(
        self, batch: Batch, base: Base, nets: Nets
    ) -> tuple[Float[Tensor, "b 1 _ _"], Float[Tensor, "b 1 _ _"]] | None:
        """What the teacher's two depth heads say, of source and target, if they are to be compared."""
        if self.config.depth_agreement is None:
            return None
        assert self.source_depth is not None, "checked: the network has both tasks"
        assert self.depth is not None, "checked: the network has both tasks"
        outputs = self._outputs(batch, base, nets)
        source, own = self.source_depth.disparity(outputs[SOURCE_DEPTH]), self.depth.disparity(outputs["depth"])
        if self.config.depth_agreement.target == "disparity":
            return source, own
        return disparity_to_depth(source, *self.depth.depth_range), disparity_to_depth(own, *self.depth.depth_range)

    @torch.no_grad()
    def _outputs(self, batch: Batch, base: Base, nets: Nets) -> Outputs:
        """Everything that is wanted of the teacher, from one pass over what it is shown."""
        teacher = nets.averaged if self.config.teacher == "ema" else nets.student
        compared = ("depth", SOURCE_DEPTH) if self.config.depth_agreement is not None else ()
        mixed = ("depth",) if self._mixes_by_own_depth(batch) else ()
        wanted = tuple(dict.fromkeys(("segmentation", *mixed, *compared)))

        def run() -> Outputs:
            with evaluating(teacher):
                return cast(Outputs, teacher(self.config.seen_by_teacher(batch, base.clean), wanted))

        return nets.shared_pass((self.config.teacher, self.config.teacher_sees), wanted, run)

    @torch.no_grad()
    def _move_statistics(self, base: Base, nets: Nets) -> None:
        """BatchNorm's, by the images of the stream as they are: with a partner all that is learned from has pixels of
        the source's, with masking blank ones, whose statistics the network is not used with. Once for all objectives of
        the stream."""

        def run() -> Outputs:
            nets.student(base.clean, ("segmentation",))
            return {}

        if self.tracks and nets.student.training and nets.student.norm == "batch":
            nets.shared_pass(("student", "statistics"), (), run)

    def _mixes_by_own_depth(self, batch: Batch) -> bool:
        """Whether the mixing rule goes by the disparity of the teacher."""
        return self.config.mixing.needs_disparity and "disparity" not in batch.targets

    @torch.no_grad()
    def _partner(self, batch: Batch, beside: Batch, nets: Nets) -> Pixels:
        """The images that are mixed in. Raises `FathomError` if they cannot be paired with those of `beside`."""
        if batch.image.shape != beside.image.shape:
            found, wanted = (" x ".join(map(str, each.image.shape)) for each in (batch, beside))
            raise FathomError(
                f"Batches of {found} of stream {self.config.partner!r} cannot be mixed with batches of {wanted} of "
                f"stream {self.config.streams[0]!r}: give both the same batch, size and geometry.crop."
            )
        disparity = None
        if self.config.mixing.needs_disparity and "disparity" not in batch.targets:
            assert self.depth is not None, "checked: mixing by depth has a disparity from somewhere"
            teacher = nets.averaged if self.config.teacher == "ema" else nets.student
            with evaluating(teacher):
                disparity = self.depth.disparity(teacher(to_unit(batch.image), ("depth",))["depth"])
        return self.config.true_pixels(batch, disparity)


def complementary(maps: Sequence[Float[Tensor, "n _ _ _"]]) -> list[Float[Tensor, "n _ _ _"]]:
    """Feature maps of two views (first all of one, then all of the other) that see different halves of the channels.

    UniMatch V2 (Yang et al. 2025, section 3.3): a channel kept in one view is dropped in the other and what is kept
    counts double; a random half of the images is left whole. Maps of equally many channels, as a transformer's are all,
    lose the same ones. The first map, the image itself, is never touched.
    """
    image, *features = maps
    pairs = len(image) // 2
    whole = torch.rand(pairs, 1, 1, 1, device=image.device) < 0.5
    kept: dict[int, Tensor] = {}
    for channels in dict.fromkeys(feature.shape[1] for feature in features):
        drawn = 2.0 * (torch.rand(pairs, channels, 1, 1, device=image.device) < 0.5)
        first = torch.where(whole, 1.0, drawn)
        kept[channels] = torch.cat([first, 2 - first])
    return [image, *(feature * kept[feature.shape[1]].to(feature.dtype) for feature in features)]
