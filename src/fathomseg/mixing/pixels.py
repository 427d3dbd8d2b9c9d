"""Everything known of the pixels of a batch, so that mixing and moving treat it alike: what moves, moves together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int64, Shaped, UInt8
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Pixels:
    """Images with what is known of each pixel. Every tensor ends in (height, width) and lies on one device.

    Labels are class indices; the planes of a softmax come along only where they are what is learned, since to mix them
    costs many times as much.
    """

    image: Float[Tensor, "b 3 h w"]
    """RGB, 0..1."""
    label: UInt8[Tensor, "b h w"] | Int64[Tensor, "b h w"]
    """Pseudo-label of a teacher, or ground truth; 255 = ignore."""
    weight: Float[Tensor, "b h w"]
    """How much the label counts, 0..1, as whoever answered for the whole image has decided; 0 where it is ignored."""
    valid: Bool[Tensor, "b h w"]
    """Whether the pixel shows a part of the photograph, as padding does not."""
    disparity: Float[Tensor, "b 1 h w"] | None = None
    """Disparity on one scale for the batch, 0..1, 1 = nearest; NaN = unknown. `depthmix.unit_disparity` makes it."""
    probabilities: Float[Tensor, "b c h w"] | None = None
    """Those of all classes, to be learned in the place of the label."""
    frames: Float[Tensor, "b s 3 h w"] | None = None
    """Neighbouring video frames, RGB 0..1, in the order of time."""

    def rolled(self, shift: int) -> Pixels:
        """The batch in which image i stands where image i + shift stood, cyclically."""
        return self.each(lambda field: field.roll(-shift, dims=0))

    def each(self, change: Callable[[Tensor], Tensor]) -> Pixels:
        """The same function applied to every tensor there is."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(tensor) for name, tensor in tensors.items() if tensor is not None})


def composite(keep: Bool[Tensor, "b h w"], this: Pixels, other: Pixels) -> Pixels:
    """`this` where `keep`, else `other`, in every field alike. A field that one of the two lacks is dropped."""

    def choose(name: str) -> Tensor | None:
        mine, theirs = getattr(this, name), getattr(other, name)
        if mine is None or theirs is None:
            return None
        return torch.where(over(keep, mine), mine, theirs)

    return Pixels(**{field.name: choose(field.name) for field in fields(this)})  # type: ignore[arg-type]


def over(mask: Shaped[Tensor, "b h w"], field: Tensor) -> Shaped[Tensor, "b *_ h w"]:
    """The mask (or index) with as many dimensions of size 1 as a tensor of shape b ... h w needs."""
    return mask.view(mask.shape[0], *[1] * (field.ndim - 3), *mask.shape[1:])
