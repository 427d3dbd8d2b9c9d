"""Normals on disk: what is written is read back, by Pillow's neighbours too, and what is no normal is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fathomseg.errors import DataError, FathomError
from fathomseg.io import draw
from fathomseg.io.formats import png_bits, png_is_rgb
from fathomseg.io.normal_maps import normals_picture, read_normals, write_normals


def vectors(seed: int = 0) -> np.ndarray:
    n = np.random.default_rng(seed).normal(size=(5, 7, 3))
    return (n / np.linalg.norm(n, axis=2, keepdims=True)).astype(np.float32)


def test_written_and_read_back(tmp_path: Path) -> None:
    write_normals(tmp_path / "a.png", vectors())
    np.testing.assert_allclose(read_normals(tmp_path / "a.png"), vectors(), atol=4e-5)
    assert png_bits(tmp_path / "a.png") == 16
    assert png_is_rgb(tmp_path / "a.png")
    stored = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_array_equal(stored, np.rint((vectors().astype(np.float64) + 1) / 2 * 65535))


def test_what_is_none(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="normals have length 1, but these have 2"):
        write_normals(tmp_path / "a.png", 2 * vectors())
    draw.write(tmp_path / "grey.png", np.zeros((4, 5), np.uint16))
    assert not png_is_rgb(tmp_path / "grey.png")
    for mode, of_colours in (("P", False), ("LA", False), ("RGB", True), ("RGBA", True)):
        Image.new(mode, (4, 5)).save(tmp_path / f"{mode}.png")
        assert png_is_rgb(tmp_path / f"{mode}.png") == of_colours
    (tmp_path / "bad.png").write_bytes(b"")
    for name, reason in (("grey.png", "expected RGB of 16 bits"), ("bad.png", "cannot be decoded")):
        with pytest.raises(DataError, match=reason):
            read_normals(tmp_path / name)


def test_the_picture() -> None:
    row = np.array([[[0, 0, -1], [1, 0, 0], [0, -1, 0], [0, 0, 0]]], np.float32)
    assert normals_picture(row).tolist() == [[[128, 128, 0], [255, 128, 128], [128, 0, 128], [0, 0, 0]]]
