"""The colour operations against Pillow on 8-bit images, and blur against loops in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from fathomseg.augment.colours import gaussian_blur
from fathomseg.augment.operations import COLOURS, GEOMETRY, amount

SIZE = (24, 32)


def images() -> np.ndarray:
    """Noise in a narrow range, a dark gradient with flat parts, and one colour; uint8, b h w 3."""
    rng = np.random.default_rng(0)
    noise = rng.integers(40, 190, (*SIZE, 3))
    gradient = np.broadcast_to(np.linspace(0, 90, SIZE[1]).astype(int)[:, None] // [1, 2, 3], (*SIZE, 3)).copy()
    gradient[:8] = (10, 200, 90)
    flat = np.broadcast_to((30, 128, 255), (*SIZE, 3))
    return np.stack([noise, gradient, flat]).astype(np.uint8)


def pillow(operation: str, value: float) -> Callable[[Image.Image], Image.Image]:
    """Pillow's operation of that name."""
    return {
        "auto_contrast": lambda image: ImageOps.autocontrast(image),
        "brightness": lambda image: ImageEnhance.Brightness(image).enhance(value),
        "color": lambda image: ImageEnhance.Color(image).enhance(value),
        "contrast": lambda image: ImageEnhance.Contrast(image).enhance(value),
        "equalize": lambda image: ImageOps.equalize(image),
        "invert": lambda image: ImageOps.invert(image),
        "posterize": lambda image: ImageOps.posterize(image, int(value)),
        "sharpness": lambda image: ImageEnhance.Sharpness(image).enhance(value),
        "solarize": lambda image: ImageOps.solarize(image, math.ceil(value * 255)),
    }[operation]


# A quarter of a level more than 128 keeps the threshold off the levels themselves.
TOLERANCE = {"auto_contrast": 1.01, "brightness": 1.01, "color": 1.5, "contrast": 1.5, "sharpness": 1.5}
"""In levels of 8 bits."""
VALUES = {"posterize": (4.0, 5.0, 8.0), "solarize": (0.0, 128.25 / 255, 1.0)}


@pytest.mark.parametrize("operation", COLOURS)
def test_it_equals_pillow(operation: str) -> None:
    arrays, values = images(), VALUES.get(operation, (0.3, 1.0, 1.8))
    batch = torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 255
    for turn in range(3):
        amounts = np.roll(values, turn)
        found = COLOURS[operation](batch, torch.tensor(amounts, dtype=torch.float32).view(-1, 1, 1, 1))
        for image, array, value in zip(found, arrays, amounts, strict=True):
            expected = np.asarray(pillow(operation, value)(Image.fromarray(array)), dtype=np.float64)
            difference = np.abs(image.permute(1, 2, 0).numpy() * 255 - expected)
            # Pillow cuts off fractions of a level; more than once where it blends with a grey or a smoothed image.
            assert difference.max() < TOLERANCE.get(operation, 1e-3), value


def test_levels_by_hand() -> None:
    assert [amount("rotate", level, -1) for level in (0, 5, 10)] == [0, -15, -30]
    assert amount("shear_x", 10, 1) == amount("shear_y", 10, 1) == 0.3
    assert amount("translate_x", 8, -1) == -0.25
    assert [amount("posterize", level, 1) for level in (0, 5, 10)] == [8, 6, 4]
    assert amount("solarize", 3, 1) == 0.7
    assert [round(amount("contrast", level, 1), 6) for level in (0, 5, 10)] == [0.1, 1.0, 1.9]
    assert amount("cutout", 8, 1) == 0.5
    assert len(COLOURS) + len(GEOMETRY) + 1 == 15, "the operations of RandAugment in UDA"


def test_blur_equals_the_sum_over_a_gaussian() -> None:
    image = torch.rand(3, 2, 7, 9, generator=torch.Generator().manual_seed(0))
    sigmas, radius = (0.1, 0.8, 2.5), 4
    found = gaussian_blur(image, torch.tensor(sigmas), radius)
    for b, sigma in enumerate(sigmas):
        offsets = range(-radius, radius + 1)
        weights = np.array([[np.exp(-(y * y + x * x) / (2 * sigma**2)) for x in offsets] for y in offsets])
        padded = np.pad(image[b].double().numpy(), ((0, 0), (radius, radius), (radius, radius)), mode="edge")
        for y, x in np.ndindex(7, 9):
            window = padded[:, y : y + 2 * radius + 1, x : x + 2 * radius + 1]
            expected = (window * weights / weights.sum()).sum((1, 2))
            np.testing.assert_allclose(found[b, :, y, x].numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("operation", COLOURS)
def test_they_are_as_precise_in_mixed_precision(operation: str) -> None:
    """An image of float32 comes out, with every digit: a GPU puts nothing else back into the batch."""
    image = torch.from_numpy(images()).permute(0, 3, 1, 2).float() / 255
    amounts = torch.tensor([float(amount(operation, level, 1.0)) for level in (2.0, 5.0, 9.0)]).view(-1, 1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        found = COLOURS[operation](image, amounts)
    assert found.dtype == torch.float32
    assert torch.equal(found, COLOURS[operation](image, amounts))
