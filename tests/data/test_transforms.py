"""Geometric augmentation: everything in a sample moves together, and nothing is invented."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.data.normals import true_normals
from fathomseg.data.transforms import Geometry, View, cut
from fathomseg.types import IGNORE, Camera, Sample


def sample(height: int, width: int) -> Sample:
    """A sample whose red channel, label and depth all tell the same block of the image."""
    rows, columns = np.mgrid[:height, :width] // 8
    code = (rows * 7 + columns * 3) % 11
    image = np.stack([code * 20 + 20] * 3, axis=-1).astype(np.uint8)
    camera = Camera(fx=width, fy=width, cx=(width - 1) / 2, cy=(height - 1) / 2, height=height, width=width)
    depth, frames = (code + 1).astype(np.float32), {-1: image, 1: image[::-1].copy()}
    disparity = (code / 10).astype(np.float32)
    return Sample("a", image, code.astype(np.uint8), depth, camera, frames, disparity)


def test_a_known_window_and_its_mirror() -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    label = np.arange(24, dtype=np.uint8).reshape(4, 6)
    view = cut(Sample("a", image, label), View(top=1, left=2, window=(2, 3), size=(2, 3), flip=True))
    assert view.label is not None
    assert view.label.tolist() == [[10, 9, 8], [16, 15, 14]]
    np.testing.assert_array_equal(view.image, image[1:3, 2:5][:, ::-1])


def test_what_lies_outside_is_black_ignored_not_valid_and_without_depth() -> None:
    view = cut(sample(16, 16), View(top=-4, left=10, window=(16, 16), size=(16, 16)))
    assert view.label is not None
    assert view.depth is not None
    outside = np.ones((16, 16), dtype=bool)
    outside[4:, :6] = False
    assert (view.label[outside] == IGNORE).all()
    assert (view.depth[outside] == 0).all()
    assert (view.image[outside] == 0).all()
    assert (view.label[~outside] != IGNORE).all()
    assert view.disparity is not None
    assert view.valid is not None
    np.testing.assert_array_equal(np.isnan(view.disparity), outside)
    np.testing.assert_array_equal(~view.valid, outside)
    again = cut(view, View(top=0, left=0, window=(16, 16), size=(16, 16), flip=True))
    assert again.valid is not None
    np.testing.assert_array_equal(again.valid, view.valid[:, ::-1])
    assert cut(sample(16, 16), View(top=1, left=2, window=(8, 8), size=(16, 16))).valid is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(17, 70), st.integers(17, 70), st.booleans())
def test_label_depth_and_image_stay_together(seed: int, height: int, width: int, crop: bool) -> None:
    geometry = Geometry(crop=(33, 41) if crop else None, scale=(0.5, 2.0))
    view = geometry(sample(height, width), np.random.default_rng(seed))
    assert view.size == ((33, 41) if crop else (height, width))
    assert view.label is not None
    assert view.depth is not None
    valid = view.label != IGNORE
    assert valid.any()
    # Nearest resampling took label and depth from the same place, everywhere.
    np.testing.assert_array_equal(view.depth[valid], view.label[valid] + 1)
    assert view.disparity is not None
    np.testing.assert_allclose(view.disparity[valid], view.label[valid] / 10, rtol=1e-6)
    np.testing.assert_array_equal(valid, np.ones_like(valid) if view.valid is None else view.valid)
    assert (view.depth[~valid] == 0).all()
    # Inside a block the image says the same; block borders are blended, so they are left out.
    inner = valid.copy()
    for axis in (0, 1):
        for shift in (-1, 1):
            inner &= np.roll(view.label, shift, axis) == view.label
    inner[[0, -1], :] = inner[:, [0, -1]] = False
    agree = np.abs(view.image[..., 0].astype(int) - (view.label.astype(int) * 20 + 20)) <= 12
    assert agree[inner].mean() > 0.9


def test_the_camera_follows_the_view() -> None:
    whole = sample(40, 60)
    assert whole.camera is not None
    view = View(top=4, left=10, window=(20, 30), size=(40, 60), flip=True)
    camera = cut(whole, view).camera
    assert camera is not None
    point = np.array([1.0, -0.5, 9.0])
    u, v = (whole.camera.matrix() @ point)[:2] / 9.0
    # By hand: shift by the corner, double about pixel edges, mirror.
    expected = (60 - 1 - ((u - 10 + 0.5) * 2 - 0.5), (v - 4 + 0.5) * 2 - 0.5)
    mirrored = camera.matrix() @ (point * [-1, 1, 1])
    np.testing.assert_allclose(mirrored[:2] / 9.0, expected, atol=1e-9)


def test_the_zoom_is_log_uniform_and_flips_half_the_time() -> None:
    geometry = Geometry(scale=(0.5, 2.0), flip=0.5)
    views = [geometry.draw((128, 256), np.random.default_rng(i)) for i in range(600)]
    zooms = np.array([128 / view.window[0] for view in views])
    assert 0.49 < zooms.min() < 0.55
    assert 1.9 < zooms.max() < 2.05
    assert abs((zooms < 1).mean() - 0.5) < 0.07
    assert abs(np.mean([view.flip for view in views]) - 0.5) < 0.07


def test_a_window_that_fits_stays_inside_and_one_that_does_not_covers_the_image() -> None:
    geometry = Geometry(crop=(32, 32), scale=(0.25, 4.0))
    for seed in range(300):
        view = geometry.draw((64, 48), np.random.default_rng(seed))
        for start, window, side in zip((view.top, view.left), view.window, (64, 48), strict=True):
            if window <= side:
                assert 0 <= start <= side - window
            else:
                assert start <= 0
                assert start + window >= side


def test_the_same_random_state_gives_the_same_view() -> None:
    first, again, other = (Geometry()(sample(30, 30), np.random.default_rng(s)).image for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_nothing_is_padded_unless_it_is_asked_for() -> None:
    for seed in range(100):
        assert Geometry()(sample(30, 40), np.random.default_rng(seed)).valid is None
    padded = Geometry(scale=(0.5, 1.0))
    assert any(padded(sample(30, 40), np.random.default_rng(seed)).valid is not None for seed in range(9))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(30, 40), (60, 80), (45, 100)]))
def test_theta_says_where_the_pixels_of_a_view_lie(seed: int, size: tuple[int, int]) -> None:
    """Against the centres of the view's pixels, one by one, in an image prepared at any size."""
    view = Geometry(crop=(5, 7), scale=(0.2, 3.0)).draw(size, np.random.default_rng(seed), (30, 40))
    grid = F.affine_grid(torch.from_numpy(view.theta(size))[None], [1, 1, 5, 7], align_corners=False)[0]
    for i, j in np.ndindex(5, 7):
        column = 6 - j if view.flip else j
        y, x = view.top + (i + 0.5) * view.window[0] / 5, view.left + (column + 0.5) * view.window[1] / 7
        assert grid[i, j].tolist() == pytest.approx([2 * x / size[1] - 1, 2 * y / size[0] - 1], abs=1e-5)


def test_images_are_prepared_as_large_as_zooming_in_shows_and_no_larger_than_they_are() -> None:
    working = (30, 40)
    assert Geometry().prepared(working, (300, 400)) == (60, 80)
    assert Geometry().prepared(working, (45, 70)) == (45, 60)
    assert Geometry().prepared(working, (20, 30)) == working
    assert Geometry(scale=(1, 1)).prepared(working, (300, 400)) == working
    assert Geometry(scale=(0.5, 0.7)).prepared(working, (300, 400)) == working
    assert Geometry(detail=1).prepared(working, (300, 400)) == working
    assert Geometry(detail=1.5).prepared(working, (30, 40)) == (45, 60)


def test_zoom_and_crop_mean_the_working_size() -> None:
    for seed in range(20):
        small = Geometry(crop=(16, 20)).draw((32, 40), np.random.default_rng(seed))
        large = Geometry(crop=(16, 20)).draw((64, 80), np.random.default_rng(seed), (32, 40))
        assert small.size == large.size == (16, 20)
        assert np.abs(2 * np.array(small.window) - large.window).max() <= 1
        assert small.flip == large.flip


def test_neighbouring_frames_are_not_zoomed_unless_it_is_asked_for() -> None:
    assert Geometry(crop=(8, 8)).for_frames().zoom == (1, 1)
    assert Geometry(scale=(0.5, 2)).for_frames().zoom == (0.5, 2)
    assert Geometry(crop=(8, 8)).zoom == (1, 2)


def test_a_range_the_wrong_way_round_is_an_error() -> None:
    with pytest.raises(ValueError, match="smallest, largest"):
        Geometry(scale=(2.0, 0.5))


def test_depth_follows_the_zoom_if_it_is_to_and_normals_and_camera_do_not() -> None:
    whole = replace(sample(40, 60), normals=np.tile(np.float32([0.6, 0, -0.8]), (40, 60, 1)))
    plain, coupled = (Geometry(scale=(2.0, 2.0), flip=0.0, depth_follows_zoom=follows) for follows in (False, True))
    first, second = (geometry(whole, np.random.default_rng(3)) for geometry in (plain, coupled))
    assert first.depth is not None
    assert second.depth is not None
    assert first.depth.max() > 1
    np.testing.assert_allclose(second.depth, first.depth / 2, rtol=1e-6)
    assert second.depth.dtype == np.float32
    assert first.camera == second.camera
    np.testing.assert_array_equal(first.normals, second.normals)
    np.testing.assert_array_equal(first.image, second.image)


def test_normals_turn_in_the_mirror_and_are_those_of_the_mirrored_depth() -> None:
    camera = Camera(fx=30, fy=30, cx=14, cy=9.5, height=20, width=32)
    v, u = np.mgrid[:20, :32]
    depth = (4 / (1 - 0.3 * (u - camera.cx) / camera.fx - 0.1 * (v - camera.cy) / camera.fy)).astype(np.float32)
    whole = Sample(
        "a", np.zeros((20, 32, 3), np.uint8), depth=depth, camera=camera, normals=true_normals(depth, camera)
    )
    seen = cut(whole, View(top=2, left=3, window=(16, 24), size=(16, 24), flip=True))
    assert seen.depth is not None
    assert seen.camera is not None
    np.testing.assert_allclose(seen.normals, true_normals(seen.depth, seen.camera), atol=1e-4)
    assert seen.normals[5, 5, 0] == pytest.approx(-whole.normals[5, 5, 0], abs=1e-4)
    assert abs(seen.normals[5, 5, 0]) > 0.1
    outside = cut(whole, View(top=-4, left=0, window=(20, 32), size=(20, 32)))
    assert (outside.normals[:4] == 0).all()
