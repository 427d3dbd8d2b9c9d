"""Photometric augmentation of a batch on its device (kornia), with parameters drawn from nothing but the sample's key.

The parameters are drawn on the host, one small generator a sample, so that a batch split over two processes, or
interrupted and resumed, gets exactly the same pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fathomseg.config import Part
from fathomseg.config.bounds import Share

_COLOUR_STREAM = 1
"""Tells this use of a sample's key apart from others, so that two augmentations never share their random numbers."""


class ColourJitter(Part):
    """Brightness, contrast, saturation and hue, each with its own random factor a sample, in this fixed order."""

    probability: Share = 0.8
    """Share of the samples that are changed at all."""
    brightness: Share = 0.3
    """Factor drawn from 1 - b .. 1 + b."""
    contrast: Share = 0.3
    """Factor drawn from 1 - c .. 1 + c, about the grey mean of each image."""
    saturation: Share = 0.3
    """Factor drawn from 1 - s .. 1 + s, between the image and its grey version."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Shift drawn from -h .. h, in turns of the colour circle."""
    grey: Share = 0.0
    """Share of the samples that are made grey, whatever else changes; for images of which some are grey as stored."""

    def factors(self, keys: Sequence[int]) -> Float[np.ndarray, "b 4"]:
        """Brightness, contrast, saturation factors and hue shift (turns) of each sample; identity = 1, 1, 1, 0. A
        saturation of 0 is grey."""
        rows = np.tile([1.0, 1.0, 1.0, 0.0], (len(keys), 1))
        reach = np.array([self.brightness, self.contrast, self.saturation, self.hue])
        for row, key in zip(rows, keys, strict=True):
            rng = np.random.default_rng((key, _COLOUR_STREAM))
            if rng.random() < self.probability:
                row += rng.uniform(-reach, reach)
            if rng.random() < self.grey:  # the last draw, so that the others are those without it
                row[2] = 0.0
        return rows

    def __call__(self, image: Float[Tensor, "b 3 h w"], keys: Sequence[int]) -> Float[Tensor, "b 3 h w"]:
        """The jittered images, 0..1."""
        factors = torch.from_numpy(self.factors(keys)).to(image.device, image.dtype, non_blocking=True)
        brightness, contrast, saturation, hue = (column.view(-1, 1, 1, 1) for column in factors.T)
        image = (image * brightness).clamp(0, 1)
        grey_mean = _grey(image).mean(dim=(2, 3), keepdim=True)
        image = torch.lerp(grey_mean.expand_as(image), image, contrast).clamp(0, 1)
        image = torch.lerp(_grey(image).expand_as(image), image, saturation).clamp(0, 1)
        if self.hue > 0:
            import kornia.enhance  # here, as it takes long and no recipe is read by it

            image = kornia.enhance.adjust_hue(image, hue.flatten() * (2 * torch.pi))
        return image


def _grey(image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Luma of ITU-R BT.601, the grey of PIL and kornia."""
    red, green, blue = image.split(1, dim=1)
    grey: Tensor = 0.299 * red + 0.587 * green + 0.114 * blue
    return grey
