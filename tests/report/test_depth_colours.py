"""One colour map of depth, and bars that say what it means."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from fathomseg.io import draw
from fathomseg.report.depth_colours import disparity_scale, metric_scale, relative_picture, relative_scale


def bar(picture: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))))[0]


def test_metres_stand_where_their_colour_is() -> None:
    scale = metric_scale()
    colours = bar(scale.picture)
    for text, place in scale.ticks:
        found = colours[round(place / 100 * (len(colours) - 1))].astype(int)
        wanted = draw.depth_picture(np.full((1, 1), float(text)))[0, 0]
        assert np.abs(found - wanted).max() < 12, text
    assert scale.name == "turbo"


def test_relative_depth_has_no_unit_and_its_median_in_the_middle() -> None:
    depth = np.random.default_rng(0).uniform(0.1, 3, (20, 30)).astype(np.float32)
    depth[0] = 0
    shown = relative_picture(depth)
    np.testing.assert_array_equal(shown, relative_picture(depth * np.float32(8)))
    assert not shown[0].any()
    flat = relative_picture(np.full((2, 2), 7.0, np.float32))[0, 0].astype(int)
    colours = bar(relative_scale().picture)
    assert np.abs(flat - colours[len(colours) // 2]).max() < 12
    assert dict(relative_scale().ticks)["median"] == pytest.approx(50)


def test_near_is_red_everywhere() -> None:
    for scale in (metric_scale(), relative_scale(), disparity_scale()):
        colours = bar(scale.picture).astype(int)
        assert colours[5, 0] > colours[5, 2]
        assert colours[-30, 2] > colours[-30, 0]
