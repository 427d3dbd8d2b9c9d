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
    self-training (Lee 2013; ST, Yang et al. 2022, CVPR)   a finished teacher
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from fathomseg.augment import AnyAugmentation, Colours, Masking, complementary
from fathomseg.data.distilled import target_name
from fathomseg.errors import FathomError
from fathomseg.geometry.views import in_view
from fathomseg.losses.depth_agreement import DepthAgreement
from fathomseg.losses.distribution import DistributionAlignment, shares_of, together
from fathomseg.losses.ego_vehicle import EgoVehicle
from fathomseg.losses.segmentation import upsample
from fathomseg.losses.targets import (
    AnyTarget,
    AnyWeighting,
    ConfidentFraction,
    HardTarget,
    Lesson,
    Target,
    consistency,
    one_hot,
    with_labels,
)
from fathomseg.mixing import AnyMixing, ClassMix, NoMix, Pixels, mix, mix_pairs, subkeys, unit_disparity
from fathomseg.models.network import Network
from fathomseg.objectives import two_depths
from fathomseg.objectives.base import (
    Base,
    Nets,
    Objective,
    ObjectiveModule,
    Request,
    RunSettings,
    Setup,
    Shown,
    View,
    Whom,
    to_unit,
)
from fathomseg.objectives.teacher import Sees, Teacher, Who, shows_whole
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.network import NetworkConfig
from fathomseg.tasks.source_depth import SOURCE_DEPTH
from fathomseg.types import IGNORE, Batch, ClassList, Size, StepResult, Term


class PseudoLabels(Objective):
    """Settings of the loss of the images without labels."""

    name: Literal["pseudo_labels"] = "pseudo_labels"
    stream: str | tuple[str, ...] = "unlabelled"
    teacher: Who = "ema"
    """ema: the averaged network. self: the network as it is, as in UDA. Either in eval mode and without a gradient.
    finished: an earlier run, whose labels `fathom distill` has written (`streams.NAME.distilled.segmentation`): without
    a pass of a teacher, and without one that learns its own mistakes from its student. It counts by its confidence; the
    weights of its classes are taken off already."""
    target: AnyTarget = HardTarget()
    """hard: the teacher's best class. soft: its sharpened probabilities; with `logit_adjusted` and temperature 1 a rare
    class that is never the likeliest is learned all the same."""
    teacher_sees: Sees = "whole"
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
    the pseudo-labels around them. BatchNorm statistics are those of this stream's images, unmixed, if need be from a
    pass of their own, and no view of the stream moves them. null = images of this stream are mixed with each other."""
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
        if self.complementary_dropout and self.views != 2:
            raise ValueError("complementary_dropout shares the channels out between two views: give views=2")
        if self.partner is not None and isinstance(self.mixing, NoMix):
            raise ValueError("a partner is there to be mixed with: give mixing.name=classmix, or partner=null")
        if self.partner is not None and len(self.streams) > 1:
            raise ValueError("images of several streams cannot all be paired with one partner's: give one stream")
        if self.teacher == "finished" and (self.alignment is not None or not isinstance(self.target, HardTarget)):
            raise ValueError("a finished teacher has said its best classes: leave target and alignment out")
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
        return None if self.depth_agreement is None else two_depths.unlike(network)

    def misfits(self, name: str, run: RunSettings) -> Iterator[str]:
        """`depth_agreement` compares depths of one unit, `logit_adjusted` goes by the weights of classes, a finished
        teacher has predicted something."""
        theirs = target_name("label")
        for stream in self.streams if self.teacher == "finished" else ():
            if stream in run.streams and theirs not in run.streams[stream]:
                yield (
                    f"objective {name!r} learns what a finished teacher has predicted, and stream {stream!r} has "
                    f"none of it: give streams.{stream}.distilled.segmentation.folder=FOLDER (fathom distill), or "
                    "teacher=ema"
                )
        if self.teacher == "finished" and not self.truth:
            for stream, other in _readers_of_labels(self.streams, run):
                yield (
                    f"objective {name!r} has truth=false, but objective {other!r} opens labels of stream {stream!r}, "
                    "and where there is one the finished teacher's is not read: its labelled images would teach "
                    f"nothing. Give objectives.{name}.truth=true, or streams of their own"
                )
        if self.depth_agreement is not None:
            for reason in two_depths.learned_unlike(self.depth_agreement, run.network, run.objectives):
                yield f"objective {name!r}: {reason}"
        compares = self.partner is not None and self.mixing.needs_disparity and "depth" in run.network.tasks
        if compares and self.depth_scale == "given":
            pair = [one for one in (*self.partners, *self.streams) if one in run.streams]
            giving = [one for one in pair if "disparity" in run.streams[one]]
            if giving and len(giving) < len(pair):
                (other,) = set(pair) - set(giving)
                yield (
                    f"objective {name!r} compares depths given of {giving[0]!r} with the network's own of {other!r}, "
                    f"on another scale: give streams.{other}.depth, too, or leave streams.{giving[0]}.depth out"
                )
        if self.logit_adjusted and not any(other.weighs_classes for other in run.objectives.values()):
            yield (
                f"objective {name!r}: logit_adjusted has no class weights to go by: give "
                "objectives.supervised.losses.segmentation.balance, or set it to false"
            )

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
        """Disparity from elsewhere in the place of the network's own, which is of whole images, as that of the stream:
        to a network that knows no focal length what is zoomed is nearer."""
        if not self.mixing.needs_disparity:
            return frozenset()
        whole = self.teacher_sees == "whole" and "depth" in network.tasks
        return frozenset({"disparity", *(["whole"] if whole else [])})

    def uses(self, network: NetworkConfig) -> frozenset[str]:
        """Labels in the place of pseudo-labels, disparity from elsewhere in the place of the network's own, and the
        whole images for the teacher."""
        compared = self.depth_agreement is not None and self.depth_agreement.target == "disparity"
        finished = self.teacher == "finished"
        own_depth = self.mixing.needs_disparity and "depth" in network.tasks
        passes = not finished or own_depth or self.depth_agreement is not None
        wanted = {
            "label": self.truth,
            "disparity": self.mixing.needs_disparity or compared,
            "whole": (self.teacher_sees == "whole" and passes) or self.ego_vehicle is not None,
            target_name("label"): finished,
            target_name("label_confidence"): finished,
        }
        return frozenset(name for name, there in wanted.items() if there)

    def build(self, setup: Setup, network: Network, brought: nn.ModuleDict) -> PseudoLabelsObjective:
        """With the class weights of the supervised loss, for `logit_adjusted`."""
        found = {name: task for name, task in setup.network.tasks.items() if isinstance(task, Depth)}
        shares = shares_of(together([*setup.label_pixels.values()])) if setup.label_pixels else None
        mixed, compared = self.mixing.needs_disparity, self.depth_agreement
        depths = found.get("depth"), found.get(SOURCE_DEPTH)
        teacher = Teacher(self.teacher, self.teacher_sees, mixed, compared, *depths)
        return PseudoLabelsObjective(self, setup.class_weights, teacher, shares)

    @torch.no_grad()
    def pseudo_labelled(
        self,
        batch: Batch,
        image: Float[Tensor, "b 3 h w"],
        logits: Float[Tensor, "b c _ _"] | None,
        disparity: Float[Tensor, "b 1 _ _"] | None,
        correction: Float[Tensor, " c"] | None = None,
        shown: Float[Tensor, "1 1 _ _"] | None = None,
        depths: tuple[Float[Tensor, "b 1 _ _"], Float[Tensor, "b 1 _ _"]] | None = None,
    ) -> tuple[Pixels, Target]:
        """The clean images 0..1 with pseudo-labels and their weights, and the predictions these were made of.

        `logits` (None: the batch brings labels of a finished teacher) and `disparity` (0..1) are of `Teacher.seen`, of
        any size; the latter is used where the batch brings none. `correction`: what is taken off the logits
        (`logit_adjusted`, `alignment`). `shown`: where pseudo-labels count in whole images (`EgoVehicle.shown`); ground
        truth counts everywhere. `depths`: of source and target, for `depth_agreement`, in the unit of its target.
        """
        size = (image.shape[2], image.shape[3])
        if logits is None:
            target = finished_target(batch)
        else:
            if correction is not None:
                logits = logits - correction.to(logits.dtype).view(1, -1, 1, 1)
            target = self.target(self._in_view(logits, batch, size))
        truth = torch.zeros(len(batch), dtype=torch.bool, device=image.device)
        if self.truth and "label" in batch.targets:
            truth = batch.present["label"].to(image.device, non_blocking=True)
            target = with_labels(target, batch.targets["label"], truth)
        valid = _valid(batch)
        label, confidence = target.label.masked_fill(~valid, IGNORE), target.confidence.masked_fill(~valid, 0.0)
        target = Target(label, confidence, target.probabilities)
        # Of the whole image, before mixing, so that a pixel takes the weight of its image along.
        weight = self.weighting(target, truth, valid)
        if shown is not None and "view" in batch.targets:
            counted = in_view(shown, batch.targets["view"], size, "nearest")[:, 0]
            weight = weight * torch.where(truth[:, None, None], 1.0, counted)
        if self.depth_agreement is not None and depths is not None:
            source, own = (self._in_view(one, batch, size) for one in depths)
            known = batch.targets.get(self.depth_agreement.target, own)
            weight = weight * self.depth_agreement.weight(source, own, known, valid & ~truth[:, None, None])
        predicted = None if disparity is None else self._in_view(disparity, batch, size)
        disparity = self._disparity(batch, predicted, valid)
        return Pixels(image, label, weight, valid, disparity, target.probabilities), target

    @torch.no_grad()
    def true_pixels(self, batch: Batch, disparity: Float[Tensor, "b 1 _ _"] | None) -> Pixels:
        """The images of the partner with their labels, each of which counts fully; what has none is ignored.

        `disparity` (0..1, of any size) is used where the batch brings none.
        """
        image = to_unit(batch.image)
        valid = _valid(batch)
        unknown = torch.full_like(batch.image[:, 0], IGNORE)
        label = batch.targets.get("label", unknown).masked_fill(~valid, IGNORE)
        predicted = None if disparity is None else self._in_view(disparity, batch, (image.shape[2], image.shape[3]))
        return Pixels(image, label, (label != IGNORE).float(), valid, self._disparity(batch, predicted, valid))

    @torch.no_grad()
    def view(
        self, pixels: Pixels, keys: Sequence[int], partner: Pixels | None = None
    ) -> tuple[Float[Tensor, "b 3 h w"], Lesson]:
        """One strong view of the images, and what is to be predicted in it: mixed, recoloured, moved, all alike, then
        perhaps masked. `partner`: the images that are mixed in; None = those of the batch itself."""
        if partner is None:
            mixed, _ = mix(self.mixing, pixels, keys)
        else:
            if pixels.probabilities is not None:
                partner = replace(partner, probabilities=one_hot(partner.label, pixels.probabilities))
            mixed, _ = mix_pairs(self.mixing, partner, pixels, keys)
        seen = self.augment(mixed, keys)
        image = seen.image if self.masking is None else self.masking(seen.image, keys)
        return image, Lesson(seen.label.to(torch.uint8), seen.weight.float(), seen.probabilities)

    def views_of(
        self, pixels: Pixels, keys: Sequence[int], partner: Pixels | None = None
    ) -> tuple[Float[Tensor, "n 3 h w"], list[Lesson]]:
        """All strong views in one batch, view by view, and what is to be learned of each."""
        made = [self.view(pixels, subkeys(keys, number), partner) for number in range(self.views)]
        return torch.cat([image for image, _ in made]), [wanted for _, wanted in made]

    def loss(
        self, logits: Float[Tensor, "n c _ _"], targets: Sequence[Lesson], classes: Float[Tensor, " c"] | None = None
    ) -> Term:
        """The student's loss over all views. `classes`: as for `pseudo_labelled`."""
        classes = classes if self.logit_adjusted else None
        size = (targets[0].label.shape[1], targets[0].label.shape[2])
        parts = [
            consistency(one, target, self.normalize_by, classes)
            for one, target in zip(upsample(logits, size).chunk(len(targets)), targets, strict=True)
        ]
        total, count = (torch.stack(column).sum() for column in zip(*parts, strict=True))
        return Term(total, count)

    def _in_view(self, maps: Float[Tensor, "b c _ _"], batch: Batch, size: Size) -> Float[Tensor, "b c h w"]:
        """What the teacher says of the images, at the pixels of the views."""
        if shows_whole(self.teacher_sees, batch):
            return in_view(maps, batch.targets["view"], size, "bilinear")
        return upsample(maps, size)

    def _disparity(
        self, batch: Batch, predicted: Float[Tensor, "b 1 h w"] | None, valid: Bool[Tensor, "b h w"]
    ) -> Float[Tensor, "b 1 h w"] | None:
        """The disparity the mixing rule compares, the batch's own before what is `predicted`; None if it needs none."""
        disparity = batch.targets.get("disparity", predicted)
        if not self.mixing.needs_disparity or disparity is None:
            return None
        # What a network sees in the padding must not decide the scale of the image.
        full = disparity.masked_fill(~valid[:, None], torch.nan)
        return unit_disparity(full) if self.depth_scale == "image" else full


class PseudoLabelsObjective(ObjectiveModule):
    """The loss of one batch: a pass of the teacher on the clean images, one of the student on all views."""

    classes: Float[Tensor, " c"] | None
    shares: Float[Tensor, " c"] | None
    predicted: Float[Tensor, " c"] | None
    shown_pixels: Float[Tensor, "1 1 _ _"] | None

    def __init__(
        self,
        config: PseudoLabels,
        classes: Float[Tensor, " c"] | None,
        teacher: Teacher,
        shares: Float[Tensor, " c"] | None = None,
    ) -> None:
        """`classes`: their weights in the supervised loss; `shares`: those of the classes in the labels."""
        super().__init__()
        self.config, self.teacher = config, teacher
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
            valid = None if shows_whole(config.teacher_sees, batch) else batch.valid
            config.alignment.observe(self.predicted, self.teacher.outputs(batch, base, nets)["segmentation"], valid)
        _, target, images, lessons = self._views(batch, base, nets)
        change = complementary if config.complementary_dropout else None
        # With a partner all that is learned from has pixels of the source's, with masking blank ones, whose statistics
        # the network is not used with.
        foreign = config.partner is not None or config.masking is not None
        view = View(images, frozenset({"segmentation"}), change, foreign)

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
        logits, disparity, depths = self.teacher.predictions(batch, base, nets)
        pixels, target = self.config.pseudo_labelled(
            batch, base.clean, logits, disparity, self._correction(), self.shown_pixels, depths
        )
        name = self.config.partner
        partner = None if name is None else self._partner(base.beside[name], batch, nets)
        return pixels, target, *self.config.views_of(pixels, batch.keys, partner)

    def _correction(self) -> Float[Tensor, " c"] | None:
        """What is taken off the teacher's logits."""
        if self.config.alignment is not None and self.predicted is not None and self.shares is not None:
            return self.config.alignment.correction(self.predicted, self.shares)
        return self.classes.log() if self.config.logit_adjusted and self.classes is not None else None

    def asks(self, batch: Batch) -> Mapping[Whom, frozenset[str]]:
        """What its teacher is asked."""
        return {self.teacher.whom(batch): self.teacher.asks(batch)}

    def counts(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """All pixels of the views, if all count; what mixing or a warp makes of ignored pixels is known only later."""
        if self.config.normalize_by != "all":
            return {}
        pixels = float(batch.image[:, 0].numel() * self.config.views)
        return {"": torch.full((), pixels, device=batch.image.device)}

    @torch.no_grad()
    def _partner(self, batch: Batch, beside: Batch, nets: Nets) -> Pixels:
        """The images that are mixed in. Raises `FathomError` if they cannot be paired with those of `beside`."""
        if batch.image.shape != beside.image.shape:
            found, wanted = (" x ".join(map(str, each.image.shape)) for each in (batch, beside))
            raise FathomError(
                f"Batches of {found} of stream {self.config.partner!r} cannot be mixed with batches of {wanted} of "
                f"stream {self.config.streams[0]!r}: give both the same batch, size and geometry.crop."
            )
        return self.config.true_pixels(batch, self.teacher.disparity(batch, nets))


def _readers_of_labels(streams: Sequence[str], run: RunSettings) -> Iterator[tuple[str, str]]:
    """Of these streams those whose labels an objective at work opens, with its name."""
    for other, one in run.objectives.items():
        own = one.needs(run.network) | one.uses(run.network)
        paired = one.partner_needs(run.network) | one.partner_uses(run.network)
        opened = {*(one.streams if "label" in own else ()), *(one.partners if "label" in paired else ())}
        yield from ((stream, other) for stream in streams if stream in opened and one.weight > 0)


def finished_target(batch: Batch) -> Target:
    """What a finished teacher has predicted of the views; nothing of images it has not seen."""
    label = batch.targets.get(target_name("label"))
    if label is None:
        label = torch.full_like(batch.image[:, 0], IGNORE)
    sure = batch.targets.get(target_name("label_confidence"))
    return Target(label, torch.where(label == IGNORE, 0.0, 1.0 if sure is None else sure))


def _valid(batch: Batch) -> Bool[Tensor, "b h w"]:
    """Where its images are, which is everywhere if they have no padding."""
    return torch.ones_like(batch.image[:, 0], dtype=torch.bool) if batch.valid is None else batch.valid
