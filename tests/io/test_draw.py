"""Pictures, pixel by pixel where it matters."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fathomseg.errors import FathomError
from fathomseg.io import draw
from fathomseg.types import ClassList
from tests.typecheck import unchecked

CLASSES = ClassList(("road", "car"), ((128, 64, 128), (0, 0, 142)))
IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
LABEL = np.where(np.arange(8) < 4, 0, 1).astype(np.uint8) * np.ones((6, 1), np.uint8)
LABEL[0] = 255


def test_colours_are_the_palette_and_ignore_is_black() -> None:
    picture = draw.colourise(LABEL, CLASSES)
    assert picture[3, 0].tolist() == [128, 64, 128]
    assert picture[3, 7].tolist() == [0, 0, 142]
    assert not picture[0].any()


def test_overlay_mixes_by_alpha_and_leaves_ignored_pixels() -> None:
    picture = draw.overlay(IMAGE, LABEL, CLASSES, alpha=0.25)
    expected = 0.75 * IMAGE[3, 7].astype(float) + 0.25 * np.array([0, 0, 142])
    np.testing.assert_allclose(picture[3, 7], expected, atol=0.51)
    np.testing.assert_array_equal(picture[0], IMAGE[0])
    np.testing.assert_array_equal(draw.overlay(IMAGE, LABEL, CLASSES, alpha=0), IMAGE)


def test_error_map_marks_exactly_the_wrong_labelled_pixels() -> None:
    prediction = np.zeros_like(LABEL)
    for ground in (None, IMAGE):
        picture = draw.error_map(prediction, LABEL, ground)
        red = (picture == (225, 40, 55)).all(-1)
        np.testing.assert_array_equal(red, LABEL == 1)
        assert not picture[0].any()


def test_colour_map_orders_values_and_blackens_the_invalid() -> None:
    values = np.array([[0.0, 1.0, 2.0, np.nan, np.inf, 5.0]])
    valid = np.array([[True, True, True, True, True, False]])
    picture = draw.colour_map(values, valid, (0, 2))
    turbo = cv2.applyColorMap(np.array([[0, 128, 255]], np.uint8), cv2.COLORMAP_TURBO)[0, :, ::-1]
    np.testing.assert_array_equal(picture[0, :3], turbo)
    assert not picture[0, 3:].any()


@pytest.mark.parametrize("flat", [np.zeros((2, 3)), np.full((2, 3), 7.0), np.full((2, 3), np.nan)])
def test_flat_and_empty_maps_are_one_colour(flat: np.ndarray) -> None:
    assert len(np.unique(draw.colour_map(flat).reshape(-1, 3), axis=0)) == 1


def test_depth_is_black_where_invalid_and_warm_where_near() -> None:
    near, far, invalid = draw.depth_picture(np.array([[2.5, 70.0, 0.0]], np.float32))[0].astype(int)
    assert near[0] > near[2]
    assert far[2] > far[0]
    assert not invalid.any()


def test_beside_scales_to_one_height() -> None:
    tall = np.zeros((12, 6, 3), np.uint8)
    picture = draw.beside([IMAGE, tall], gap=2)
    assert picture.shape == (6, 8 + 2 + 3, 3)
    np.testing.assert_array_equal(picture[:, :8], IMAGE)
    assert (picture[:, 8:10] == 255).all()


def test_caption_fits_or_is_cut_and_any_script_is_drawn() -> None:
    for text in ("x", "very long caption " * 20, "été 道路 🚗"):
        assert draw.captioned(IMAGE, text).shape[1] == IMAGE.shape[1]


def test_written_files_hold_the_pixels_and_leave_nothing_else(tmp_path: Path) -> None:
    draw.write(tmp_path / "a" / "label.png", LABEL)
    draw.write(tmp_path / "a" / "image.png", IMAGE)
    draw.write(tmp_path / "a" / "photo.jpg", np.full((16, 16, 3), (200, 30, 60), np.uint8))
    with Image.open(tmp_path / "a" / "label.png") as stored:
        assert stored.mode == "L"
        np.testing.assert_array_equal(np.asarray(stored), LABEL)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a" / "image.png")), IMAGE)
    np.testing.assert_allclose(np.asarray(Image.open(tmp_path / "a" / "photo.jpg")).mean((0, 1)), (200, 30, 60), atol=4)
    assert len(list((tmp_path / "a").iterdir())) == 3


def test_sizes_must_match() -> None:
    with unchecked(), pytest.raises(FathomError, match=r"\(6, 8\) and \(5, 8\)"):
        draw.overlay(IMAGE, LABEL[:5], CLASSES)


def test_depth_errors_are_red_where_too_far_and_blue_where_too_near() -> None:
    truth = np.array([[10.0, 10.0, 10.0, 10.0, 0.0, 10.0]])
    prediction = np.array([[10.0, 15.0, 40.0, 10 / 1.5, 5.0, 10 * 1.5**0.5]])
    right, far, farther, near, unknown, half = draw.depth_error_picture(prediction, truth)[0].astype(int)
    assert right.tolist() == [255, 255, 255]
    assert far.tolist() == farther.tolist()
    assert far[0] > 150 > far[2]
    assert near[2] > 150 > near[0]
    assert unknown.tolist() == [0, 0, 0]
    np.testing.assert_allclose(half, (255 + far) / 2, atol=1)


def test_a_frame_is_about_the_part_and_nothing_else() -> None:
    picture = np.zeros((9, 17, 3), np.uint8)
    framed = draw.framed(picture, (0.25, 0.5, 0.75, 1.0))
    expected = np.zeros((9, 17), np.bool_)
    expected[2:7, 8:] = True
    expected[3:6, 9:16] = False
    np.testing.assert_array_equal(framed.any(axis=2), expected)
    assert not picture.any()


def test_16_bits_are_written_exactly(tmp_path: Path) -> None:
    values = np.array([[0, 1, 256, 65535]], np.uint16)
    draw.write(tmp_path / "a.png", values)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), values)
