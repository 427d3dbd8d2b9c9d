"""A pool of images seen through its features: a map of it, and how well the images chosen from it cover it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

_NUMBERS: Final = 2**24
"""Numbers of features, or distances, held in memory at once."""
_ROUNDS: Final = 12
_EXTRA: Final = 4
"""Directions beside those wanted, by which the iteration finds these faster."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Distances of the pool's images to the nearest labelled one, by the number of images chosen so far.

    Entry k is after k of them. Entry 0 is NaN if no image was labelled before.
    """

    largest: Float64[np.ndarray, " n"]
    mean: Float64[np.ndarray, " n"]


def coverage(features: Float[np.ndarray, "n d"], taken: Sequence[int], order: Sequence[int]) -> Coverage:
    """The Euclidean distance of every row to the nearest of `taken` and of the first rows of `order`: 0, 1, ... all.

    One pass over the features, which may be memory-mapped: O(rows x dim x (taken + order)) time.
    """
    middle = _middle(features)
    columns = np.array([*taken, *order], np.int64)
    centres = features[columns] - middle
    squares = np.square(centres).sum(1)
    largest, total = np.zeros(len(order) + 1), np.zeros(len(order) + 1)
    step = max(1, _NUMBERS // max(features.shape[1], len(columns)))
    for start in range(0, len(features), step):
        rows = features[start : start + step] - middle
        found = np.square(rows).sum(1)[:, None] + squares - 2 * rows @ centres.T
        inside = (columns >= start) & (columns < start + len(rows))
        found[columns[inside] - start, inside] = 0  # which rounding would miss
        first = found[:, : len(taken)].min(1, initial=np.inf)
        nearest = np.minimum.accumulate(np.concatenate([first[:, None], found[:, len(taken) :]], axis=1), axis=1)
        distances = np.sqrt(np.maximum(nearest, 0))
        largest, total = np.maximum(largest, distances.max(0)), total + distances.sum(0, dtype=np.float64)
    mean = total / len(features)
    if not len(taken):
        largest[0] = mean[0] = np.nan
    return Coverage(largest, mean)


def principal_axes(features: Float[np.ndarray, "n d"], count: int = 2) -> Float32[np.ndarray, "d count"]:
    """The directions along which features vary most, unit length, widest first; zeros where there are fewer.

    Subspace iteration (Halko et al. 2011) on as many evenly spaced rows as fit 64 MB. Each axis points to where its
    largest component is positive.
    """
    step = -(-features.size // _NUMBERS)
    rows = np.asarray(features[::step], np.float32)
    rows = rows - rows.mean(0)
    width = min(count + _EXTRA, *rows.shape)
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((rows.shape[1], width), np.float32))[0]
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(rows.T @ (rows @ basis))[0]
    _, sizes, turn = np.linalg.svd(rows @ basis, full_matrices=False)
    axes = np.zeros((rows.shape[1], count), np.float32)
    some = min(count, int((sizes > 1e-6 * max(float(sizes[0]), 1e-30)).sum()))
    axes[:, :some] = basis @ turn[:some].T
    peaks = np.take_along_axis(axes, np.abs(axes).argmax(0)[None], axis=0)
    return np.where(peaks < 0, -axes, axes)


def share_of_variance(features: Float[np.ndarray, "n d"], axes: Float32[np.ndarray, "d k"]) -> float:
    """The part of all variance that lies along these axes, 0..1, over evenly spaced rows; 0 if there is none."""
    rows = np.asarray(features[:: -(-4 * features.size // _NUMBERS)], np.float32)
    whole = float(rows.var(axis=0, dtype=np.float64).sum())
    return min(1.0, float((rows @ axes).var(axis=0, dtype=np.float64).sum()) / whole) if whole > 0 else 0.0


def project(
    features: Float[np.ndarray, "n d"], axes: Float32[np.ndarray, "d k"], rows: Int64[np.ndarray, " m"]
) -> Float32[np.ndarray, "m k"]:
    """Some rows along these axes, from wherever the features have their origin."""
    step = max(1, _NUMBERS // features.shape[1])
    parts = [features[rows[start : start + step]].astype(np.float32) @ axes for start in range(0, len(rows), step)]
    return np.concatenate(parts) if parts else np.zeros((0, axes.shape[1]), np.float32)


def _middle(features: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, " d"]:
    """About the mean: squared distances lose fewest digits near the origin."""
    step = -(-features.size // _NUMBERS)
    mean: Float32[np.ndarray, " d"] = np.asarray(features[::step], np.float32).mean(0)
    return mean
