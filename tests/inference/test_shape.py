"""At what size an image goes through a network: the proportions it keeps, and what is left as it was trained."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.inference.shape import kept_aspect


@pytest.mark.parametrize(
    ("trained", "image", "expected"),
    [
        ((128, 416), (375, 1242), (128, 416)),  # KITTI, as trained
        ((128, 416), (720, 960), (192, 256)),  # CamVid is no longer drawn out 2.4 times
        ((192, 640), (1024, 2048), (256, 512)),
        ((144, 192), (720, 960), (144, 192)),
        ((144, 192), (960, 720), (192, 144)),
        ((350, 350), (1, 500), (16, 7828)),
        ((24, 32), (1, 500), (8, 96)),
    ],
)
def test_known_shapes(trained: tuple[int, int], image: tuple[int, int], expected: tuple[int, int]) -> None:
    assert kept_aspect(trained, image) == expected


@given(st.integers(4, 32), st.integers(4, 32), st.integers(100, 3000), st.integers(100, 3000))
def test_as_many_pixels_in_the_proportions_of_the_image(rows: int, columns: int, height: int, width: int) -> None:
    trained = (rows * 32, columns * 32)
    found = kept_aspect(trained, (height, width))
    assert [side % 32 for side in found] == [0, 0]
    if found != trained and max(height / width, width / height) < 4:
        # Rounded to steps, of which a side has a few only.
        assert 0.7 < found[0] * found[1] / (trained[0] * trained[1]) < 1.4
        assert 0.8 < found[1] / found[0] / (width / height) < 1.25
