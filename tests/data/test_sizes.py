"""Sizes in whole steps of the training's."""

from __future__ import annotations

from itertools import product

import pytest

from fathomseg.data.progressive import SmallFirst
from fathomseg.data.sizes import scaled
from fathomseg.data.transforms import View
from fathomseg.inference.settings import Inference


@pytest.mark.parametrize(
    ("size", "factor", "most", "expected"),
    [
        ((144, 192), 1.4, None, (208, 272)),
        ((144, 192), 1.4, (202, 269), (192, 256)),  # no larger than what is prepared
        ((144, 192), 1.0, (144, 192), (144, 192)),
        ((144, 192), 0.6, None, (80, 112)),
        ((192, 384), 0.5, None, (96, 192)),
        ((96, 192), 0.5, None, (48, 96)),  # a step of 32 would be a third too much
        ((7, 9), 0.1, None, (1, 1)),
    ],
)
def test_known_sizes(
    size: tuple[int, int], factor: float, most: tuple[int, int] | None, expected: tuple[int, int]
) -> None:
    assert scaled(size, factor, most) == expected


def test_about_the_factor_and_unchanged_at_one() -> None:
    for size in product(range(64, 600, 67), range(64, 600, 48)):
        assert scaled(size, 1.0, size) == size
        for factor in (0.25, 0.77, 1.4, 3.0):
            for side, before in zip(scaled(size, factor), size, strict=True):
                assert side == pytest.approx(before * factor, rel=0.101)


def test_small_images_come_in_steps() -> None:
    assert SmallFirst(1, 0.6)(View(0, 0, (9, 9), (144, 192)), 0).size == (80, 112)


def test_a_size_networks_cannot_place_is_told() -> None:
    told = Inference(size=(202, 269)).misfit((144, 192))
    assert told is not None
    assert "no multiple of 16" in told
    assert "size=[208,272]" in told
    for fine in (Inference(size=(208, 272)), Inference(), Inference(mode="tiles", size=(202, 269))):
        assert fine.misfit((144, 192)) is None
