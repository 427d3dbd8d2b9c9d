"""What a student learns from images without labels: a teacher's answers to them, mixed and strongly changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor

from fathomseg.augment import AnyStrong, Colours
from fathomseg.config import Part
from fathomseg.learners.base import to_unit
from fathomseg.losses.segmentation import upsample, without_balance
from fathomseg.losses.targets import (
    AnyTarget,
    AnyWeighting,
    ConfidentFraction,
    HardTarget,
    SoftTarget,
    Target,
    consistency,
    with_truth,
)
from fathomseg.mixing import AnyMixing, ClassMix, NoMix, Pixels, mix, subkeys, unit_disparity
from fathomseg.types import IGNORE, Batch, Term


class Consistency(Part):
    """The loss of the images without labels."""

    teacher: Literal["ema", "self"] = "ema"
    """ema: the averaged network. self: the network as it is, as in UDA. Either in eval mode and without a gradient."""
    target: AnyTarget = HardTarget()
    """hard: the teacher's best class. soft: its sharpened probabilities, which cannot be mixed."""
    weighting: AnyWeighting = ConfidentFraction()
    """How much each pixel counts by how sure the teacher is."""
    over: Literal["valid", "all", "kept"] = "valid"
    """What the loss is divided by: pixels not ignored, all pixels (Hoyer et al. 2021), or the weights of the pixels."""
    truth: bool = True
    """Ground truth takes the place of the teacher's answer on images of the unlabelled stream that have a label."""
    mixing: AnyMixing = ClassMix()
    """none, cutmix, classmix, depthmix, or several of them."""
    depth_scale: Literal["given", "image"] = "given"
    """Disparity that DepthMix compares: as it comes, or min-max in each crop (Hoyer et al. 2021, online)."""
    strong: AnyStrong = Colours()
    """Strong augmentation of the mixed image."""
    views: Annotated[int, Field(ge=1, le=2)] = 1
    """Differently mixed and augmented versions of each image; two share one pass of the teacher."""
    complementary_dropout: bool = False
    """With two views: on half of the images each view sees half of the encoder's channels, the other view the rest."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of this loss beside that of the labelled images."""
    balanced: bool = False
    """With learner.balance, learn from pseudo-labels as from labels: the teacher answers without the class weights it
    has learned with (logits - log weight), and what it answers counts by the weight of its class."""

    @model_validator(mode="after")
    def _agree(self) -> Consistency:
        if isinstance(self.target, SoftTarget) and not isinstance(self.mixing, NoMix):
            raise ValueError("soft targets cannot be mixed: give target.name=hard, or mixing.name=none")
        if self.complementary_dropout and self.views != 2:
            raise ValueError("complementary_dropout shares the channels out between two views: give views=2")
        return self

    @torch.no_grad()
    def taught(
        self,
        batch: Batch,
        logits: Float[Tensor, "b c _ _"],
        disparity: Float[Tensor, "b 1 _ _"] | None,
        classes: Float[Tensor, " c"] | None = None,
    ) -> tuple[Pixels, Target]:
        """The clean images with the teacher's answer, and that answer with its probabilities if they are wanted.

        `disparity` (0..1, of any size) is used where the batch brings none. `classes`: the weights the teacher has
        learned with, for `balanced`.
        """
        if self.balanced and classes is not None:
            logits = without_balance(logits, classes)
        image = to_unit(batch)
        size = (image.shape[2], image.shape[3])
        target = self.target(upsample(logits, size))
        if self.truth and batch.label is not None and batch.labelled is not None:
            target = with_truth(target, batch.label, batch.labelled)
        valid = torch.ones_like(target.label, dtype=torch.bool) if batch.valid is None else batch.valid
        pixels = Pixels(
            image,
            target.label.masked_fill(~valid, IGNORE),
            target.confidence.masked_fill(~valid, 0.0),
            valid,
            self._disparity(batch.disparity if batch.disparity is not None else disparity, valid),
        )
        return pixels, target

    @torch.no_grad()
    def view(self, pixels: Pixels, target: Target, keys: Sequence[int]) -> tuple[Float[Tensor, "b 3 h w"], Target]:
        """One strong view of the images, and what is to be answered in it: mixed, recoloured, moved, all alike."""
        mixed, _ = mix(self.mixing, pixels, keys)
        seen = self.strong(mixed, keys)
        probabilities = target.probabilities
        if probabilities is not None:
            motion = self.strong.motion(keys, (seen.image.shape[2], seen.image.shape[3]), seen.image)
            probabilities = probabilities if motion is None else motion.bilinear(probabilities)
        label = seen.label.to(torch.uint8)
        return seen.image, Target(label, seen.confidence.float(), probabilities)

    def views_of(
        self, pixels: Pixels, target: Target, keys: Sequence[int]
    ) -> tuple[Float[Tensor, "n 3 h w"], list[Target]]:
        """All strong views in one batch, view by view, and their targets."""
        made = [self.view(pixels, target, subkeys(keys, number)) for number in range(self.views)]
        return torch.cat([image for image, _ in made]), [wanted for _, wanted in made]

    def loss(
        self, logits: Float[Tensor, "n c _ _"], targets: Sequence[Target], classes: Float[Tensor, " c"] | None = None
    ) -> Term:
        """The student's loss over all views; its weight is that of this part. `classes`: as for `taught`."""
        classes = classes if self.balanced else None
        size = (targets[0].label.shape[1], targets[0].label.shape[2])
        parts = [
            consistency(one, target, self.weighting(target), self.over, classes)
            for one, target in zip(upsample(logits, size).chunk(len(targets)), targets, strict=True)
        ]
        total, count = (torch.stack(column).sum() for column in zip(*parts, strict=True))
        return Term(total, count, self.weight)

    def _disparity(
        self, disparity: Float[Tensor, "b 1 _ _"] | None, valid: Bool[Tensor, "b h w"]
    ) -> Float[Tensor, "b 1 h w"] | None:
        """The disparity the mixing rule compares, at the size of the images; None if the rule needs none."""
        if not self.mixing.needs_disparity or disparity is None:
            return None
        size = (valid.shape[1], valid.shape[2])
        full = disparity if disparity.shape[2:] == size else upsample(disparity, size)
        # What a network sees in the padding must not decide the scale of the image.
        full = full.masked_fill(~valid[:, None], torch.nan)
        return unit_disparity(full) if self.depth_scale == "image" else full


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
