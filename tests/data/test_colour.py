"""Colour jitter against an independent implementation, and its independence of the batch around a sample."""

from __future__ import annotations

import colorsys

import numpy as np
import torch

from fathomseg.data.colour import ColourJitter


def oracle(image: np.ndarray, b: float, c: float, s: float, h: float) -> np.ndarray:
    """Pixel by pixel in float64, from the textbook definitions."""
    grey = lambda x: (x * np.array([0.299, 0.587, 0.114]).reshape(3, 1, 1)).sum(0)  # noqa: E731
    x = np.clip(image * b, 0, 1)
    x = np.clip(c * x + (1 - c) * grey(x).mean(), 0, 1)
    x = np.clip(s * x + (1 - s) * grey(x), 0, 1)
    out = np.empty_like(x)
    for i in np.ndindex(x.shape[1:]):
        hue, saturation, value = colorsys.rgb_to_hsv(*x[(slice(None), *i)])
        out[(slice(None), *i)] = colorsys.hsv_to_rgb((hue + h) % 1.0, saturation, value)
    return out


def test_it_equals_the_textbook() -> None:
    jitter = ColourJitter(probability=1.0, brightness=0.4, contrast=0.5, saturation=0.6, hue=0.2)
    image = torch.rand(3, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    keys = (5, 6, 7)
    jittered = jitter(image, keys).double().numpy()
    for i, factors in enumerate(jitter.factors(keys)):
        np.testing.assert_allclose(jittered[i], oracle(image[i].double().numpy(), *factors), atol=2e-5)


def test_a_sample_looks_the_same_whatever_batch_it_is_in() -> None:
    jitter = ColourJitter(probability=0.7)
    image = torch.rand(4, 3, 8, 8)
    whole = jitter(image, (1, 2, 3, 4))
    torch.testing.assert_close(whole[2:], jitter(image[2:], (3, 4)), rtol=0, atol=1e-6)


def test_the_factors_fill_their_range_and_some_samples_are_left_alone() -> None:
    factors = ColourJitter(probability=0.75, brightness=0.3, hue=0.1).factors(range(2000))
    untouched = (factors == [1, 1, 1, 0]).all(axis=1)
    assert abs(untouched.mean() - 0.25) < 0.04
    assert 0.7 <= factors[:, 0].min() < 0.72
    assert 1.28 < factors[:, 0].max() <= 1.3
    assert 0.097 < np.abs(factors[:, 3]).max() <= 0.1


def test_probability_zero_changes_nothing() -> None:
    image = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(ColourJitter(probability=0, hue=0)(image, (1, 2)), image, rtol=0, atol=1e-7)


def test_grey_is_grey_and_changes_nothing_else() -> None:
    image, keys = torch.rand(4, 3, 8, 8), (1, 2, 3, 4)
    grey = ColourJitter(hue=0.1, grey=1)(image, keys)
    assert torch.equal(grey[:, :1].expand_as(grey), grey)
    assert grey.std() > 0.05
    before = ColourJitter(hue=0.1).factors(range(500))
    after = ColourJitter(hue=0.1, grey=0.4).factors(range(500))
    assert np.array_equal(before[:, [0, 1, 3]], after[:, [0, 1, 3]])
    made = after[:, 2] == 0
    assert np.array_equal(before[~made], after[~made])
    assert 0.3 < made.mean() < 0.5
    assert 0.3 < made[(before == [1, 1, 1, 0]).all(axis=1)].mean() < 0.55, "whatever else changes"


def test_without_grey_the_factors_are_what_they_were() -> None:
    """Bit for bit: runs of before can be resumed."""
    rng = np.random.default_rng((7, 1))
    assert rng.random() < 0.8
    reach = np.array([0.3, 0.3, 0.3, 0.05])
    expected = np.array([1.0, 1.0, 1.0, 0.0]) + rng.uniform(-reach, reach)
    assert np.array_equal(ColourJitter().factors((7,))[0], expected)
