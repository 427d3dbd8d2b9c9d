"""Disparity on disk: exact to half a level, its scale beside it, wrong files refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fathomseg.errors import ConfigError, DataError, FathomError
from fathomseg.io import draw
from fathomseg.io.depth_maps import read_disparity, read_scale, write_disparity, write_scale


def test_it_is_read_back_to_half_a_level(tmp_path: Path) -> None:
    disparity = np.random.default_rng(0).random((31, 45), np.float32)
    disparity[0, :3] = 0, 1, 0.5
    write_disparity(tmp_path / "deep" / "a.png", disparity)
    with Image.open(tmp_path / "deep" / "a.png") as image:
        stored = np.asarray(image)
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored[0, :3], [0, 65535, 32768])
    found = read_disparity(tmp_path / "deep" / "a.png")
    assert found.dtype == np.float32
    assert np.abs(found - disparity).max() <= 0.5 / 65535 + 1e-7
    np.testing.assert_array_equal(read_disparity(str(tmp_path / "deep" / "a.png")), found)
    assert read_scale(str(tmp_path / "deep")) is None
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"a.png"}


@pytest.mark.parametrize("wrong", [np.nan, -0.01, 1.01])
def test_what_is_no_disparity_is_not_written(tmp_path: Path, wrong: float) -> None:
    with pytest.raises(FathomError, match="values from 0 to 1"):
        write_disparity(tmp_path / "a.png", np.array([[0.5, wrong]], np.float32))
    assert not list(tmp_path.iterdir())


def test_an_image_of_8_bits_is_no_disparity(tmp_path: Path) -> None:
    draw.write(tmp_path / "a.png", np.zeros((3, 4), np.uint8))
    with pytest.raises(DataError, match="uint8; expected a disparity map of 16 bits"):
        read_disparity(tmp_path / "a.png")


def test_the_scale_is_stated_and_read_back(tmp_path: Path) -> None:
    path = write_scale(tmp_path, (0.1, 100.0), "relative", "runs/mine")
    stated = json.loads(path.read_text())
    assert (stated["nearest"], stated["farthest"], stated["run"]) == (0.1, 100.0, "runs/mine")
    for d, depth in ((0.0, 100.0), (1.0, 0.1), (0.5, 1 / (0.5 * 10 + 0.5 * 0.01))):
        assert eval(stated["depth"], {**stated, "disparity": d}) == pytest.approx(depth)
    assert read_scale(tmp_path) == read_scale(tmp_path / "disparity") == (0.1, 100.0)
    assert read_scale(tmp_path.parent) is None


@pytest.mark.parametrize("text", ["[1]", "no json", '{"nearest": 1}', '{"nearest": 0, "farthest": 4}'])
def test_a_wrong_scale_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "depth.json").write_text(text)
    with pytest.raises((FathomError, ConfigError), match=r"depth\.json"):
        read_scale(tmp_path)
