"""Scores of a segmentation: IoU, boundary IoU and calibration, as integer sums that add up over images and ranks.

Every accumulator holds nothing but int64 counts. Sums of integers do not depend on their order, so one process and
many, or the images shuffled, give the same scores to the last bit. Updating never waits for the device: wrong input is
counted where it lies and raised by `result()`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import torch
import torch.distributed
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor

from fathomseg.errors import FathomError
from fathomseg.types import IGNORE

MEANING: Final = {
    "miou": "mean intersection over union, over the classes PRESENT IN THE GROUND TRUTH of the images scored",
    "miou_shared": "the same mean over those of them that every dataset has whose labels were learned from "
    "(shared_classes); there only if some dataset lacks a class",
    "boundary_miou": "the same mean of the boundary IoU (Cheng et al. 2021) at 2 % of the image diagonal",
    "pixel_accuracy": "share of labelled pixels whose class is right",
    "mean_class_accuracy": "mean over present classes of the share of a class's pixels that are found (recall)",
    "frequency_weighted_iou": "IoU of each class weighted by its share of the labelled pixels",
    "ece": "expected calibration error of the top-1 confidence, 15 equal bins, labelled pixels (Guo et al. 2017)",
    "classes": "one entry a class; its scores are null where the ground truth has no pixel of it",
    "confusion": "labelled pixels; row = true class, column = predicted class",
}
"""What each key of `SegmentationScores.result()` means; written beside the numbers."""


class _Sums:
    """Integer counts, which add up over images and ranks."""

    def __init__(self, shape: Sequence[int], device: torch.device | str | None = None) -> None:
        self.counts = torch.zeros(tuple(shape), dtype=torch.int64, device=device)

    def all_reduce(self) -> None:
        """Add up over all ranks of the process group; afterwards every rank holds the total."""
        torch.distributed.all_reduce(self.counts)


class Confusion(_Sums):
    """Confusion matrix in pixels: rows = truth, columns = prediction; truth 255 counts nowhere.

    The mean scores are over the classes PRESENT IN THE GROUND TRUTH; a class that is only predicted lowers the IoU of
    the classes it takes pixels from, but has no IoU of its own.
    """

    def __init__(self, classes: int, device: torch.device | str | None = None) -> None:
        self.classes = classes
        super().__init__((classes + 1, classes + 1), device)  # one more of each for values outside 0..classes-1

    def update(self, prediction: UInt8[Tensor, "*shape"], truth: UInt8[Tensor, "*shape"]) -> Int64[Tensor, "c c"]:
        """Add one image or batch; returns the matrix of these pixels alone."""
        side = self.classes + 1
        cell = prediction.long().clamp(max=self.classes) + truth.long().clamp(max=self.classes) * side
        here = _histogram(cell, truth != IGNORE, side * side).view(side, side)
        self.counts += here
        return here[:-1, :-1]

    @property
    def matrix(self) -> Int64[Tensor, "c c"]:
        """The counts so far. Raises `FathomError` if a truth or a prediction lay outside the class list."""
        foreign_truth, foreign_prediction = int(self.counts[-1].sum()), int(self.counts[:-1, -1].sum())
        for what, pixels in (("labels", foreign_truth), ("predictions", foreign_prediction)):
            if pixels:
                raise FathomError(
                    f"{pixels} pixels of the {what} hold a class outside 0..{self.classes - 1} (in labels, {IGNORE} "
                    f"means ignore). Give {what} in the class indices of the data set's own list."
                )
        return self.counts[:-1, :-1]


def class_iou(matrix: Int64[Tensor, "c c"]) -> Float64[Tensor, " c"]:
    """TP / (TP + FP + FN) of every class, 0..1; NaN where the ground truth has no pixel of the class."""
    truth = matrix.sum(1)
    return _ratio(matrix.diagonal(), truth + matrix.sum(0) - matrix.diagonal(), truth > 0)


def class_accuracy(matrix: Int64[Tensor, "c c"]) -> Float64[Tensor, " c"]:
    """Recall TP / (TP + FN) of every class, 0..1; NaN where the ground truth has no pixel of the class."""
    truth = matrix.sum(1)
    return _ratio(matrix.diagonal(), truth, truth > 0)


def mean_iou(matrix: Int64[Tensor, "c c"]) -> Float64[Tensor, ""]:
    """Mean of `class_iou` over the classes present in the ground truth; NaN if no pixel is labelled."""
    return class_iou(matrix).nanmean()


def mean_over(result: Mapping[str, Any], names: Collection[str]) -> float | None:
    """The mean IoU over the classes of these names that the ground truth of a `SegmentationScores.result()` shows."""
    known = [row["iou"] for row in result["classes"] if row["name"] in names and row["iou"] is not None]
    return sum(known) / len(known) if known else None


def pixel_accuracy(matrix: Int64[Tensor, "c c"]) -> Float64[Tensor, ""]:
    """Share of labelled pixels whose class is right; NaN if no pixel is labelled."""
    return matrix.diagonal().sum().double() / matrix.sum()


def frequency_weighted_iou(matrix: Int64[Tensor, "c c"]) -> Float64[Tensor, ""]:
    """Sum over classes of (share of labelled pixels) x IoU; NaN if no pixel is labelled."""
    return (matrix.sum(1) * class_iou(matrix).nan_to_num()).sum() / matrix.sum()


class BoundaryIoU(_Sums):
    """Boundary IoU per class (Cheng et al., CVPR 2021, arXiv 2103.16562, equation 3), summed over the data set.

    The boundary region of a mask is its pixels within `distance` pixels of its contour: the mask minus its erosion,
    with everything outside the image counted as "not the mask". Ignored pixels belong to no mask, neither of the truth
    nor of the prediction. The distance is the share `DIAGONAL` of the image diagonal, rounded, and at least 1 pixel.
    """

    DIAGONAL: Final = 0.02

    def __init__(self, classes: int, device: torch.device | str | None = None) -> None:
        self.classes = classes
        super().__init__((3, classes + 1), device)  # intersection, truth, prediction; one more for foreign values

    def update(self, prediction: UInt8[Tensor, "h w"], truth: UInt8[Tensor, "h w"]) -> None:
        """Add one image; the distance depends on its size."""
        distance = max(1, round(self.DIAGONAL * math.hypot(*truth.shape)))
        valid = truth != IGNORE
        prediction = prediction.where(valid, IGNORE)
        near_truth = boundary(truth, distance) & valid
        near_prediction = boundary(prediction, distance) & valid
        for row, (labels, mask) in enumerate(
            (
                (truth, near_truth & near_prediction & (truth == prediction)),
                (truth, near_truth),
                (prediction, near_prediction),
            )
        ):
            self.counts[row] += _histogram(labels.long().clamp(max=self.classes), mask, self.classes + 1)

    def class_iou(self) -> Float64[Tensor, " c"]:
        """Boundary IoU of every class, 0..1; NaN where the ground truth has no pixel of the class."""
        intersection, truth, prediction = self.counts[:, :-1]
        return _ratio(intersection, truth + prediction - intersection, truth > 0)


def boundary(labels: UInt8[Tensor, "h w"], distance: int) -> Bool[Tensor, "h w"]:
    """Pixels of a label map that erosion of their own class's mask by a (2 distance + 1) square would remove.

    For all classes at once: a pixel survives exactly where its window lies inside the image and holds one value.
    """
    window = 2 * distance + 1
    edge = torch.ones_like(labels, dtype=torch.bool)
    if min(labels.shape) >= window:
        largest = _sliding_maximum(_sliding_maximum(labels, window, 0), window, 1)
        smallest = ~_sliding_maximum(_sliding_maximum(~labels, window, 0), window, 1)  # ~ reverses the order of uint8
        edge[distance:-distance, distance:-distance] = largest != smallest
    return edge


class Calibration(_Sums):
    """Expected calibration error of the top-1 confidence over labelled pixels (Guo et al., ICML 2017, equation 3).

    Bin m of M holds confidences in ((m-1)/M, m/M]. Confidences are summed as multiples of 2^-24, the resolution of
    float32 below 1, so that the sum is exact and does not depend on the order.
    """

    BINS: Final = 15
    STEPS: Final = 2**24

    def __init__(self, device: torch.device | str | None = None) -> None:
        self.edges = torch.linspace(0, 1, self.BINS + 1, device=device)
        # Pixels, right pixels, confidence; one more bin for values not in 0..1.
        super().__init__((3, self.BINS + 1), device)

    def update(
        self, prediction: UInt8[Tensor, "*shape"], confidence: Float[Tensor, "*shape"], truth: UInt8[Tensor, "*shape"]
    ) -> None:
        """Add one image or batch."""
        valid = truth != IGNORE
        in_range = (confidence >= 0) & (confidence <= 1)  # false for NaN
        bin = torch.where(in_range, torch.bucketize(confidence.float(), self.edges[1:-1]), self.BINS)
        parts = torch.where(in_range, confidence.double() * self.STEPS, 0).round().long()
        self.counts[0] += _histogram(bin, valid, self.BINS + 1)
        self.counts[1] += _histogram(bin, valid & (prediction == truth), self.BINS + 1)
        self.counts[2].scatter_add_(0, bin.flatten(), (parts * valid).flatten())

    def table(self) -> list[dict[str, float | int | None]]:
        """One row a bin: `from`, `to`, `pixels`, mean `confidence`, `accuracy` (null where empty)."""
        self._check()
        pixels, right, parts = self.counts[:, :-1].tolist()
        edges = self.edges.tolist()
        return [
            {
                "from": edges[m],
                "to": edges[m + 1],
                "pixels": n,
                "confidence": parts[m] / self.STEPS / n if n else None,
                "accuracy": right[m] / n if n else None,
            }
            for m, n in enumerate(pixels)
        ]

    def error(self) -> float:
        """The expected calibration error, 0..1; NaN if no pixel is labelled. Raises `FathomError` on NaN input."""
        self._check()
        pixels, right, parts = self.counts[:, :-1].double()
        return float((right - parts / self.STEPS).abs().sum() / pixels.sum())

    def _check(self) -> None:
        if wrong := int(self.counts[0, -1]):
            raise FathomError(
                f"{wrong} pixels have a confidence that is NaN or outside 0..1. If these are probabilities of a "
                "network, its weights are not finite: look at the last lines of metrics.jsonl of its run."
            )


class SegmentationScores:
    """All scores of a data set at once: what `fathom evaluate` reports."""

    def __init__(self, names: Sequence[str], device: torch.device | str | None = None) -> None:
        self.names = tuple(names)
        self.confusion = Confusion(len(self.names), device)
        self.boundary = BoundaryIoU(len(self.names), device)
        self.calibration = Calibration(device)
        self.images = _Sums((2,), device)  # images scored, images with a confidence

    def update(
        self, prediction: UInt8[Tensor, "h w"], confidence: Float[Tensor, "h w"] | None, truth: UInt8[Tensor, "h w"]
    ) -> Float64[Tensor, ""]:
        """Add one image at its native label size; returns this image's own mIoU (NaN if no pixel is labelled).

        Raises `FathomError` if prediction and label differ in size.
        """
        if prediction.shape != truth.shape:
            raise FathomError(f"A prediction of {tuple(prediction.shape)} pixels for a label of {tuple(truth.shape)}.")
        here = self.confusion.update(prediction, truth)
        self.boundary.update(prediction, truth)
        if confidence is not None:
            self.calibration.update(prediction, confidence, truth)
        self.images.counts[0] += 1
        self.images.counts[1] += confidence is not None
        return mean_iou(here)

    def all_reduce(self) -> None:
        """Add up over all ranks; every rank must call it."""
        for sums in self._sums():
            sums.all_reduce()

    def result(self) -> dict[str, Any]:
        """The scores as plain JSON values, 0..1, null where undefined; `MEANING` says what the keys mean.

        Raises `FathomError` if a label or prediction lay outside the class list or a confidence was not finite.
        """
        matrix = self.confusion.matrix.cpu()
        accuracy, iou, boundary_iou = class_accuracy(matrix), class_iou(matrix), self.boundary.class_iou().cpu()
        images, with_confidence = self.images.counts.tolist()
        columns = [scores.tolist() for scores in (iou, boundary_iou, accuracy, matrix.sum(1), matrix.sum(0))]
        return {
            "miou": _plain(float(iou.nanmean())),
            "boundary_miou": _plain(float(boundary_iou.nanmean())),
            "pixel_accuracy": _plain(float(pixel_accuracy(matrix))),
            "mean_class_accuracy": _plain(float(accuracy.nanmean())),
            "frequency_weighted_iou": _plain(float(frequency_weighted_iou(matrix))),
            "ece": _plain(self.calibration.error()) if with_confidence else None,
            "images": images,
            "pixels": int(matrix.sum()),
            "classes_present": int((matrix.sum(1) > 0).sum()),
            "classes": [
                {
                    "name": name,
                    "iou": _plain(a),
                    "boundary_iou": _plain(b),
                    "accuracy": _plain(r),
                    "pixels": truth,
                    "predicted_pixels": predicted,
                }
                for name, a, b, r, truth, predicted in zip(self.names, *columns, strict=True)
            ],
            "confusion": matrix.tolist(),
            "calibration": self.calibration.table() if with_confidence else None,
        }

    def _sums(self) -> tuple[_Sums, ...]:
        return self.confusion, self.boundary, self.calibration, self.images


def _histogram(values: Int64[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], size: int) -> Int64[Tensor, " size"]:
    """How often each of 0..size-1 occurs where `mask` is true."""
    if values.device.type == "cpu":
        return torch.bincount(values[mask], minlength=size)
    # bincount and boolean indexing wait for the device; this does not, and integer atomics add up exactly.
    return torch.zeros(size, dtype=torch.int64, device=values.device).scatter_add_(
        0, values.flatten(), mask.flatten().long()
    )


def _sliding_maximum(x: Tensor, window: int, dim: int) -> Tensor:
    """Maximum of every `window` neighbours along `dim` (shorter by window - 1), by doubling: log2(window) passes."""
    width = 1
    while width < window:
        step = min(width, window - width)
        n = x.shape[dim] - step
        x = torch.maximum(x.narrow(dim, 0, n), x.narrow(dim, step, n))
        width += step
    return x


def _ratio(top: Tensor, bottom: Tensor, defined: Bool[Tensor, " c"]) -> Float64[Tensor, " c"]:
    return torch.where(defined, top.double() / bottom, math.nan)


def _plain(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
