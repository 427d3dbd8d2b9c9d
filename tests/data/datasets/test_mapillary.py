"""Mapillary Vistas: classes of the configuration file, versions side by side, palette images or colours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fathomseg.data.datasets.mapillary import Mapillary
from fathomseg.errors import DataError, FathomError
from fathomseg.types import IGNORE
from tests.fakes import MAPILLARY, make_mapillary, scene

EXPECTED = np.array([0, 1, 2, 3, IGNORE, 4, 5], np.uint8)
"""The class of each of the fakes' ids: the fifth is not evaluated."""


@pytest.mark.parametrize(("version", "kind"), [("1.2", "palette"), ("2.0", "palette"), ("", "colours")])
def test_labels_are_those_of_the_scene(tmp_path: Path, version: str, kind: str) -> None:
    data = Mapillary(root=make_mapillary(tmp_path, version, kind=kind))
    assert data.classes.names == ("Bird", "Road", "Sidewalk", "Car", "Bicyclist", "Sky")
    assert data.classes.colours[1] == (128, 64, 128)
    np.testing.assert_array_equal(data.label("train/img2"), EXPECTED[scene(2, (24, 32), 7)[1]])
    assert data.splits == ("train", "val", "test")
    assert not data.has_label("test/img0")


def test_of_two_versions_the_newer_is_read_or_the_one_that_is_named(tmp_path: Path) -> None:
    make_mapillary(tmp_path, "2.0", seed=7)
    make_mapillary(tmp_path, "1.2")
    newer, older = (Mapillary(root=tmp_path, version=version) for version in (None, "1.2"))
    np.testing.assert_array_equal(newer.label("val/img0"), EXPECTED[scene(107, (24, 32), 7)[1]])
    np.testing.assert_array_equal(older.label("val/img0"), EXPECTED[scene(100, (24, 32), 7)[1]])
    assert newer.fingerprint("val/img0", "label") != older.fingerprint("val/img0", "label")


def test_equal_colours_are_told_apart_in_palette_images_alone(tmp_path: Path) -> None:
    colours = [*(row[2] for row in MAPILLARY[:-1]), MAPILLARY[0][2]]
    data = Mapillary(root=make_mapillary(tmp_path / "a", colours=colours))
    assert len(set(data.classes.colours)) == 6
    np.testing.assert_array_equal(data.label("train/img2"), EXPECTED[scene(2, (24, 32), 7)[1]])
    other = Mapillary(root=make_mapillary(tmp_path / "b", colours=colours, kind="colours"))
    with pytest.raises(DataError, match=r"gives several classes one colour.*use the palette images"):
        other.label("train/img2")


def test_what_is_wrong_with_the_configuration_is_said(tmp_path: Path) -> None:
    root = make_mapillary(tmp_path, "")
    (root / "config.json").write_text(json.dumps({"labels": [{"name": "road"}]}))
    with pytest.raises(DataError, match=r"config\.json.*expected .*readable"):
        Mapillary(root=root).label("train/img0")
    (root / "config.json").unlink()
    with pytest.raises(FathomError, match=r"No classes of Mapillary.*expected config\.json there"):
        Mapillary(root=root).classes  # noqa: B018
