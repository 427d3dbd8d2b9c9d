"""Ranking of point pairs across semantic borders (Li et al. 2023, Pattern Recognition 137, arXiv:2102.06685)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from fathomseg.geometry.numerics import full_precision
from fathomseg.losses.guidance.base import Guidance, Seen
from fathomseg.types import IGNORE, SumCount


class Ranking(Guidance):
    """At a border, depth jumps; beside it, within a class, it does not.

    Four points lie on the line across a border pixel, a and b on one side, c and d on the other. Pairs of one side:
    max(0, |ln z_i - ln z_j| - margin)^2. The pair (b, c): ln(1 + exp(-l (ln z_b - ln z_c))), where l is the order that
    is predicted already, if the ratio of depths is above 1 + `tolerance`; else nothing (a kerb has a border and no
    jump). Four points that are not of two classes, two and two, count nowhere: that is what makes it robust against
    ragged labels.
    """

    name: Literal["ranking"] = "ranking"
    weight: NonNegativeFloat = 0.1
    samples: Annotated[int, Field(gt=0)] = 1000
    """Border pixels drawn from each image."""
    reach: Annotated[float, Field(gt=0)] = 0.15
    """The farthest point from the border: in pixels, or below 1 as a share of the image's height."""
    tolerance: Annotated[float, Field(ge=0)] = 0.1
    """Ratios of depth up to 1 + this have no order."""
    margin: Annotated[float, Field(ge=0)] = 0.05
    """Differences of log depth within a class that cost nothing: roads and walls slope."""

    def __call__(self, seen: Seen, roles: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[SumCount, float]]:
        """The mean over pairs, as ("", 1)."""
        points = sample(seen.label, self.samples, self.reach)
        return {"": (ranking(seen.inverse_depth, seen.confidence, points, self.tolerance, self.margin), 1.0)}


@dataclass(frozen=True)
class Points:
    """Four pixels on a line across each sampled border."""

    index: Int64[Tensor, "b 4 n"]
    """a, b, c, d as y * width + x."""
    valid: Bool[Tensor, "b n"]
    """Whether they are in the image and of two classes, two and two."""


@torch.no_grad()
def sample(label: UInt8[Tensor, "b h w"], count: int, reach: float) -> Points:
    """Border pixels by chance (that of the step's generator), and for each four points along the label's gradient.

    The gradient is Sobel's; its direction is across the border, whatever numbers the classes have. Distances are drawn
    from 1 to `reach` pixels, the nearer of two being b and c.
    """
    height, width = label.shape[1:]
    padded = F.pad(label[:, None].float(), (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    columns = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    slope = torch.cat([rows[..., 2:] - rows[..., :-2], columns[..., 2:, :] - columns[..., :-2, :]], dim=1)
    unknown = F.max_pool2d((padded == IGNORE).float(), 3, 1)[:, 0] > 0
    length = torch.linalg.vector_norm(slope, dim=1)
    border = ((length > 0) & ~unknown).flatten(1)
    count = min(count, height * width)
    chance, place = torch.where(border, torch.rand_like(length.flatten(1)) + 1e-6, 0.0).topk(count)
    across = (slope / length.clamp(min=1e-6)[:, None]).flatten(2).gather(2, place[:, None].expand(-1, 2, -1))
    far = max(2.0, reach * height if reach < 1 else reach)
    drawn = 1 + (far - 1) * torch.rand(len(label), 2, 2, count, device=label.device)
    (near_1, far_1), (near_2, far_2) = (drawn[:, side].sort(dim=1).values.unbind(1) for side in (0, 1))
    steps = torch.stack([-far_1, -near_1, near_2, far_2], dim=1)
    x = (place % width)[:, None] + (steps * across[:, :1]).round().long()
    y = (place // width)[:, None] + (steps * across[:, 1:]).round().long()
    inside = ((x >= 0) & (x < width) & (y >= 0) & (y < height)).all(1)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    a, b, c, d = _at(label[:, None], index).unbind(1)
    two = (a == b) & (c == d) & (b != c) & (a != IGNORE) & (c != IGNORE)
    return Points(index, (chance > 0) & inside & two)


@full_precision
def ranking(
    inverse_depth: Float[Tensor, "b 1 h w"],
    confidence: Float[Tensor, "b h w"],
    points: Points,
    tolerance: float,
    margin: float,
) -> SumCount:
    """The sum over the pairs that count, each times the confidences of its two points; and their number."""
    log = -_at(inverse_depth, points.index).log()
    sure = _at(confidence[:, None], points.index)
    a, b, c, d = log.unbind(1)
    same = torch.stack([a - b, c - d], dim=1).abs()
    apart = b - c
    order = torch.where(apart.detach().abs() > math.log1p(tolerance), apart.detach().sign(), 0.0)
    within = F.relu(same - margin).square() * sure[:, ::2] * sure[:, 1::2]
    across = F.softplus(-order * apart) * sure[:, 1] * sure[:, 2]
    ordered = points.valid & (order != 0)
    total = torch.where(points.valid[:, None], within, 0.0).sum() + torch.where(ordered, across, 0.0).sum()
    return total, (2 * points.valid.sum() + ordered.sum()).to(total.dtype)


def _at(values: Tensor, index: Int64[Tensor, "b 4 n"]) -> Tensor:
    """The pixels of these numbers of a map of one channel."""
    return values.flatten(2).expand(-1, index.shape[1], -1).gather(2, index)
