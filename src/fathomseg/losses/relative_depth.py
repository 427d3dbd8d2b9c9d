"""Losses that ask for the shape of a scene and leave its scale and shift open, in inverse depth, as (sum, count).

Ranftl, Lasinger, Hafner, Schindler, Koltun 2022, "Towards Robust Monocular Depth Estimation" (MiDaS, TPAMI,
arXiv:1907.01341), section 5. Depth from stereo, sensors, films and other networks can be learned from together, for
each image is aligned by itself.
"""

from __future__ import annotations

from typing import Final, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fathomseg.geometry.numerics import full_precision
from fathomseg.types import SumCount

Fit = Literal["robust", "least_squares"]
Reduction = Literal["batch", "image"]

_FLAT: Final = 1e-12
"""A map whose variance is less than this share of its mean square is flat: in float32, that much is rounding."""
_LEAST_DEVIATION: Final = 1e-6
"""A flat map is divided by this instead of its mean absolute deviation."""

Maps = Float[Tensor, "b 1 h w"]
Known = Bool[Tensor, "b 1 h w"]


@full_precision
def scale_shift_invariant(
    prediction: Maps,
    target: Maps,
    fit: Fit = "robust",
    trim: float = 0.2,
    alpha: float = 0.5,
    scales: int = 4,
    reduction: Reduction = "batch",
    pixel_weight: Maps | None = None,
) -> SumCount:
    """The misfit of inverse depths after aligning each image, plus `alpha` times that of their gradients.

    Prediction and target are inverse depths of any scale and shift; NaN in the target is not known and counts nowhere.
    least_squares: (s p + t - p*)^2 / 2 with the best s and t, in the target's unit (equations 2 to 4). robust: both
    maps become (x - median) / mean |x - median|, and the `trim` largest of an image's errors are left out of
    |p - p*| / 2 (equations 5 to 7).

    batch: sums over all known pixels and their number, so an image counts by its known pixels, as published. image: the
    sum of each image's own mean, and the number of images. `pixel_weight` multiplies the error of each pixel, but
    neither the alignment nor the counts. A batch without known targets gives (0, 0) with a zero gradient.
    """
    known = ~target.isnan()
    wanted = target.nan_to_num()
    align = least_squares_difference if fit == "least_squares" else robust_difference
    difference = align(prediction, wanted, known)
    if fit == "least_squares":
        errors = difference.square() / 2
    else:
        errors = torch.where(within_share(difference, known, 1 - trim), difference.abs(), 0.0) / 2
    weighted = errors if pixel_weight is None else errors * pixel_weight
    totals, counts = _per_image(weighted), _per_image(known)
    slopes = [gradient_sums(difference, known, 2**k, pixel_weight) for k in range(scales)] if alpha > 0 else []
    if reduction == "image":
        means = totals / counts.clamp(min=1)
        means = means + alpha * sum(slope / number.clamp(min=1) for slope, number in slopes)
        return means.sum(), (counts > 0).sum().to(means.dtype)
    count = counts.sum()
    # Each scale is divided by its own known pixels; times `count`, since the whole sum will be divided by that.
    rough = sum(slope.sum() / number.sum().clamp(min=1) for slope, number in slopes)
    return totals.sum() + alpha * rough * count, count


def least_squares_difference(prediction: Maps, target: Maps, known: Known) -> Maps:
    """s p + t - p* with the least sum of squares over each image's known pixels; 0 elsewhere.

    The closed form of equation 3, centred, which keeps its digits in float32. A flat prediction has no scale: s = 0.
    """
    n = _per_image(known).clamp(min=1).view(-1, 1, 1, 1)
    p, q = (torch.where(known, x - _sum(x, known) / n, 0.0) for x in (prediction, target))
    variance, covariance = _sum(p.square(), known) / n, _sum(p * q, known) / n
    flat = variance <= _FLAT * _sum(prediction.square(), known) / n
    scale = torch.where(flat, 0.0, covariance / torch.where(flat, 1.0, variance))
    return scale * p - q


def robust_difference(prediction: Maps, target: Maps, known: Known) -> Maps:
    """The difference of both maps after subtracting the median of each image's known pixels and dividing by their mean
    absolute deviation from it (equations 5 and 6); 0 elsewhere. Of two middle values the median is the lower."""
    return normalised(prediction, known) - normalised(target, known)


def normalised(maps: Maps, known: Known) -> Maps:
    """(x - median) / mean |x - median| over each image's known pixels; 0 elsewhere. A flat map is 0 everywhere."""
    n = _per_image(known)
    ranked = maps.masked_fill(~known, torch.inf).flatten(1).sort(dim=1).values
    middle = ranked.gather(1, ((n - 1) / 2).long().clamp(min=0)[:, None])[:, 0]
    middle = torch.where(n > 0, middle, 0.0).view(-1, 1, 1, 1)
    centred = torch.where(known, maps - middle, 0.0)
    deviation = _per_image(centred.abs()) / n.clamp(min=1)
    return centred / deviation.clamp(min=_LEAST_DEVIATION).view(-1, 1, 1, 1)


def within_share(errors: Maps, known: Known, share: float) -> Known:
    """The `share` of each image's known pixels whose absolute errors are smallest, rounded down, but at least one."""
    keep = (_per_image(known) * share + 1e-4).long().clamp(min=1)  # 0.8 * 5 is 4, whatever the rounding
    ranked = errors.detach().abs().masked_fill(~known, torch.inf).flatten(1).sort(dim=1).values
    limit = ranked.gather(1, keep[:, None] - 1).view(-1, 1, 1, 1)
    return known & (errors.detach().abs() <= limit)


def gradient_sums(
    difference: Maps, known: Known, stride: int, pixel_weight: Maps | None = None
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """|dx R| + |dy R| of every `stride`-th row and column summed over each image, and the known pixels among them
    (equation 11). A difference counts if both of its pixels are known: a hole has no border."""
    R, m = difference[..., ::stride, ::stride], known[..., ::stride, ::stride]
    weight = None if pixel_weight is None else pixel_weight[..., ::stride, ::stride]
    total = R.new_zeros(len(R))
    for axis in (2, 3):
        length = R.shape[axis] - 1
        both = m.narrow(axis, 0, length) & m.narrow(axis, 1, length)
        steps = torch.where(both, R.diff(dim=axis), 0.0).abs()
        if weight is not None:
            steps = steps * (weight.narrow(axis, 0, length) + weight.narrow(axis, 1, length)) / 2
        total = total + _per_image(steps)
    return total, _per_image(m)


def _per_image(maps: Tensor) -> Float[Tensor, " b"]:
    found: Tensor = maps.flatten(1).sum(1)
    return found if found.is_floating_point() else found.float()


def _sum(maps: Maps, known: Known) -> Float[Tensor, "b 1 1 1"]:
    return _per_image(torch.where(known, maps, 0.0)).view(-1, 1, 1, 1)
