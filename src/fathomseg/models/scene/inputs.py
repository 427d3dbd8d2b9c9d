"""What the scene model sees: depth maps and segmentations as pictures 0..1, differentiable in predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fathomseg.geometry.camera import reciprocal
from fathomseg.geometry.numerics import full_precision
from fathomseg.types import IGNORE

NEUTRAL: Final = 0.5
"""The grey of ignored pixels, in the middle of all colours."""


@full_precision
def nearness(inverse_depth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 3 h w"]:
    """q / (q + mean of q over the image) of an inverse depth q >= 0, three times: 0 = infinitely far, towards 1 = near.

    The sky and whatever has no depth are q = 0, so they neither stretch nor shrink the rest, as a min-max of depth
    would; a nearest pixel that is wrong moves the mean a little and cannot take the whole range. The unit of length
    cancels out, so that metres and disparities of unknown scale look the same. Where nothing is known, 0.
    """
    mean = inverse_depth.mean((1, 2, 3), keepdim=True).clamp(min=1e-6)
    return (inverse_depth / (inverse_depth + mean)).expand(-1, 3, -1, -1)


def inverse_of(depth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """1 / depth of a depth map in metres; 0 where it is 0 (not known, or the sky)."""
    return reciprocal(depth)


def palette(colours: Sequence[Sequence[int]], device: torch.device | str | None = None) -> Float[Tensor, "c 3"]:
    """The colours (RGB, 0..255) of the classes as 0..1."""
    return torch.tensor(colours, dtype=torch.float32, device=device) / 255


@full_precision
def painted(probabilities: Float[Tensor, "b c h w"], colours: Float[Tensor, "c 3"]) -> Float[Tensor, "b 3 h w"]:
    """Every pixel in the class colours' mean by probability: sum over c of p_c colour_c. One-hot = that colour."""
    return torch.einsum("bchw,cr->brhw", probabilities, colours)


def painted_label(label: UInt8[Tensor, "b h w"], colours: Float[Tensor, "c 3"]) -> Float[Tensor, "b 3 h w"]:
    """The label in the colours of its classes, ignored pixels in neutral grey."""
    table = colours.new_full((IGNORE + 1, 3), NEUTRAL)
    table[: len(colours)] = colours
    return table[label.long()].permute(0, 3, 1, 2)
