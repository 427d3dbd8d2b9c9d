"""Maps of any program: every format, what their numbers mean, and whose they are."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fathomseg.config import validate
from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.cityscapes import Cityscapes
from fathomseg.data.datasets.idd_lite import IddLite
from fathomseg.data.datasets.kitti import Kitti
from fathomseg.depth_sources.maps import StoredMaps
from fathomseg.errors import ConfigError, DataError, FathomError
from fathomseg.io.depth_maps import write_disparity
from fathomseg.io.stored_maps import read_as, read_map
from tests.fakes import make_camvid, make_cityscapes, make_idd_lite, make_kitti

FIRST = "train/0001TP_006690"
SECOND = "train/0001TP_006720"
VALUES = np.random.default_rng(0).random((6, 9)).astype(np.float32)


@pytest.fixture
def data(tmp_path: Path) -> CamVid:
    return CamVid(root=make_camvid(tmp_path / "data"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "maps" / "train").mkdir(parents=True)
    return tmp_path / "maps"


def source(folder: Path, **settings: object) -> StoredMaps:
    return validate(StoredMaps, {"name": "maps", "folder": str(folder), "stretched": True, **settings})


def test_the_files_of_predict_need_no_setting(data: CamVid, folder: Path) -> None:
    write_disparity(folder / f"{FIRST}.png", VALUES)
    disparity = source(folder).disparity(data, FIRST)
    assert disparity is not None
    assert disparity.dtype == np.float32
    np.testing.assert_allclose(disparity, VALUES, atol=0.51 / 65535)


def write(path: Path, values: np.ndarray) -> None:
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez_compressed(path, values)
    else:
        assert cv2.imwrite(str(path), values)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".tif", ".tiff", ".pfm"])
def test_floating_point_files_are_taken_as_they_are(data: CamVid, folder: Path, suffix: str) -> None:
    write((folder / FIRST).with_suffix(suffix), VALUES * 37)
    np.testing.assert_array_equal(source(folder).disparity(data, FIRST), VALUES * 37)


def test_eight_and_sixteen_bits_are_fractions_of_the_largest_number(data: CamVid, folder: Path) -> None:
    for id, kind in ((FIRST, np.uint8), (SECOND, np.uint16)):
        top = np.iinfo(kind).max
        Image.fromarray(np.array([[0, top // 5, top]], kind)).save(folder / f"{id}.png")
        np.testing.assert_allclose(source(folder).disparity(data, id), [[0, 0.2, 1]], rtol=1e-6)


def test_depth_in_the_manner_of_kitti(data: CamVid, folder: Path) -> None:
    stored = np.array([[0, 256, 512, 25600]], np.uint16)
    Image.fromarray(stored).save(folder / f"{FIRST}.png")
    disparity = source(folder, holds="depth", scale=1 / 256).disparity(data, FIRST)
    np.testing.assert_allclose(disparity, [[np.nan, 1, 0.5, 0.01]], rtol=1e-6)


def test_disparity_in_the_manner_of_cityscapes(tmp_path: Path, data: CamVid, folder: Path) -> None:
    stored = np.array([[0, 1, 257, 513]], np.uint16)
    Image.fromarray(stored).save(folder / f"{FIRST}_disparity.png")
    Image.fromarray(stored).save(folder / f"{FIRST}_camera.png")
    settings = {"suffix": "_disparity", "scale": 1 / 256, "invalid": 0}
    disparity = source(folder, **settings).disparity(data, FIRST)
    np.testing.assert_allclose(disparity, [[np.nan, 1 / 256, 257 / 256, 513 / 256]], rtol=1e-6)


def test_a_negative_scale_turns_files_in_which_far_is_large(data: CamVid, folder: Path) -> None:
    np.save(folder / f"{FIRST}.npy", np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(source(folder, scale=-1).disparity(data, FIRST), np.array([[-1, -2]], np.float32))


def test_numbers_that_are_no_depth_are_not_known(data: CamVid, folder: Path) -> None:
    np.save(folder / f"{FIRST}.npy", np.array([[-1.0, 0.0, np.nan, np.inf, -np.inf, 1e-45, 1e300, 4.0]]))
    disparity = source(folder, holds="depth").disparity(data, FIRST)
    np.testing.assert_array_equal(disparity, np.array([[*[np.nan] * 3, 0.0, *[np.nan] * 2, 0.0, 0.25]], np.float32))


def test_the_invalid_value_is_compared_with_what_is_stored(data: CamVid, folder: Path) -> None:
    np.save(folder / f"{FIRST}.npy", np.array([[-1.0, 0.0, 3.0]], np.float32))
    disparity = source(folder, invalid=-1, scale=2).disparity(data, FIRST)
    np.testing.assert_array_equal(disparity, np.array([[np.nan, 0, 6]], np.float32))


@pytest.mark.parametrize("name", [f"{FIRST}.npy", "0001TP_006690.npy", f"run7/depth/{FIRST}.npy"])
def test_a_file_is_found_by_the_end_of_its_path(data: CamVid, folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(folder / name, VALUES)
    np.save(folder / "train" / "0001TP_006720.npy", 2 * VALUES)
    np.testing.assert_array_equal(source(folder).disparity(data, FIRST), VALUES)
    np.testing.assert_array_equal(source(folder).disparity(data, SECOND), 2 * VALUES)


def test_it_must_be_clear_whose_a_file_is(tmp_path: Path, data: CamVid, folder: Path) -> None:
    with pytest.raises(DataError, match="006690"):
        source(folder).disparity(data, FIRST)
    for name in ("a", "b"):
        (folder / name / "train").mkdir(parents=True)
        np.save(folder / name / f"{FIRST}.npy", VALUES)
    with pytest.raises(DataError, match="keep one"):
        source(folder).disparity(data, FIRST)
    kitti = Kitti(root=make_kitti(tmp_path / "kitti"))
    np.save(folder / "000001.npy", VALUES)  # every drive has a frame of this name
    with pytest.raises(DataError, match="might be"):
        source(folder).disparity(kitti, "drive0/000001")


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("train/aachen/{id}_disparity.npy", "_disparity"),  # Cityscapes' own disparity
        ("aachen/{id}_leftImg8bit.npy", ""),  # as `fathom predict leftImg8bit/train` names them
        ("leftImg8bit/train/aachen/{id}_leftImg8bit.npy", ""),  # and as of the whole dataset
        ("{id}_leftImg8bit.npy", ""),
    ],
)
def test_a_file_is_found_by_the_path_of_the_image(tmp_path: Path, folder: Path, name: str, suffix: str) -> None:
    data = Cityscapes(root=make_cityscapes(tmp_path / "cityscapes", sequence=False))
    for number in (0, 1):
        path = folder / name.format(id=f"aachen_{number:06d}_000019")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, (1 + number) * VALUES)
    maps = source(folder, suffix=suffix)
    for number in (0, 1):
        found = maps.disparity(data, f"train/aachen_{number:06d}_000019")
        np.testing.assert_array_equal(found, (1 + number) * VALUES)
    with pytest.raises(DataError, match=r"has no file; expected .*lindau"):
        maps.disparity(data, "val/lindau_000000_000019")
    if "/" in name:  # what lies in the folder of another city is of another image
        path = folder / name.format(id="aachen_000001_000019")
        other = Path(str(path).replace("aachen/", "lindau/"))
        other.parent.mkdir()
        path.rename(other)
        with pytest.raises(DataError, match="has no file"):
            maps.disparity(data, "train/aachen_000001_000019")


def test_frames_of_one_name_are_told_apart_by_the_folders_of_their_images(tmp_path: Path, folder: Path) -> None:
    data = IddLite(root=make_idd_lite(tmp_path / "idd", sequences=3, with_val=True))
    for sequence in range(3):
        (folder / f"{sequence}").mkdir()
        np.save(folder / f"{sequence}" / "000001_image.npy", (1 + sequence) * VALUES)
    with pytest.raises(DataError, match="might be the file of val/2/000001 too"):
        source(folder).disparity(data, "train/2/000001")  # both splits have a sequence 2
    for sequence in range(3):
        (folder / f"{sequence}").rename(folder / "train" / f"{sequence}")
    np.testing.assert_array_equal(source(folder).disparity(data, "train/2/000001"), 3 * VALUES)
    with pytest.raises(DataError, match="has no file"):
        source(folder).disparity(data, "val/2/000001")


def test_archives(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", depth=2 * VALUES, disparity=VALUES)
    np.testing.assert_array_equal(read_map(tmp_path / "a.npz"), VALUES)
    np.testing.assert_array_equal(read_map(tmp_path / "a.npz", "depth"), 2 * VALUES)
    np.savez(tmp_path / "b.npz", left=VALUES, right=VALUES)
    with pytest.raises(DataError, match="left, right"):
        read_map(tmp_path / "b.npz")


@pytest.mark.parametrize("scale", [b"-1.0", b"-0.003922", b"2"])
def test_the_scale_of_a_pfm_changes_no_number(tmp_path: Path, scale: bytes) -> None:
    kind = "<f4" if scale.startswith(b"-") else ">f4"
    head = b"Pf\n%d %d\n" % VALUES.shape[::-1] + scale + b"\n"
    (tmp_path / "a.pfm").write_bytes(head + VALUES[::-1].astype(kind).tobytes())
    np.testing.assert_allclose(read_map(tmp_path / "a.pfm"), VALUES, rtol=1e-6)
    assert (read_as(tmp_path / "a.pfm"), read_as(tmp_path / "a.npy")) == ("|as stored", ""), "caches had the others"


def test_a_signalling_nan_of_a_pfm_is_read_as_nan(tmp_path: Path) -> None:
    (tmp_path / "a.pfm").write_bytes(b"Pf\n2 1\n-1.0\n" + bytes.fromhex("0000a0ff0000803f"))
    np.testing.assert_array_equal(read_map(tmp_path / "a.pfm"), np.array([[np.nan, 1.0]], np.float32))


@pytest.mark.parametrize("shape", [(1, 6, 9), (6, 9, 1), (1, 6, 9, 1), (1, 1, 6, 9)])
def test_axes_that_say_nothing_are_dropped(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", VALUES.reshape(shape))
    np.testing.assert_array_equal(read_map(tmp_path / "a.npy"), VALUES)


@pytest.mark.parametrize("values", [np.zeros((2, 3, 4)), np.zeros(3), np.zeros((2, 0)), np.zeros((2, 2), bool)])
def test_what_is_no_map(tmp_path: Path, values: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(DataError, match=r"a.npy: holds .* expected numbers of shape"):
        read_map(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".png", ".tif", ".pfm"])
@pytest.mark.parametrize("content", [b"", b"rubbish" * 9])
def test_damaged_files_are_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"a{suffix}: "):
        read_map(path)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        read_map(tmp_path / "a.npy")


def test_the_fingerprint_follows_file_and_settings(data: CamVid, folder: Path) -> None:
    np.save(folder / f"{FIRST}.npy", VALUES)
    texts = {
        source(folder, **settings).open(data).fingerprint(FIRST)
        for settings in ({}, {"holds": "depth"}, {"scale": 2.0}, {"invalid": 0})
    }
    time.sleep(0.01)
    np.save(folder / f"{FIRST}.npy", VALUES)
    texts.add(source(folder).open(data).fingerprint(FIRST))
    assert len(texts) == 5
    assert source(folder).open(data).fingerprint(FIRST) in texts


def test_wrong_settings(data: CamVid, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="no folder"):
        source(tmp_path / "nowhere").open(data)
    for settings in ({"scale": 0}, {"scale": -1, "holds": "depth"}, {"scale": "nan"}):
        with pytest.raises(ConfigError, match="scale"):
            source(tmp_path, **settings)
