"""What a student learns from images without labels: a teacher's predictions, their weights, and the loss.

    logits of the teacher --HardTarget or SoftTarget--> Target --with_labels--> Target --AnyWeighting--> weight
    (here mixing moves pixels about)          Lesson (label, weight) --consistency--> (sum, count)

Weights are made of whole images, before mixing: a pixel that is pasted elsewhere takes the weight of its image along.

The caller brings logits to one size first (`segmentation.upsample`). Nothing here passes a gradient to the teacher, and
nothing waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, UInt8
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part
from fathomseg.geometry.numerics import full_precision
from fathomseg.types import IGNORE, SumCount

Over = Literal["valid", "all", "kept"]
"""What a loss is divided by, see `consistency`."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be answered at each pixel, and how sure whoever says so is."""

    label: UInt8[Tensor, "b h w"]
    """The class; IGNORE = this pixel counts nowhere."""
    confidence: Float32[Tensor, "b h w"]
    """0..1: the teacher's probability of that class, before sharpening; of the truth 1, of ignored pixels 0."""
    probabilities: Float32[Tensor, "b c h w"] | None = None
    """Sharpened probabilities of all classes, to be matched in the place of the label."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """The target of the student at each pixel of its input, and the weight of each pixel."""

    label: UInt8[Tensor, "b h w"]
    """The class; IGNORE = this pixel counts nowhere."""
    weight: Float[Tensor, "#b #h #w"]
    """Factor of the pixel's loss."""
    probabilities: Float32[Tensor, "b c h w"] | None = None
    """Probabilities of all classes, to be matched in the place of the label."""


class HardTarget(Part):
    """The teacher's most probable class (Lee 2013; FixMatch, Sohn et al. 2020)."""

    name: Literal["hard"] = "hard"

    @torch.no_grad()
    def __call__(self, logits: Float[Tensor, "b c h w"]) -> Target:
        """The target of a teacher's logits, computed in float32."""
        return Target(*_best(logits.float()))


class SoftTarget(Part):
    """The teacher's probabilities, sharpened: softmax(logits / T) (Xie et al. 2020, arXiv:1904.12848)."""

    name: Literal["soft"] = "soft"
    temperature: Annotated[float, Field(gt=0)] = 0.4
    """T; 1 = as they are, towards 0 = the most probable class alone."""

    @torch.no_grad()
    def __call__(self, logits: Float[Tensor, "b c h w"]) -> Target:
        """The target of a teacher's logits, computed in float32."""
        logits = logits.float()
        return Target(*_best(logits), (logits / self.temperature).softmax(1))


AnyTarget = Annotated[HardTarget | SoftTarget, Field(discriminator="name")]


@torch.no_grad()
def with_labels(target: Target, label: UInt8[Tensor, "b h w"], labelled: Bool[Tensor, " b"]) -> Target:
    """The same target, but on the images that are `labelled` what their `label` says, with full confidence.

    Ignored pixels of a labelled image stay ignored, with confidence 0, whatever the teacher thinks of them. The labels
    of other images are not looked at.
    """
    here, valid = labelled[:, None, None], label != IGNORE
    if (probabilities := target.probabilities) is not None:
        probabilities = torch.where(here[:, None], one_hot(label, probabilities), probabilities)
    return Target(
        torch.where(here, label, target.label), torch.where(here, valid.float(), target.confidence), probabilities
    )


def one_hot(label: UInt8[Tensor, "b h w"], like: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """1 for the class of each pixel, else 0; 0 for all where it is IGNORE. With the classes and the type of `like`."""
    classes = torch.arange(like.shape[1], device=label.device).view(1, -1, 1, 1)
    return (label[:, None] == classes).to(like.dtype)


class EveryPixel(Part):
    """Every prediction has the same weight, however unsure."""

    name: Literal["none"] = "none"

    def __call__(
        self, target: Target, truth: Bool[Tensor, " b"], shown: Bool[Tensor, "b h w"]
    ) -> Float32[Tensor, "b h w"]:
        """1 for each pixel that is not ignored."""
        return (target.label != IGNORE).float()


class Threshold(Part):
    """Pixels the teacher is sure of count, the others do not (FixMatch, Sohn et al. 2020, equation 4)."""

    name: Literal["threshold"] = "threshold"
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.95
    """The least confidence."""

    def __call__(
        self, target: Target, truth: Bool[Tensor, " b"], shown: Bool[Tensor, "b h w"]
    ) -> Float32[Tensor, "b h w"]:
        """1 or 0 for each pixel."""
        return _confident(target, self.threshold).float()


class ConfidentFraction(Part):
    """All pixels of an image count, as much as there are sure ones among them (Hoyer et al. 2021; Olsson et al. 2021).

    The weight grows by itself as the teacher learns, and edges, of which no teacher is sure, are not left out. Padding
    counts neither as sure nor as unsure.
    """

    name: Literal["fraction"] = "fraction"
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.968
    """The confidence from which on a pixel is a sure one."""
    per: Literal["image", "batch"] = "image"
    """image: each image has a weight of its own; that of images with ground truth is 1, whatever the teacher knows.
    batch: one weight for all images of this process's batch, in which ground truth is counted as sure. It is counted
    before mixing; Hoyer et al. (2021) count after it."""

    def __call__(
        self, target: Target, truth: Bool[Tensor, " b"], shown: Bool[Tensor, "b h w"]
    ) -> Float32[Tensor, "b h w"]:
        """The share of sure pixels on every pixel that is not ignored, else 0.

        `truth`: the images whose target is ground truth; `shown`: False in padding. The share is one of the pixels that
        are not ignored, or, per batch, of all that are shown, so that ignored ones of ground truth are unsure.
        """
        valid, sure = target.label != IGNORE, _confident(target, self.threshold)
        if self.per == "batch":
            return valid * (sure.sum() / shown.sum().clamp(min=1))
        share = sure.sum((1, 2)) / valid.sum((1, 2)).clamp(min=1)
        return valid * torch.where(truth, 1.0, share)[:, None, None]


AnyWeighting = Annotated[EveryPixel | Threshold | ConfidentFraction, Field(discriminator="name")]


@full_precision
def consistency(
    logits: Float[Tensor, "b c h w"],
    target: Lesson,
    over: Over = "valid",
    classes: Float[Tensor, " c"] | None = None,
) -> SumCount:
    """The student's loss: cross-entropy with hard targets, KL(target || student) with soft ones; and what to divide by.

    Each pixel's loss is multiplied by its weight, and by that of its target's class if `classes` have weights; the
    probabilities of soft targets each by that of its class, as labels drawn from them would be. Ignored pixels are 0.
    Divided by the number of pixels not ignored ("valid", so that a loss of few sure pixels is small), by that of all
    pixels ("all", Hoyer et al. 2021), or by the sum of the weights of the pixels not ignored ("kept"). A batch without
    valid pixels gives 0, not NaN.
    """
    valid = target.label != IGNORE
    if target.probabilities is None:
        weights = None if classes is None else classes.to(logits.dtype)
        losses = F.cross_entropy(logits, target.label.long(), weights, ignore_index=IGNORE, reduction="none")
    elif classes is None:
        losses = torch.where(valid, kl_divergence(target.probabilities, logits), 0.0)
    else:  # -sum of w q log p, less what of it no student can change
        weighed = target.probabilities * classes.view(1, -1, 1, 1)
        total = weighed.sum(1)
        divergence = kl_divergence(weighed / total[:, None].clamp(min=1e-12), logits)
        losses = torch.where(valid, total * divergence, 0.0)
    weight = target.weight.detach()
    if over == "all":
        count = losses.new_full((), losses.numel())
    else:
        count = (valid if over == "valid" else valid * weight).sum().to(losses.dtype)
    return (losses * weight).sum(), count


def kl_divergence(target: Float[Tensor, "b c h w"], logits: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
    """KL(target || softmax(logits)) of every pixel, in nats; no gradient reaches the target, which may have zeros."""
    target = target.detach()
    divergence: Tensor = -(torch.special.entr(target) + target * logits.log_softmax(1)).sum(1)
    return divergence


def _best(logits: Float32[Tensor, "b c h w"]) -> tuple[UInt8[Tensor, "b h w"], Float32[Tensor, "b h w"]]:
    """The most probable class and its probability."""
    best, label = logits.max(1)
    return label.to(torch.uint8), (best - logits.logsumexp(1)).exp().clamp(max=1)


def _confident(target: Target, threshold: float) -> Bool[Tensor, "b h w"]:
    return (target.confidence >= threshold) & (target.label != IGNORE)
