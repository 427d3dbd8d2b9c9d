"""CutMix (Yun et al. 2019, ICCV; for segmentation French et al. 2020, BMVC): a box of the partner is pasted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from fathomseg.config.bounds import Share
from fathomseg.mixing.base import Mixing
from fathomseg.mixing.draws import Use, generator, on_device
from fathomseg.mixing.pixels import Pixels
from fathomseg.types import Size


class CutMix(Mixing):
    """A box of the other image replaces the same box of this one. The defaults are those of UniMatch (2023)."""

    name: Literal["cutmix"] = "cutmix"
    probability: Share = 0.5
    """Share of the images that get a box."""
    area: tuple[PositiveFloat, Annotated[float, Field(gt=0, le=1)]] = (0.02, 0.4)
    """Range of the box's share of the image, drawn evenly. French et al.: 0.5, 0.5."""
    aspect: tuple[PositiveFloat, PositiveFloat] = (0.3, 1 / 0.3)
    """Range of its height / width, drawn log-evenly among the boxes that fit into the image."""

    @model_validator(mode="after")
    def _ordered(self) -> CutMix:
        for name, (low, high) in (("area", self.area), ("aspect", self.aspect)):
            if low > high:
                raise ValueError(f"{name} must be [smallest, largest], but is {[low, high]}")
        return self

    def fills(self, keys: Sequence[int]) -> list[bool]:
        """If it gets a box."""
        return [bool(generator(key, Use.BOX).random() < self.probability) for key in keys]  # what `box` draws first

    def mask(self, this: Pixels, other: Pixels, keys: Sequence[int]) -> Bool[Tensor, "b h w"]:
        """False in the box, True around it."""
        size = (this.valid.shape[1], this.valid.shape[2])
        boxes = np.array([self.box(generator(key, Use.BOX), size) for key in keys])
        return ~inside(boxes, this.valid)

    def box(self, rng: np.random.Generator, size: Size) -> Float[np.ndarray, "4"]:
        """Top, left, bottom, right of a random box in whole pixels, the last two beyond it; an empty box for none."""
        height, width = size
        if rng.random() >= self.probability:
            return np.zeros(4)
        area = rng.uniform(*self.area) * height * width
        # Only shapes that fit are drawn from, so no draw is thrown away and the area keeps its distribution. In an
        # image so long that no shape of the range fits, the nearest one does.
        aspect = np.exp(rng.uniform(*np.log(np.clip(self.aspect, area / width**2, height**2 / area))))
        box = np.clip(np.rint([np.sqrt(area * aspect), np.sqrt(area / aspect)]), 1, size)
        top, left = (rng.integers(have - want, endpoint=True) for have, want in zip(size, box.astype(int), strict=True))
        return np.array([top, left, top + box[0], left + box[1]])


def inside(boxes: Float[np.ndarray, "b 4"], like: Bool[Tensor, "b h w"]) -> Bool[Tensor, "b h w"]:
    """Where pixels lie inside the box (top, left, bottom, right; the last two beyond it) of their image."""
    top, left, bottom, right = on_device(boxes, like).view(-1, 4, 1).unbind(1)
    y, x = (torch.arange(n, device=like.device) for n in like.shape[1:])
    return ((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < right))[:, None, :]
