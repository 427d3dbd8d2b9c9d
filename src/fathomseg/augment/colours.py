"""Strong colour augmentation: jitter, greyscale and blur, as in FixMatch-like segmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import PositiveFloat, model_validator
from torch import Tensor

from fathomseg.augment.base import Augmentation
from fathomseg.config import Part
from fathomseg.config.bounds import Share
from fathomseg.data.colour import ColourJitter
from fathomseg.geometry.numerics import full_precision
from fathomseg.mixing.draws import Use, generator, on_device


class Blur(Part):
    """Gaussian blur with its own width for each image."""

    probability: Share = 0.5
    """Share of the images that are blurred."""
    sigma: tuple[PositiveFloat, PositiveFloat] = (0.1, 2.0)
    """Range of the standard deviation in pixels, drawn evenly."""

    @model_validator(mode="after")
    def _ordered(self) -> Blur:
        if self.sigma[0] > self.sigma[1]:
            raise ValueError(f"sigma must be [smallest, largest], but is {list(self.sigma)}")
        return self

    def sigmas(self, keys: Sequence[int]) -> Float[np.ndarray, " b"]:
        """The standard deviation of each image in pixels; 0 = not blurred."""
        draws = [generator(key, Use.BLUR) for key in keys]
        return np.array([rng.uniform(*self.sigma) if rng.random() < self.probability else 0.0 for rng in draws])

    def __call__(self, image: Float[Tensor, "b 3 h w"], keys: Sequence[int]) -> Float[Tensor, "b 3 h w"]:
        """The images blurred, their border repeated."""
        sigmas = self.sigmas(keys)
        chosen = np.flatnonzero(sigmas)
        if len(chosen) == 0:
            return image
        index = on_device(chosen, image).long()
        # Three of the widest standard deviations: the size must not depend on the draw, else batches would differ.
        blurred = gaussian_blur(image[index], on_device(sigmas[chosen], image), math.ceil(3 * self.sigma[1]))
        return image.index_copy(0, index, blurred)


class Colours(Augmentation):
    """Colour jitter, then greyscale, then blur: each in a share of the images. The defaults are those of UniMatch V2.

    Hoyer et al. 2021 use jitter of strength 0.25 in all four, no greyscale, and a sigma of 0.15..1.15.
    """

    name: Literal["colours"] = "colours"
    jitter: ColourJitter = ColourJitter(probability=0.8, brightness=0.5, contrast=0.5, saturation=0.5, hue=0.25)
    """Random brightness, contrast, saturation and hue."""
    greyscale: Share = 0.2
    """Share of the images that lose their colour."""
    blur: Blur = Blur()
    """Random Gaussian blur."""

    def recolour(self, image: Float[Tensor, "b 3 h w"], keys: Sequence[int]) -> Float[Tensor, "b 3 h w"]:
        """The augmented images, 0..1."""
        import kornia.color  # here, as it takes long and no recipe is read by it

        image = self.jitter(image, keys)
        grey = on_device([generator(key, Use.GREY).random() < self.greyscale for key in keys], image)
        image = torch.where(grey.bool().view(-1, 1, 1, 1), kornia.color.rgb_to_grayscale(image), image)
        return self.blur(image, keys)


class NoAugmentation(Augmentation):
    """No strong augmentation: pixels stay as they are."""

    name: Literal["none"] = "none"

    def recolour(self, image: Float[Tensor, "b 3 h w"], keys: Sequence[int]) -> Float[Tensor, "b 3 h w"]:
        """The images themselves."""
        return image


@full_precision
def gaussian_blur(image: Float[Tensor, "b c h w"], sigma: Float[Tensor, " b"], radius: int) -> Float[Tensor, "b c h w"]:
    """Convolution with a Gaussian of `sigma` > 0 pixels, 2 radius + 1 long, the border repeated; rows, then columns.

    Our own because kornia's reads sigma back from the device to check it, which waits for all work queued there.
    """
    b, c, h, w = image.shape
    offset = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    # A softmax of the exponents is the normalised Gaussian.
    weights = (-0.5 * (offset / sigma[:, None]) ** 2).softmax(1).repeat_interleave(c, dim=0)[:, None]
    planes = F.pad(image.view(1, b * c, h, w), [radius] * 4, mode="replicate")
    planes = F.conv2d(planes, weights[:, :, None, :], groups=b * c)
    return F.conv2d(planes, weights[:, :, :, None], groups=b * c).view(image.shape)
