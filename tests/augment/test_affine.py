"""Motion: an image whose colours are its label, known shifts and turns, and what becomes of invented pixels."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.augment.affine import GREY, Matrix, about_centre, motion, rotate, shear_x, shear_y, translate
from fathomseg.mixing import Pixels
from fathomseg.types import IGNORE
from tests.mixing.coded import assert_moved_alike, coded


def move(pixels: Pixels, *matrices: Matrix) -> Pixels:
    """The pixels moved, one matrix an image."""
    _, height, width = pixels.valid.shape
    return motion(matrices, (height, width), pixels.image)(pixels)


def test_a_shift_by_whole_pixels_by_hand() -> None:
    pixels = coded(1, (5, 6))
    moved = move(pixels, translate(2, -1))
    assert torch.equal(moved.label[:, 1:, :-2], pixels.label[:, :-1, 2:])
    torch.testing.assert_close(moved.image[..., 1:, :-2], pixels.image[..., :-1, 2:], rtol=0, atol=2e-5)
    invented = torch.ones(1, 5, 6, dtype=torch.bool)
    invented[:, 1:, :-2] = False
    assert (moved.label[invented] == IGNORE).all()
    assert (moved.weight[invented] == 0).all()
    assert not moved.valid[invented].any()
    assert moved.disparity is not None
    assert moved.disparity[:, 0][invented].isnan().all()
    assert (moved.image[:, 0][invented] == GREY).all()
    assert moved.frames is not None
    assert (moved.frames[:, 0, 2][invented] == GREY).all()


def test_a_quarter_turn_by_hand() -> None:
    """A turn from x (right) towards y (down) takes what is seen to the right from what lies below: counterclockwise."""
    pixels = coded(1, (7, 7))
    moved = move(pixels, about_centre(rotate(90), (7, 7)))
    assert torch.equal(moved.label, pixels.label.rot90(1, (1, 2)))
    assert torch.equal(moved.valid, pixels.valid.rot90(1, (1, 2)))


def test_shear_by_hand() -> None:
    """About the middle row: the row below it is seen one pixel further right, so its pixels come from there."""
    pixels = coded(1, (3, 5))
    moved = move(pixels, about_centre(shear_x(1), (3, 5)))
    assert torch.equal(moved.label[0, 1], pixels.label[0, 1])
    assert torch.equal(moved.label[0, 2, :-1], pixels.label[0, 2, 1:])
    assert torch.equal(moved.label[0, 0, 1:], pixels.label[0, 0, :-1])
    turned = move(pixels.each(lambda x: x.transpose(-1, -2)), about_centre(shear_y(1), (5, 3)))
    assert torch.equal(turned.label, moved.label.transpose(1, 2))


AMOUNTS = st.tuples(st.floats(-30, 30), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(-9, 9), st.floats(-9, 9))


def combined(amounts: tuple[float, ...], size: tuple[int, int]) -> Matrix:
    """Turn, shears and shift together."""
    degrees, x, y, right, down = amounts
    return about_centre(rotate(degrees) @ shear_x(x) @ shear_y(y) @ translate(right, down), size)


@settings(max_examples=30, deadline=None)
@given(amounts=st.lists(AMOUNTS, min_size=1, max_size=3), height=st.integers(4, 20), width=st.integers(4, 20))
def test_labels_follow_the_image_by_the_same_matrix(amounts: list[tuple[float, ...]], height: int, width: int) -> None:
    """The image holds its own coordinates, so where it is moved to is read off it, wherever no border is near."""
    batch = len(amounts)
    pixels = coded(batch, (height, width))
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    coordinates = torch.stack([x, y, torch.zeros_like(x)]).float().expand(batch, 3, -1, -1)
    moved = move(replace(pixels, image=coordinates), *[combined(a, (height, width)) for a in amounts])
    u, v = moved.image[:, 0], moved.image[:, 1]
    # Halves may be rounded either way, and beyond the outermost centres the image stands still.
    clear = ((u - u.floor() - 0.5).abs() > 1e-3) & ((v - v.floor() - 0.5).abs() > 1e-3) & moved.valid
    number = (torch.arange(batch).view(-1, 1, 1) * height + v.round().long()) * width + u.round().long()
    seen = number.float()[:, None].expand(-1, 3, -1, -1)
    assert_moved_alike(
        replace(moved, image=seen, probabilities=seen[:, :2] + 0.25, frames=seen[:, None] + 0.5), pixels, clear
    )


@settings(max_examples=30, deadline=None)
@given(amounts=AMOUNTS, height=st.integers(2, 12), width=st.integers(2, 12))
def test_invented_pixels_are_exactly_those_from_beyond_the_image(
    amounts: tuple[float, ...], height: int, width: int
) -> None:
    matrix = combined(amounts, (height, width))
    found = motion([matrix], (height, width), torch.zeros(1))
    for y, x in np.ndindex(height, width):
        u, v, _ = matrix @ (x, y, 1)
        outside = max(-0.5 - u, u - width + 0.5, -0.5 - v, v - height + 0.5)
        if abs(outside) > 1e-4:
            assert bool(found.shown[0, y, x]) == (outside < 0)
        np.testing.assert_allclose(found.position[0, :, y, x].numpy(), [u, v], atol=1e-4)


def test_ignored_pixels_stay_ignored() -> None:
    pixels = coded(2, (20, 20))
    ignored = replace(pixels, label=torch.full_like(pixels.label, IGNORE), valid=torch.zeros_like(pixels.valid))
    moved = move(ignored, about_centre(rotate(20), (20, 20)), shear_x(0.2))
    assert (moved.label == IGNORE).all()
    assert not moved.valid.any()


def test_a_prediction_moves_like_the_image() -> None:
    """A smooth field moved equals the field computed at the moved positions; one-hot planes follow their labels."""
    size = (40, 50)
    found = motion([about_centre(rotate(15) @ translate(3.3, -2.6), size)], size, torch.zeros(1))
    y, x = torch.meshgrid(*[torch.arange(n).float() for n in size], indexing="ij")
    field = torch.sin(x / 12) + torch.cos(y / 9)
    moved = found.bilinear(field[None, None].expand(1, 4, -1, -1))
    u, v = found.position[0]
    inner = (u >= 0) & (u <= size[1] - 1) & (v >= 0) & (v <= size[0] - 1)
    expected = torch.sin(u / 12) + torch.cos(v / 9)
    torch.testing.assert_close(moved[0, 3][inner], expected[inner], rtol=0, atol=4e-3)
    label = (field > 0.5).long()[None] + (field > 1)
    planes = torch.nn.functional.one_hot(label, 3).permute(0, 3, 1, 2).float()
    moved_planes = found.bilinear(planes)
    torch.testing.assert_close(moved_planes.sum(1), torch.ones(1, *size), rtol=0, atol=1e-5)
    sure = (moved_planes.amax(1) > 0.8) & inner
    assert torch.equal(moved_planes.argmax(1)[sure], found.nearest(label)[sure])
    assert sure.float().mean() > 0.6


def test_standing_still_changes_nothing() -> None:
    pixels = coded(3, (30, 41))
    moved = move(pixels, *[np.eye(3)] * 3)
    assert torch.equal(moved.label, pixels.label)
    assert torch.equal(moved.valid, pixels.valid)
    torch.testing.assert_close(moved.image / 3690, pixels.image / 3690, rtol=0, atol=1e-6)


def test_one_pixel_wide() -> None:
    pixels = coded(1, (4, 1))
    moved = move(pixels, about_centre(rotate(180), (4, 1)))
    assert torch.equal(moved.label, pixels.label.flip(1))
    assert math.isclose(float(moved.image[0, 0, 0, 0]), 3.0, abs_tol=1e-5)
