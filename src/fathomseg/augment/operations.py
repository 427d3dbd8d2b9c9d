"""The operations of AutoAugment (Cubuk et al. 2019, CVPR, table 6), with the names kornia's tables give them.

Colour operations take images 0..1 and one amount an image, and equal Pillow's on 8-bit images. kornia is imported where
it is used, as that takes long and no recipe is read by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from fathomseg.augment.affine import Matrix, rotate, shear_x, shear_y, translate
from fathomseg.geometry.numerics import full_precision

Image = Float[Tensor, "b 3 h w"]
Amount = Float[Tensor, "b 1 1 1"]


def auto_contrast(image: Image, _: Amount) -> Image:
    """Each channel stretched to 0..1; a channel of one value stays."""
    low, high = image.amin((2, 3), keepdim=True), image.amax((2, 3), keepdim=True)
    return torch.where(high > low, (image - low) / (high - low), image)


def brightness(image: Image, factor: Amount) -> Image:
    """0 = black, 1 = as it is."""
    return (image * factor).clamp(0, 1)


def color(image: Image, factor: Amount) -> Image:
    """0 = grey, 1 = as it is."""
    return _grey(image).expand_as(image).lerp(image, factor).clamp(0, 1)


def contrast(image: Image, factor: Amount) -> Image:
    """0 = the mean grey of the image, 1 = as it is."""
    mean = _grey(image).mean((2, 3), keepdim=True)
    return mean.expand_as(image).lerp(image, factor).clamp(0, 1)


def equalize(image: Image, _: Amount) -> Image:
    """Each channel with an even histogram."""
    import kornia.enhance

    # kornia rounds down to 8 bits; rounded to the nearest first, an 8-bit image that was blended keeps its levels.
    equal: Tensor = kornia.enhance.equalize((image * 255).round() / 255)
    return equal


def invert(image: Image, _: Amount) -> Image:
    """The negative."""
    return 1 - image


def posterize(image: Image, bits: Amount) -> Image:
    """The highest `bits` bits of 8."""
    step = 2 ** (8 - bits)
    return ((image * 255).round() / step).floor() * step / 255


@full_precision  # kornia convolves
def sharpness(image: Image, factor: Amount) -> Image:
    """0 = smoothed by a 3x3 kernel, 1 = as it is, more = sharper."""
    import kornia.enhance

    sharp: Tensor = kornia.enhance.sharpness(image, factor.flatten())
    return sharp


def solarize(image: Image, threshold: Amount) -> Image:
    """Values from the threshold upward inverted."""
    return torch.where(image < threshold, image, 1 - image)


def _grey(image: Image) -> Float[Tensor, "b 1 h w"]:
    """Luma of ITU-R BT.601."""
    import kornia.color

    grey: Tensor = kornia.color.rgb_to_grayscale(image)
    return grey


COLOURS: Final[Mapping[str, Callable[[Image, Amount], Image]]] = {
    operation.__name__: operation
    for operation in (auto_contrast, brightness, color, contrast, equalize, invert, posterize, sharpness, solarize)
}
"""What changes colours. The amount is that of `amount`, one an image."""

GEOMETRY: Final[Mapping[str, Callable[[float, float, float], Matrix]]] = {
    "rotate": lambda amount, height, width: rotate(amount),
    "shear_x": lambda amount, height, width: shear_x(amount),
    "shear_y": lambda amount, height, width: shear_y(amount),
    "translate_x": lambda amount, height, width: translate(amount * width, 0),
    "translate_y": lambda amount, height, width: translate(0, amount * height),
}
"""What moves pixels: source_T_target from an amount and the image's height and width."""

CUTOUT: Final = "cutout"
"""A square of that share of the shorter side is cut out."""


def amount(operation: str, level: float, sign: float) -> float:
    """What a level of 0..10 means: Cubuk et al.'s ranges, and shifts of 10 pixels of 32 as on CIFAR.

    `sign` is 1 or -1, for shear, shift and turn. Factors of brightness, color, contrast and sharpness 0.1..1.9; bits
    8..4; threshold of solarize 1..0; degrees, share of the side, or slope for what moves; share of the side for cutout.
    """
    share = level / 10
    match operation:
        case "rotate":
            return sign * 30 * share
        case "shear_x" | "shear_y":
            return sign * 0.3 * share
        case "translate_x" | "translate_y":
            return sign * 10 / 32 * share
        case "posterize":
            return 8 - round(4 * share)
        case "solarize":
            return 1 - share
        case "cutout":
            return 20 / 32 * share
        case "auto_contrast" | "equalize" | "invert":
            return 0.0
        case _:
            return 0.1 + 1.8 * share
