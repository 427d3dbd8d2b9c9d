"""Predictions that can be looked at and saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fathomseg
from fathomseg.errors import FathomError
from fathomseg.io import draw
from fathomseg.stages.predict import predicted
from fathomseg.types import ClassList
from tests.fakes import save, scene
from tests.stages.saved_run import save_run

CLASSES = ClassList(("road", "car", "sky"), ((128, 64, 128), (0, 0, 142), (70, 130, 180)))
IMAGE = scene(0, (24, 32), 3)[0]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("both"), CLASSES, {}, tasks=("segmentation", "depth"))


def test_all_that_an_image_can_be(both: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "a.b.png", IMAGE)
    predictor = fathomseg.load(both, device="cpu")
    one, *others = (predictor.predict(given) for given in (IMAGE, path, str(path), Image.fromarray(IMAGE)))
    for other in (*others, *predictor.predict([IMAGE, path]), *predictor.predict(iter([path]))):
        np.testing.assert_array_equal(other.label, one.label)
        np.testing.assert_array_equal(other.image, IMAGE)
    assert [other.name for other in others] == ["a.b", "a.b", "image"]


def test_overlay_and_repr(both: Path) -> None:
    found = fathomseg.load(both, device="cpu").predict(IMAGE)
    assert found.label is not None
    np.testing.assert_array_equal(found.overlay(), draw.overlay(IMAGE, found.label, CLASSES))
    assert found.overlay("depth").size == (32, 24)
    assert not np.array_equal(found.overlay("depth"), found.overlay())
    share = 100 * np.bincount(found.label.ravel(), minlength=3).max() / found.label.size
    text = repr(found)
    assert text.startswith("Prediction(24 x 32, ")
    assert f" {share:.0f} %, " in text
    assert "confidence 0." in text
    assert "(relative), median" in text
    assert found._repr_png_().startswith(b"\x89PNG")
    assert repr(fathomseg.Prediction(label=found.label)) == "Prediction(label 24 x 32)"
    with pytest.raises(FathomError, match="'normals' was not predicted; there is: segmentation, depth"):
        found.overlay("normals")


def test_saved_files_are_those_of_fathom_predict(both: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "photo.png", IMAGE)
    found = fathomseg.load(both, device="cpu").predict(path)
    written = found.save(tmp_path / "saved")
    predicted(str(both), str(path), str(tmp_path / "out"), device="cpu")
    names = {file.relative_to(tmp_path / "saved").as_posix() for file in written}
    assert names == {"ids/photo.png", "overlays/photo.jpg", "disparity/photo.png", "views/photo.jpg"}
    for name in (*names, "classes.json"):
        assert (tmp_path / "saved" / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name
    with pytest.raises(FathomError, match=r"ids/photo.png is there already; .*overwrite=True"):
        found.save(tmp_path / "saved")
    assert found.save(tmp_path / "saved", overwrite=True) == written
    assert found.save(tmp_path / "seen.png") == [tmp_path / "seen.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "seen.png")), found.overlay())
    with pytest.raises(FathomError, match=r"seen\.png is there already"):
        found.save(tmp_path / "seen.png")


@pytest.mark.parametrize("name", ["photo.jpeg", "photo.JPG", "photo.PNG"])
def test_a_picture_gets_the_very_name_that_was_given(both: Path, tmp_path: Path, name: str) -> None:
    theirs = tmp_path / name.lower().replace("jpeg", "jpg")
    theirs.write_bytes(b"the user's")
    found = fathomseg.load(both, device="cpu").predict(IMAGE)
    assert found.save(tmp_path / name) == [tmp_path / name]
    assert theirs.read_bytes() == b"the user's"
    with Image.open(tmp_path / name) as image:
        assert (image.format, image.size) == ("PNG" if name.endswith("PNG") else "JPEG", (32, 24))


@pytest.mark.parametrize("name", ["classes.json", "depth.json"])
def test_what_describes_a_folder_is_not_replaced(both: Path, tmp_path: Path, name: str) -> None:
    found = fathomseg.load(both, device="cpu").predict(IMAGE)
    place = tmp_path / name
    place.write_text("the user's")
    with pytest.raises(FathomError, match=rf"{name} is there already"):
        found.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    found.save(tmp_path, overwrite=True)
    assert place.read_text() != "the user's"
    for made in list(tmp_path.rglob("image.*")):
        made.unlink()
    found.save(tmp_path)  # it says the same
