"""Scores of predicted depth maps: AbsRel, SqRel, RMSE, RMSE log, delta 1-3, with and without alignment of the scale.

The literature averages over images, not pixels (Eigen et al., NIPS 2014, and all after them): each image is scored
over its own valid pixels, then the scores are averaged. The accumulator therefore keeps every image's own scores by
its id and averages with an exact sum, so one process and many, or the images shuffled, give the same scores to the
last bit, and an image seen twice counts once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from fathomseg.errors import FathomError
from fathomseg.io.ranks import gathered
from fathomseg.types import Size

Crop = Literal["none", "garg", "eigen"]
Row = Mapping[str, float]

_CROPS: Final[Mapping[Crop, tuple[float, float, float, float]]] = {
    "none": (0.0, 1.0, 0.0, 1.0),
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}
"""First and end row and column as shares of the image (Garg et al., ECCV 2016; Eigen et al., NIPS 2014)."""

Alignment = Literal["none", "median", "scale_shift"]

ALIGNMENTS: Final[tuple[Alignment, ...]] = ("none", "median", "scale_shift")
_UNSCALED, _MEDIAN, _SCALE_SHIFT = ALIGNMENTS

MEANING: Final = {
    "none": "errors of the predicted depth as it is, taken for metres; where `depth_unit` is relative they say nothing",
    "median": "errors after multiplying each predicted map by median(truth) / median(prediction) over its valid pixels "
    "(Zhou et al. 2017): the protocol for monocular self-supervised depth",
    "scale_shift": "errors after fitting scale and shift of each predicted map to the truth by least squares in 1 / "
    "depth (Ranftl et al. 2022, MiDaS): two free numbers an image, so not comparable with `median`",
    "abs_rel": "mean of |prediction - truth| / truth",
    "sq_rel": "mean of (prediction - truth)^2 / truth; metres",
    "rmse": "square root of the mean of (prediction - truth)^2; metres",
    "rmse_log": "square root of the mean of (ln prediction - ln truth)^2",
    "delta1": "share of pixels where max(prediction / truth, truth / prediction) < 1.25",
    "delta2": "the same with 1.25^2",
    "delta3": "the same with 1.25^3",
    "scale_median": "median over images of median(truth) / median(prediction): true metres per predicted unit",
    "scale_std": "standard deviation over images of that ratio divided by its median: how consistent the scale is",
    "images": "images with at least one valid pixel; every error is the mean over them of the image's own error",
    "images_without_truth": "images whose ground truth has no valid pixel; they count nowhere",
    "pixels": "valid pixels of all images: truth strictly between min_depth and max_depth, within the crop",
    "settings": "min_depth and max_depth in metres, to which predictions are clamped after alignment, the crop, and "
    "the alignment to look at first: none for depth in metres, median for depth up to a scale, scale_shift for depth "
    "up to a scale and a shift of 1 / depth",
}
"""What each key of `DepthScores.result()` and of one image's scores means; written beside the numbers."""

ERRORS: Final = ("abs_rel", "sq_rel", "rmse", "rmse_log", "delta1", "delta2", "delta3")


@dataclass(frozen=True, slots=True)
class DepthProtocol:
    """Which pixels count. The default is the usual one of KITTI without a crop."""

    min_depth: float = 1e-3
    """Metres; truth at or below it is invalid, and predictions are clamped to it."""
    max_depth: float = 80.0
    """Metres; truth at or above it is invalid, and predictions are clamped to it."""
    crop: Crop = "none"
    """The part of the image that counts: all of it, or the windows of Garg et al. or Eigen et al."""
    alignment: Alignment | None = None
    """How predictions are aligned, image by image, for the scores to look at first; all are always computed. None: as
    the model card says."""

    def __post_init__(self) -> None:
        if not 0 < self.min_depth < self.max_depth:
            raise FathomError(
                f"Expected 0 < min_depth < max_depth, but they are {self.min_depth} and {self.max_depth}."
            )
        if self.alignment not in (None, *ALIGNMENTS):
            raise FathomError(f"There is no alignment {self.alignment!r}; there is: {', '.join(ALIGNMENTS)}.")
        if self.crop not in _CROPS:
            raise FathomError(f"There is no crop {self.crop!r}; there is: {', '.join(_CROPS)}.")

    def differences(self) -> list[str]:
        """A word for each thing that is not as usual; they tell the folders of results apart."""
        words = {"min_depth": f"min{self.min_depth:g}", "max_depth": f"max{self.max_depth:g}", "crop": self.crop}
        usual = asdict(DepthProtocol())
        return [word for name, word in words.items() if getattr(self, name) != usual[name]]

    def valid(self, truth: Float[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
        """The pixels that count: truth inside the range (so neither 0 nor NaN) and inside the crop."""
        top, bottom, left, right = crop_window(self.crop, (truth.shape[0], truth.shape[1]))
        inside = torch.zeros_like(truth, dtype=torch.bool)
        inside[top:bottom, left:right] = True
        return inside & (truth > self.min_depth) & (truth < self.max_depth)


class DepthScores:
    """All depth scores of a data set at once, and each image's own in `images`."""

    def __init__(self, protocol: DepthProtocol | None = None) -> None:
        self.protocol = protocol or DepthProtocol()
        self.images: dict[str, dict[str, Row]] = {}
        """By image id: its errors under each of `ALIGNMENTS`, and "image": its scale ratio and valid pixels."""
        self.without_truth: set[str] = set()

    def update(self, id: str, prediction: Float[Tensor, "h w"], truth: Float[Tensor, "h w"]) -> dict[str, Row] | None:
        """Add one image: z-depth in metres, or in the network's own unit, at the size of the truth (0 = invalid there).

        Returns the image's own scores; None if its truth has no valid pixel. Raises `FathomError` if sizes differ or
        the prediction is not positive and finite at a valid pixel.
        """
        if prediction.shape != truth.shape:
            raise FathomError(
                f"{id}: a predicted depth of {tuple(prediction.shape)} pixels for a truth of {tuple(truth.shape)}; "
                "resize the prediction to the truth."
            )
        valid = self.protocol.valid(truth)
        guess, true = prediction[valid].double(), truth[valid].double()
        if not guess.numel():
            self.without_truth.add(id)
            return None
        if wrong := int((~(torch.isfinite(guess) & (guess > 0))).sum()):
            raise FathomError(f"{id}: the predicted depth is not positive and finite at {wrong} pixels with a truth.")
        ratio = median(true) / median(guess)
        low, high = self.protocol.min_depth, self.protocol.max_depth
        aligned = {
            _UNSCALED: guess,
            _MEDIAN: ratio * guess,
            _SCALE_SHIFT: 1 / fit_disparity(1 / guess, 1 / true).clamp(min=1 / high),
        }
        row: dict[str, Row] = {how: depth_errors(depth.clamp(low, high), true) for how, depth in aligned.items()}
        row["image"] = {"scale": float(ratio), "pixels": guess.numel()}
        self.images[id] = row
        return row

    def all_reduce(self) -> None:
        """Gather the images of all ranks; every rank must call it, and afterwards holds them all."""
        for images, without_truth in gathered([(self.images, self.without_truth)]):
            self.images |= images
            self.without_truth |= without_truth

    def result(self) -> dict[str, Any]:
        """The scores as plain JSON values, null where no image was scored; `MEANING` says what the keys mean."""
        rows = [self.images[id] for id in sorted(self.images)]
        ratios = torch.tensor([row["image"]["scale"] for row in rows], dtype=torch.float64)
        middle = median(ratios) if rows else torch.tensor(math.nan)
        return {
            **{how: {error: _mean([row[how][error] for row in rows]) for error in ERRORS} for how in ALIGNMENTS},
            "scale_median": float(middle) if rows else None,
            "scale_std": float((ratios / middle).std(correction=0)) if rows else None,
            "images": len(rows),
            "images_without_truth": len(self.without_truth),
            "pixels": sum(int(row["image"]["pixels"]) for row in rows),
            "settings": asdict(self.protocol),
        }


def depth_errors(prediction: Float64[Tensor, " n"], truth: Float64[Tensor, " n"]) -> dict[str, float]:
    """The errors of n positive depths in metres, by the names in `ERRORS`."""
    difference, log_difference = prediction - truth, prediction.log() - truth.log()
    ratio = torch.maximum(prediction / truth, truth / prediction)
    errors = (
        (difference.abs() / truth).mean(),
        (difference.square() / truth).mean(),
        difference.square().mean().sqrt(),
        log_difference.square().mean().sqrt(),
        *((ratio < 1.25**power).double().mean() for power in (1, 2, 3)),
    )
    return dict(zip(ERRORS, torch.stack(errors).tolist(), strict=True))


def fit_disparity(prediction: Float64[Tensor, " n"], truth: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """scale * prediction + shift with the least squared distance to the truth (Ranftl et al., TPAMI 2022, eq. 4).

    The result may be negative: clamp it before inverting.
    """
    scale, shift = scale_and_shift(prediction, truth)
    return scale * prediction + shift


def scale_and_shift(
    prediction: Float64[Tensor, " n"], truth: Float64[Tensor, " n"]
) -> tuple[Float64[Tensor, ""], Float64[Tensor, ""]]:
    """Those of the least squared distance of inverse depths. A constant prediction has a scale of 0."""
    centred = prediction - prediction.mean()
    variance = centred.square().mean()
    covariance = (centred * (truth - truth.mean())).mean()
    flat = variance <= 1e-24 * prediction.square().mean()  # nothing but rounding
    scale = torch.where(flat, 0.0, covariance / torch.where(flat, 1.0, variance))
    return scale, truth.mean() - scale * prediction.mean()


def median(values: Float64[Tensor, " n"]) -> Float64[Tensor, ""]:
    """The middle value, or the mean of the middle two (torch's own takes the lower)."""
    n = values.numel()
    return (values.kthvalue((n + 1) // 2).values + values.kthvalue(n // 2 + 1).values) / 2


def crop_window(crop: Crop, size: Size) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) in whole pixels, ends excluded, of a crop of an image of `size`."""
    top, bottom, left, right = _CROPS[crop]
    height, width = size
    return int(top * height), int(bottom * height), int(left * width), int(right * width)


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
